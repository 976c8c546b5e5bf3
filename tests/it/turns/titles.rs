//! Titles that a model proposes beside the first turn (agent-loop.md §14.2).

use crate::support::{
    Harness, both,
    client::Api,
    fake_model::{Ending, Gate, Wire, calls, fails, proposes, says},
    turns::id,
};
use serde_json::{Value, json};

const QUESTION: &str = "Please help me to fix the login test that fails";
const FIRST: &str = "Please help me to fix the…";

async fn title(api: &Api, chat: &str) -> String {
    api.chat(chat).await["title"].as_str().expect("a title").to_owned()
}

/// A chat in this wire format gets its title, and the request for it is as its provider wants it.
async fn named_over(h: Harness, wire: Wire) -> Value {
    h.speak(wire);
    h.model.push([calls("execute", json!({ "command": "true" })), says("Done."), says("Again.")]);
    h.model.answer_titles(|request| proposes(request, &json!({ "title": " \"Fix  the login test\" " })));
    let daemon = h.daemon().await;
    let api = daemon.api();
    let mut watch = api.watch().await;
    let created = api.create_chat(QUESTION).await;
    assert_eq!(created["title"], FIRST);
    let chat = id(&created);
    let event = watch.kind("title_change", &chat).await;
    assert_eq!(event["chat"]["title"], "Fix the login test");
    let mut stream = api.stream(&chat, None).await;
    stream.answered(2).await;
    api.send(&chat, "More.").await;
    stream.answered(3).await;
    assert_eq!(title(&api, &chat).await, "Fix the login test");
    let asked = h.model.side_requests();
    assert_eq!(asked.len(), 1, "only the first turn asks");
    assert_eq!(asked[0].last_user(), QUESTION);
    assert_eq!(asked[0].header("x-chatd-chat-id"), Some(chat.as_str()));
    assert_eq!(h.turn(0).await.header("x-chatd-chat-id"), Some(chat.as_str()));
    assert_eq!(h.turns(), 3);
    asked[0].body.clone()
}

both! {
    async fn a_model_names_the_chat_over_chat_completions(h: Harness) {
        let body = named_over(h, Wire::Chat).await;
        assert_eq!((&body["max_tokens"], body.get("tools")), (&json!(256), None));
        assert_eq!(body["response_format"]["json_schema"]["name"], "propose_title");
    }

    async fn a_model_names_the_chat_over_anthropic_messages(h: Harness) {
        let body = named_over(h, Wire::Anthropic).await;
        assert_eq!((&body["max_tokens"], &body["tool_choice"]), (&json!(256), &json!({ "type": "tool", "name": "propose_title" })));
    }

    async fn a_model_names_the_chat_over_responses(h: Harness) {
        let body = named_over(h, Wire::Responses).await;
        assert_eq!((&body["max_output_tokens"], &body["text"]["format"]["name"]), (&json!(256), &json!("propose_title")));
    }

    async fn the_turn_does_not_wait_for_the_title_and_no_version_moves(h: Harness) {
        let gate = Gate::new();
        let held = gate.clone();
        h.model.answer_titles(move |request| proposes(request, &json!({ "title": "Late but good" })).gate(&held));
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut watch = api.watch().await;
        let chat = id(&api.create_chat(QUESTION).await);
        let mut stream = api.stream(&chat, None).await;
        stream.settled().await;
        h.model.side_request(0).await;
        let before = api.chat(&chat).await;
        assert_eq!((&before["title"], &before["status"]), (&json!(FIRST), &json!("waiting")));
        gate.open();
        let event = watch.kind("title_change", &chat).await;
        assert_eq!(event["chat"]["title"], "Late but good");
        let after = api.chat(&chat).await;
        assert_eq!(after["updated_at"], before["updated_at"]);
    }

    async fn a_name_that_a_person_gave_stays(h: Harness) {
        let gate = Gate::new();
        let held = gate.clone();
        h.model.answer_titles(move |request| proposes(request, &json!({ "title": "Not this" })).gate(&held));
        h.model.push([says("A"), says("B"), says("C")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut watch = api.watch().await;
        let chat = id(&api.create_chat(QUESTION).await);
        gate.reached().await;
        api.patch(&format!("/chats/{chat}"), json!({ "title": "Mine" })).await.empty(204);
        gate.open();
        assert_eq!(h.model.side_ended(0).await, Ending::Played);
        // A second chat is named after the answer for the first has come: nothing is on its way then.
        let other = id(&api.create_chat("Another one").await);
        watch.kind("title_change", &other).await;
        api.stream(&chat, None).await.settled().await;
        assert_eq!(title(&api, &chat).await, "Mine");
        let told = watch.events.iter().filter(|e| e["kind"] == "title_change" && e["chat"]["id"] == *chat);
        assert_eq!(told.count(), 1, "only the rename is told");
        h.model.forget_rest();
    }

    async fn what_is_no_title_changes_nothing(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        h.model.answer_titles(|request| match request.last_user() {
            "words" => proposes(request, &json!({ "title": "one two three four five six seven eight nine" })),
            "prose" => says("Here is a title: Login"),
            "blank" => proposes(request, &json!({ "title": " '' " })),
            "refused" => fails(400, json!({ "error": { "message": "no response_format here" } })),
            _ => proposes(request, &json!({ "title": "The last one" })),
        });
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut watch = api.watch().await;
        let mut chats = Vec::new();
        for (at, said) in ["words", "prose", "blank", "refused"].into_iter().enumerate() {
            let chat = id(&api.create_chat(said).await);
            api.stream(&chat, None).await.answered(1).await;
            assert_eq!(h.model.side_ended(at).await, Ending::Played);
            chats.push((chat, said));
        }
        let last = id(&api.create_chat("good").await);
        watch.kind("title_change", &last).await;
        for (chat, said) in &chats {
            assert_eq!(title(&api, chat).await, *said);
        }
        assert_eq!(h.model.side_requests().len(), 5, "an answer of no use is final");
        api.stream(&last, None).await.answered(1).await;
    }

    async fn a_model_that_is_busy_is_asked_again(h: Harness) {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        h.model.answer_titles(move |request| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => fails(529, json!({ "error": { "message": "Overloaded" } })),
            _ => proposes(request, &json!({ "title": "Second try" })),
        });
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut watch = api.watch().await;
        let chat = id(&api.create_chat(QUESTION).await);
        let event = watch.kind("title_change", &chat).await;
        assert_eq!(event["chat"]["title"], "Second try");
        api.stream(&chat, None).await.settled().await;
    }

    async fn the_end_of_the_process_cancels_it(h: Harness) {
        h.model.answer_titles(|_| says("{").silence());
        h.model.push([says("A")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat(QUESTION).await);
        api.stream(&chat, None).await.settled().await;
        h.model.side_request(0).await;
        daemon.stop().await;
        assert_eq!(h.model.side_ended(0).await, Ending::ClientClosed);
    }
}
