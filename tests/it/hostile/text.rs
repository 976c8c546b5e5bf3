//! Characters that databases and encoders stumble over.

use crate::support::{
    both,
    fake_model::{calls, says},
};
use reqwest::Method;
use serde_json::{Value, json};

/// NUL, the marks that could stand for it, the line ends of JavaScript, astral characters, bidi marks.
const ODD: &str = "a\u{0}b \u{e000}\u{e001} \u{e000}0\u{e001} \u{2028}\u{2029} 😀 \u{202e}x \u{feff} \u{ffff} \\u0000 \"'\\ \u{7f}\u{1b}[0m";

both! {
    async fn odd_characters_come_back_as_they_went(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        h.model.push([
            says(ODD).calls("read_file", json!({ "path": format!("/nowhere/{ODD}") })),
            says("seen"), says("edited"),
        ]);
        let organization = api.organization().await;
        let chat = api.create_chat_with(json!({
            "organization_id": organization, "content": [{ "type": "text", "text": ODD }, {
                "type": "file-reference", "file_name": ODD, "start_line": 1, "end_line": 2, "content": ODD }],
            "system_prompt": ODD,
            "unsafe_dynamic_tools": [{ "name": "odd", "description": ODD,
                "input_schema": { "type": "object", "properties": { "x": { "type": "string", "description": ODD } } } }],
        })).await;
        let chat = chat["id"].as_str().unwrap();
        let mut stream = api.stream(chat, None).await;
        let fold = stream.settled().await.clone();
        assert_eq!(fold.texts("user"), [ODD]);
        assert_eq!(fold.texts("assistant"), [ODD, "seen"]);
        let reference = &fold.parts_of("file-reference")[0];
        assert_eq!((reference["file_name"].as_str(), reference["content"].as_str()), (Some(ODD), Some(ODD)));
        let history = api.history(chat).await;
        assert!(history.iter().eq(fold.messages.values()));
        let asked = h.turn_requests();
        assert!(asked[0].last_user().contains(ODD), "{:?}", asked[0].last_user());
        assert!(asked[0].system().contains("\u{2028}"));
        let odd = asked[0].tools.iter().find(|tool| tool.name == "odd").unwrap();
        assert_eq!(odd.description, ODD);
        assert_eq!(odd.schema["properties"]["x"]["description"], ODD);
        assert!(asked[1].messages.iter().any(|m| m.role == "assistant" && m.text == ODD));
        // Where else people can put text.
        api.patch(&format!("/chats/{chat}"), json!({ "title": ODD })).await.empty(204);
        // A title is one line, without what would move a terminal's cursor.
        let title = "ab \u{e000}\u{e001} \u{e000}0\u{e001}  😀 \u{202e}x \u{feff} \u{ffff} \\u0000 \"'\\ [0m";
        assert_eq!(api.chat(chat).await["title"], title);
        api.patch(&format!("/chats/{chat}"), json!({ "title": "\u{7}\n" })).await.problem(400);
        let first = *stream.fold.messages.keys().next().unwrap();
        let edit = json!({ "content": [{ "type": "text", "text": ODD }] });
        api.patch(&format!("/chats/{chat}/messages/{first}"), edit).await.json(200);
        stream.until("edited", |f| f.settled() && f.texts("assistant") == ["edited"]).await;
        for query in ["q=title:%00", "q=search:%00", "q=title:%EE%80%80", "label=a:%00"] {
            let answer = api.get(&format!("/chats?{query}")).await;
            assert!(matches!(answer.status, 200 | 400), "{query}: {answer:?}");
        }
        let labels = api.patch(&format!("/chats/{chat}"), json!({ "labels": { "a": "x\u{0}y" } })).await;
        assert!(matches!(labels.status, 204 | 400), "{labels:?}");
        let key = api.try_call_with(Method::POST, &format!("/chats/{chat}/interrupt"), None, &[("Idempotency-Key", "\u{e9}")]).await;
        assert!(key.unwrap().status < 500);
        h.model.push([says("a bell")]);
        let bell = api.create_chat("\u{7}").await;
        assert_eq!(bell["title"], "New Chat");
        api.stream(bell["id"].as_str().unwrap(), None).await.settled().await;
    }

    async fn odd_characters_pass_through_the_queue_and_tool_results(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        h.model.push([calls("ask", json!({ "q": ODD })), says("thanks"), says("more")]);
        let chat = api.create_chat_with(json!({
            "content": [{ "type": "text", "text": "go" }],
            "unsafe_dynamic_tools": [{ "name": "ask", "input_schema": { "type": "object", "properties": {} } }],
        })).await;
        let chat = chat["id"].as_str().unwrap();
        let mut stream = api.stream(chat, None).await;
        let action = stream.status("requires_action").await.clone();
        let _ = action;
        let action = stream.until("the call", |f| f.action_required.is_some()).await.action_required.clone().unwrap();
        let call = &action["tool_calls"][0];
        let args: Value = serde_json::from_str(call["args"].as_str().unwrap()).unwrap();
        assert_eq!(args["q"], ODD);
        let queued = api.send(chat, ODD).await;
        assert_eq!(queued["queued_message"]["content"][0]["text"], ODD);
        assert_eq!(api.queue(chat).await[0]["content"][0]["text"], ODD);
        let results = json!({ "results": [{ "tool_call_id": call["tool_call_id"], "output": { ODD: ODD } }] });
        api.post(&format!("/chats/{chat}/tool-results"), results).await.empty(204);
        let fold = stream.settled().await;
        assert_eq!(fold.parts_of("tool-result")[0]["result"], json!({ ODD: ODD }));
        assert_eq!(fold.texts("user"), ["go", ODD]);
        let asked = h.turn_requests();
        let output: Value = serde_json::from_str(asked[1].tool_results()[0]).unwrap();
        assert_eq!(output, json!({ ODD: ODD }));
    }

    async fn lone_surrogates_are_refused_or_kept_but_break_nothing(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let organization = api.organization().await;
        let send = async |path: &str, body: &str| {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = http.post(api.url(path)).header("Coder-Session-Token", daemon.token()).body(body.to_owned());
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let text = r#"[{"type": "text", "text": "a \ud800 b"}]"#;
        let (status, said) = send("/chats", &format!(r#"{{"organization_id": "{organization}", "content": {text}}}"#)).await;
        assert_eq!(status, 400, "{said}");
        // In a schema, which is passed on as it is.
        h.model.push([says("fine"), calls("odd", json!({})), says("good")]);
        let schema = r#"{"type": "object", "properties": {"x": {"type": "string", "description": "\ud800 \u0000"}}}"#;
        let tools = format!(r#"[{{"name": "odd", "input_schema": {schema}}}]"#);
        let whole = r#"[{"type": "text", "text": "fine"}]"#;
        let body = format!(r#"{{"organization_id": "{organization}", "content": {whole}, "unsafe_dynamic_tools": {tools}}}"#);
        let (status, said) = send("/chats", &body).await;
        assert_eq!(status, 400, "a schema that no provider can read must be refused: {said}");

        let chat = api.create_chat_with(json!({
            "content": [{ "type": "text", "text": "go" }],
            "unsafe_dynamic_tools": [{ "name": "odd", "input_schema": { "type": "object", "properties": {} } }],
        })).await;
        let chat = chat["id"].as_str().unwrap();
        let mut stream = api.stream(chat, None).await;
        stream.settled().await;
        api.send(chat, "call it").await;
        let action = stream.until("the call", |f| f.action_required.is_some()).await.action_required.clone().unwrap();
        let id = action["tool_calls"][0]["tool_call_id"].as_str().unwrap();
        let results = format!(r#"{{"results": [{{"tool_call_id": "{id}", "output": {{"a": "\udfff"}}}}]}}"#);
        let (status, said) = send(&format!("/chats/{chat}/tool-results"), &results).await;
        assert_eq!(status, 400, "an output that no provider can read must be refused: {said}");
        let results = json!({ "results": [{ "tool_call_id": id, "output": "ok" }] });
        api.post(&format!("/chats/{chat}/tool-results"), results).await.empty(204);
        stream.until("the end", |f| f.settled() && f.texts("assistant").last().is_some_and(|t| t == "good")).await;
    }
}
