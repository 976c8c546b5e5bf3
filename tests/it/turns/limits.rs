use crate::support::{
    both,
    fake_model::{calls, says},
    turns::id,
};
use serde_json::json;

both! {
    async fn a_turn_ends_at_the_limit_of_its_steps(h: Harness) {
        h.configure("worker.max_steps = 2");
        let list = || calls("execute", json!({ "command": "true", "timeout": "5s" }));
        h.model.push([list(), list(), says("A new turn.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Loop.").await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.answered(2).await;
        assert_eq!(held.roles(), ["user", "assistant", "tool", "assistant", "tool"]);
        assert_eq!(h.turns(), 2);
        api.send(&chat, "Go on.").await;
        let held = stream.answered(3).await;
        assert_eq!(held.texts("assistant").last().map(String::as_str), Some("A new turn."));
    }

    async fn an_answer_cut_off_at_the_output_limit_is_kept(h: Harness) {
        h.configure_model("max_output_tokens = 77");
        h.model.push([says("Half of an ans").finish("length")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Talk long.").await);
        let mut stream = api.stream(&chat, None).await;
        assert_eq!(stream.answered(1).await.texts("assistant"), ["Half of an ans"]);
        let body = h.turn(0).await.body;
        let asked = body.get("max_tokens").or_else(|| body.get("max_completion_tokens"));
        assert_eq!(asked, Some(&json!(77)), "{body}");
    }

    async fn an_empty_answer_ends_the_turn_without_a_message(h: Harness) {
        h.model.push([crate::support::fake_model::Reply::empty(), says("Something.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Nothing?").await);
        let mut stream = api.stream(&chat, None).await;
        assert_eq!(stream.settled().await.roles(), ["user"]);
        api.send(&chat, "And now?").await;
        assert_eq!(stream.answered(1).await.roles(), ["user", "user", "assistant"]);
    }
}
