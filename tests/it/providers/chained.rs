//! Calls that go on from the answer which OpenAI Responses keeps.

use crate::support::{
    Harness, both,
    fake_model::{RecordedRequest, Wire, calls, says},
    turns::{conversation, id},
};
use serde_json::{Value, json};

/// What was sent of the conversation, system texts aside.
fn sent(request: &RecordedRequest) -> Vec<String> {
    let items = request.body["input"].as_array().expect("input");
    let texts = items.iter().filter(|item| item["role"] != "system");
    texts.map(|item| item["content"][0]["text"].as_str().unwrap_or_default().to_owned()).collect()
}

fn previous(request: &RecordedRequest) -> Option<&str> {
    request.body["previous_response_id"].as_str()
}

/// A model whose answers the provider does not keep.
fn keeps_nothing(h: &Harness) {
    h.configure(
        "[[models]]\nname = \"fake\"\nprovider = \"fake\"\nmodel = \"fake-model\"\ndefault = true\n\
         context_limit = 128000\nprovider_options = { openai = { store = false } }",
    );
}

both! {
    async fn the_second_question_alone_is_sent(h: Harness) {
        h.speak(Wire::Responses);
        h.model.push([says("One."), says("Two."), says("Three.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("First?").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        api.send(&chat, "Second?").await;
        stream.answered(2).await;
        api.send(&chat, "Third?").await;
        stream.answered(3).await;
        let (first, second, third) = (h.turn(0).await, h.turn(1).await, h.turn(2).await);
        assert_eq!((previous(&first), previous(&second), previous(&third)), (None, Some("resp_0"), Some("resp_1")));
        assert_eq!((sent(&second), sent(&third)), (vec!["Second?".to_owned()], vec!["Third?".to_owned()]));
        assert_eq!(second.body["input"][0]["role"], json!("system"), "system texts go with each call");
        // What the model knows then is the whole conversation.
        assert_eq!(
            conversation(&third),
            ["user: First?", "assistant: One.", "user: Second?", "assistant: Two.", "user: Third?"]
        );
    }

    async fn tool_results_plan_turns_and_edits_send_everything(h: Harness) {
        h.speak(Wire::Responses);
        h.model.push([
            calls("read_file", json!({ "path": "/no/such/file" })),
            says("Looked."),
            says("Planned."),
            says("Again."),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Look.").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(2).await;
        assert_eq!(previous(&h.turn(1).await), None, "a result goes with its call");
        let plan = json!({ "content": [{ "type": "text", "text": "Plan." }], "plan_mode": "plan" });
        api.post(&format!("/chats/{chat}/messages"), plan).await.json(200);
        stream.answered(3).await;
        assert_eq!(previous(&h.turn(2).await), None, "no chain in a plan turn");
        let question = api.history(&chat).await.iter().find(|m| m["role"] == "user").expect("a question")["id"].clone();
        let edit = json!({ "content": [{ "type": "text", "text": "Look twice." }] });
        api.patch(&format!("/chats/{chat}/messages/{question}"), edit).await.json(200);
        h.turn(3).await;
        assert_eq!(previous(&h.turn(3).await), None, "nothing is left to go on from");
    }

    async fn an_answer_that_is_forgotten_there_is_sent_again(h: Harness) {
        h.speak(Wire::Responses);
        h.model.push([says("One."), says("Two."), says("Three.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("First?").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        h.model.forget_answers();
        api.send(&chat, "Second?").await;
        let held = stream.answered(2).await;
        assert_eq!(held.texts("assistant"), ["One.", "Two."]);
        let (refused, whole) = (h.turn(1).await, h.turn(2).await);
        assert_eq!((previous(&refused), previous(&whole)), (Some("resp_0"), None));
        assert_eq!(conversation(&whole), ["user: First?", "assistant: One.", "user: Second?"]);
        // The answer to that is kept again.
        api.send(&chat, "Third?").await;
        stream.answered(3).await;
        assert_eq!(previous(&h.turn(3).await), Some("resp_2"));
    }

    async fn without_store_everything_is_sent(h: Harness) {
        h.speak(Wire::Responses);
        keeps_nothing(&h);
        h.model.push([says("One."), says("Two.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("First?").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        api.send(&chat, "Second?").await;
        stream.answered(2).await;
        let second = h.turn(1).await;
        assert_eq!((previous(&second), &second.body["store"]), (None, &Value::Bool(false)));
        assert_eq!(sent(&second), ["First?", "One.", "Second?"]);
    }
}
