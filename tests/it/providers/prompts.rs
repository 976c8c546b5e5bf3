//! Histories that are hard to turn into a prompt, for each wire format. The fake model refuses what
//! the real ones do.

use crate::{
    support::{
        Harness, both,
        fake_model::{Gate, Reply, Wire, says, thinks},
        turns::id,
    },
    tools::with_client_tool,
};
use serde_json::json;

/// Every way to leave a step half done, one after the other, in one chat.
async fn hard_history(h: Harness, wire: Wire) {
    h.speak(wire);
    let (first, second, third) = (Gate::new(), Gate::new(), Gate::new());
    let echo = |text: &str| json!({ "command": format!("echo {text}"), "timeout": "5s" });
    h.model.push([
        // Cut off while it reasons, before any text.
        thinks("Deep thoughts").gate(&first),
        // Cut off behind a whole call, with blank text before it.
        thinks("More").says("  \n").calls("execute", echo("never")).with_id("odd:id/1").gate(&second),
        // Arguments that are none, beside good ones.
        thinks("Oops").calls_in("execute", ["{\"command\""]).calls("execute", echo("fine")),
        says("So much for that."),
        // A client's call, promoted over.
        thinks("Ask").says("A question: ").calls("ask_client", json!({})),
        thinks("Hm").says("Half an answer").gate(&third),
        says("The end."),
    ]);
    let daemon = h.daemon().await;
    let api = daemon.api();
    let chat = id(&api.create_chat_with(with_client_tool("Q1")).await);
    let mut stream = api.stream(&chat, None).await;
    stream.until("reasoning", |f| f.preview.reasoning() == "Deep thoughts").await;
    api.interrupt(&chat).await;
    stream.status("waiting").await;
    api.send(&chat, "Q2").await;
    stream
        .until("a whole call", |f| {
            serde_json::from_str::<serde_json::Value>(&f.preview.args("odd:id/1")).is_ok()
        })
        .await;
    api.interrupt(&chat).await;
    stream.status("waiting").await;
    api.send(&chat, "Q3").await;
    stream
        .until("the answer", |f| {
            f.settled() && f.texts("assistant").last().is_some_and(|t| t.ends_with("for that."))
        })
        .await;
    api.send(&chat, "Q4").await;
    stream.until("the call for action", |f| f.action_required.is_some()).await;
    let queued = api.send(&chat, "Q5").await["queued_message"]["id"].clone();
    api.post(&format!("/chats/{chat}/queue/{queued}/promote"), json!({})).await.json(202);
    stream.shows("Half an answer").await;
    api.interrupt(&chat).await;
    stream.status("waiting").await;
    api.send(&chat, "Q6").await;
    let held = stream
        .until("the end", |f| f.settled() && f.texts("assistant").last().is_some_and(|t| t == "The end."))
        .await;
    assert_eq!(held.texts("user"), ["Q1", "Q2", "Q3", "Q4", "Q5", "Q6"]);
    let last = h.turn(6).await;
    for question in ["Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Half an answer"] {
        assert!(last.mentions(question), "{question} is missing: {}", last.summary());
    }
    assert_eq!(last.tool_results().len(), 4, "{}", last.summary());
}

/// An interrupted answer that ends in white space, as Anthropic refuses it.
async fn trailing_space(h: Harness, wire: Wire) {
    h.speak(wire);
    let gate = Gate::new();
    h.model.push([Reply::empty().says_in(["A pause \n"]).gate(&gate), says("Go on.")]);
    let daemon = h.daemon().await;
    let api = daemon.api();
    let chat = id(&api.create_chat("Q1").await);
    let mut stream = api.stream(&chat, None).await;
    stream.shows("A pause \n").await;
    api.send(&chat, "Q2").await;
    api.interrupt(&chat).await;
    assert_eq!(stream.answered(2).await.texts("assistant"), ["A pause \n", "Go on."]);
}

both! {
    async fn a_hard_history_makes_a_prompt_for_chat_completions(h: Harness) {
        hard_history(h, Wire::Chat).await;
    }
    async fn a_hard_history_makes_a_prompt_for_anthropic(h: Harness) {
        hard_history(h, Wire::Anthropic).await;
    }
    async fn a_hard_history_makes_a_prompt_for_responses(h: Harness) {
        hard_history(h, Wire::Responses).await;
    }
    async fn white_space_at_the_end_is_no_trouble_for_anthropic(h: Harness) {
        trailing_space(h, Wire::Anthropic).await;
    }
}
