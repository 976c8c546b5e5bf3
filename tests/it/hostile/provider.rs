//! Providers that send too much, too little or nonsense.

use crate::support::{
    both,
    fake_model::{Reply, fails, says},
    outside::memory_kib,
};
use serde_json::json;

both! {
    async fn a_provider_without_line_ends_does_not_fill_the_memory(h: Harness) {
        h.model.push([Reply::empty().long_line(200 << 20), says("recovered")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let before = memory_kib(daemon.pid());
        let chat = api.create_chat("Go").await;
        let mut stream = api.stream(chat["id"].as_str().unwrap(), None).await;
        let largest = std::sync::atomic::AtomicU64::new(0);
        let watch = async {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(10));
            loop {
                tick.tick().await;
                largest.fetch_max(memory_kib(daemon.pid()), std::sync::atomic::Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = watch => unreachable!("it watches for ever"),
            _ = stream.until("a verdict", |f| !f.retries.is_empty() || f.is("error") || f.settled() && f.messages.len() > 1) => {}
        }
        let largest = largest.into_inner();
        assert!(largest < before + 96 * 1024, "memory: {before} KiB, at most {largest} KiB");
        if stream.fold.is("error") {
            // Not worth a retry: the next message is.
            api.send(chat["id"].as_str().unwrap(), "Again").await;
        }
        let fold = stream.until("the turn is over", |f| f.settled() && f.messages.len() > 1).await;
        assert_eq!(fold.texts("assistant"), ["recovered"]);
    }

    async fn broken_answers_are_tried_again(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        for broken in [
            Reply::empty().cut(),
            says("half").cut(),
            Reply::empty().without_end(),
            fails(502, json!("<html><body>Bad gateway</body></html>")),
        ] {
            h.model.push([broken, says("whole")]);
            let chat = api.create_chat("Go").await;
            let mut stream = api.stream(chat["id"].as_str().unwrap(), None).await;
            let fold = stream.settled().await;
            assert_eq!(fold.texts("assistant"), ["whole"], "{fold:?}");
            assert_eq!(fold.retries.len(), 1, "{fold:?}");
        }
    }

    async fn nonsense_ends_the_turn_in_an_error_or_is_replaced(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        // A page instead of a stream, with 200: whatever is made of it, the chat does not hang.
        h.model.push([fails(200, json!("<html><body>Please log in</body></html>")), says("after the page")]);
        let chat = api.create_chat("Go").await;
        let chat = chat["id"].as_str().unwrap();
        let mut stream = api.stream(chat, None).await;
        stream.until("a verdict", |f| f.is("error") || f.settled() && f.messages.len() > 1).await;
        if stream.fold.is("error") {
            api.send(chat, "Again").await;
        }
        let fold = stream.until("the turn is over", |f| f.settled() && f.messages.len() > 1).await;
        assert_eq!(fold.texts("assistant"), ["after the page"], "{fold:?}");

        // Bytes that are no text inside of a text.
        let mut bytes = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a".to_vec();
        bytes.extend(b"\xff\xfe");
        bytes.extend(b"b\"},\"finish_reason\":null}]}\n\n");
        h.model.push([Reply::empty().raw(bytes)]);
        let chat = api.create_chat("Go").await;
        let mut stream = api.stream(chat["id"].as_str().unwrap(), None).await;
        let texts = stream.settled().await.texts("assistant");
        assert_eq!(texts, ["a\u{fffd}\u{fffd}b"]);

        // An event that is no JSON.
        h.model.push([Reply::empty().garbage().without_end(), says("after the garbage")]);
        let chat = api.create_chat("Go").await;
        let chat = chat["id"].as_str().unwrap();
        let mut stream = api.stream(chat, None).await;
        stream.until("a verdict", |f| f.is("error") || f.settled() && f.messages.len() > 1).await;
        if stream.fold.is("error") {
            api.send(chat, "Again").await;
        }
        let fold = stream.until("the turn is over", |f| f.settled() && f.messages.len() > 1).await;
        assert_eq!(fold.texts("assistant"), ["after the garbage"], "{fold:?}");

        // A tool nobody has, arguments that are no JSON, an empty answer.
        h.model.push([
            says("let me see").calls("no_such_tool", json!({ "a": 1 })).calls_in("execute", ["{\"comm"]),
            says("well"),
        ]);
        let chat = api.create_chat("Go").await;
        let mut stream = api.stream(chat["id"].as_str().unwrap(), None).await;
        let fold = stream.settled().await;
        assert_eq!(fold.texts("assistant").last().map(String::as_str), Some("well"), "{fold:?}");
        assert!(fold.parts_of("tool-result").iter().all(|r| r["is_error"] == true), "{fold:?}");
        assert_eq!(fold.parts_of("tool-result").len(), 2);
    }
}
