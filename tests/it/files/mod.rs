//! Uploads, downloads, and what becomes of a file that a message names (api.md §2.10, §3.8).

use crate::support::{
    both,
    client::Api,
    fake_model::{Wire, says},
    outside::peak_memory_kib,
    turns::id,
};
use serde_json::{Value, json};

const MIB: usize = 1024 * 1024;

/// A PNG header of 2 × 3 pixels, padded to this many bytes.
fn png(bytes: usize) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x03\x08\x06\0\0\0\0\0\0\0".to_vec();
    png.extend((png.len()..bytes).map(|at| (at % 251) as u8));
    png
}

async fn uploaded(api: &Api, name: &str, content_type: &str, bytes: Vec<u8>) -> String {
    let body = api.upload(name, content_type, bytes).await.json(201);
    assert_eq!(body.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()), Some(vec!["id".to_owned()]));
    id(&body)
}

fn message(parts: Value) -> Value {
    json!({ "content": parts })
}

both! {
    async fn a_file_comes_back_as_it_went_with_headers_that_are_safe_in_a_browser(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let bytes = png(700 * 1024);
        let file = uploaded(&api, "a picture.png", "image/png", bytes.clone()).await;
        let got = api.get(&format!("/chats/files/{file}")).await;
        assert_eq!(got.status, 200);
        assert_eq!(got.body, bytes);
        assert_eq!(got.header("content-type"), "image/png");
        assert_eq!(got.header("content-length"), bytes.len().to_string());
        assert_eq!(got.header("cache-control"), "private, max-age=31536000, immutable");
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        assert!(got.header("content-disposition").starts_with("inline; filename=\"a picture.png\""), "{:?}", got.headers);
        let pdf = uploaded(&api, "x.pdf", "application/pdf", b"%PDF-1.7\n%x".to_vec()).await;
        let got = api.get(&format!("/chats/files/{pdf}")).await;
        assert!(got.header("content-disposition").starts_with("attachment;"), "{:?}", got.headers);
    }

    async fn hostile_names_types_and_sizes_get_the_documented_answers(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let organization = api.organization().await;
        for (name, kind, bytes) in [
            ("a.svg", "image/svg+xml", b"<svg/>".to_vec()),
            ("a.png", "image/png", b"<?xml version=\"1.0\"?><svg onload=\"x()\"/>".to_vec()),
            ("a.txt", "text/plain", b"<svg/>".to_vec()),
            ("a.html", "text/html", b"<p>".to_vec()),
            ("a.exe", "application/octet-stream", b"MZ\x90\0\x03\0\0\0".to_vec()),
            ("a.png", "image/png", b"just text".to_vec()),
            ("a.jpg", "image/jpeg", png(100)),
            ("a.txt", "text/plain", b"a\0b".to_vec()),
            ("a.txt", "text/plain", b"caf\xe9".to_vec()),
            ("a.txt", "text/plain", Vec::new()),
            ("a.txt", "", b"no type".to_vec()),
            ("a.json", "application/json", b"{\"a\":".to_vec()),
        ] {
            let answer = api.upload(name, kind, bytes).await;
            answer.problem(400);
        }
        let path = format!("/chats/files?organization={organization}");
        let plain = ("content-type", "text/plain");
        api.post_bytes(&path, b"x".to_vec(), &[plain]).await.problem(400);
        let unnamed = [plain, ("content-disposition", "attachment")];
        api.post_bytes(&path, b"x".to_vec(), &unnamed).await.problem(400);
        let named = [plain, ("content-disposition", "attachment; filename=\"../../etc/pass\twd.txt\"")];
        let file = id(&api.post_bytes(&path, b"x".to_vec(), &named).await.json(201));
        let got = api.get(&format!("/chats/files/{file}")).await;
        assert!(got.header("content-disposition").contains("filename=\"../../etc/passwd.txt\""), "{:?}", got.headers);
        for organization in ["", "?organization=x", "?organization=00000000-0000-0000-0000-000000000000"] {
            api.post_bytes(&format!("/chats/files{organization}"), b"x".to_vec(), &named).await.problem(400);
        }
        let foreign = "/chats/files?organization=11111111-1111-4111-8111-111111111111";
        api.post_bytes(foreign, b"x".to_vec(), &named).await.problem(403);
        api.upload("a.txt", "text/plain", vec![b'a'; 10 * MIB + 1]).await.problem(413);
        uploaded(&api, "a.txt", "text/plain", vec![b'a'; 10 * MIB]).await;
        api.get("/chats/files/x").await.problem(400);
        api.get("/chats/files/11111111-1111-4111-8111-111111111111").await.problem(404);
    }

    async fn text_is_refined_by_its_name_and_json_only_where_it_is_valid(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        // Longer than one chunk: only the last byte tells.
        let long = |end: &str| [&"[".repeat(9), "\"", &"é".repeat(300 * 1024), "\"", &"]".repeat(8), end].concat();
        let any = "application/octet-stream";
        for (name, declared, content, stored) in [
            ("a.json", any, long("]"), "application/json"),
            ("a.json", any, long("}"), "text/plain"),
            ("a.json", "text/plain", "{\"a\": 1}\n".to_owned(), "application/json"),
            ("a.json", "text/plain", "{\"a\": 1".to_owned(), "text/plain"),
            ("a", "application/json", "[1e3]".to_owned(), "application/json"),
            ("a.csv", "text/plain", "a,b".to_owned(), "text/csv"),
            ("a.markdown", any, "# a".to_owned(), "text/markdown"),
        ] {
            let file = uploaded(&api, name, declared, content.clone().into_bytes()).await;
            let got = api.get(&format!("/chats/files/{file}")).await;
            assert_eq!((got.header("content-type"), got.body.len()), (stored, content.len()), "{name} {declared}");
        }
    }

    async fn a_file_of_a_message_reaches_the_model_and_the_chat_lists_it(h: Harness) {
        h.model.push([says("A picture and a note."), says("Again.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let picture = uploaded(&api, "p.png", "image/png", png(300 * 1024)).await;
        let note = uploaded(&api, "n.md", "text/plain", b"# remember the milk".to_vec()).await;
        let parts = json!([
            { "type": "text", "text": "Look." },
            { "type": "file", "file_id": picture },
            { "type": "file", "file_id": note },
        ]);
        let chat = api.create_chat_with(message(parts)).await;
        assert_eq!(chat["files"].as_array().map(Vec::len), Some(2), "{chat}");
        assert!(chat.get("warnings").is_none() && chat.get("diff_status").is_none(), "{chat}");
        let chat = id(&chat);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let turn = h.turn(0).await;
        assert!(turn.mentions("remember the milk"), "{}", turn.summary());
        assert!(turn.mentions("data:image/png;base64,iVBORw0KGgo"), "{}", turn.summary());
        let shown = api.chat(&chat).await;
        let files = shown["files"].as_array().expect("files").clone();
        assert_eq!(files[0]["name"], json!("p.png"));
        assert_eq!((&files[1]["mime_type"], &files[1]["size_bytes"]), (&json!("text/markdown"), &json!(19)));
        assert!(files[0]["created_at"].is_string() && files[0]["owner_id"] == shown["owner_id"], "{shown}");
        let content = &api.history(&chat).await[0]["content"];
        assert_eq!(content[1], json!({ "type": "file", "media_type": "image/png", "name": "p.png", "file_id": picture }));
        let listed = api.get("/chats").await.json(200);
        assert!(listed[0].get("files").is_none(), "not filled in lists: {listed}");
        // A second message with the same file links it once; one with a wrong file changes nothing.
        let again = json!([{ "type": "file", "file_id": picture }]);
        api.post(&format!("/chats/{chat}/messages"), message(again)).await.json(200);
        stream.answered(2).await;
        assert_eq!(api.chat(&chat).await["files"].as_array().map(Vec::len), Some(2));
        let unknown = json!([{ "type": "text", "text": "x" }, { "type": "file", "file_id": "11111111-1111-4111-8111-111111111111" }]);
        let problem = api.post(&format!("/chats/{chat}/messages"), message(unknown)).await.problem(400);
        assert!(problem["detail"].as_str().is_some_and(|d| d.contains("content[1].file_id")), "{problem}");
    }

    async fn an_image_that_the_provider_does_not_take_ends_the_turn_and_says_why(h: Harness) {
        h.speak(Wire::Anthropic);
        h.model.push([says("Seen."), says("Never mind, then.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let of_size = async |bytes| {
            let file = uploaded(&api, "p.png", "image/png", png(bytes)).await;
            id(&api.create_chat_with(message(json!([{ "type": "file", "file_id": file }]))).await)
        };
        let chat = of_size(5 * MIB).await;
        api.stream(&chat, None).await.until("the error", |f| f.error.is_some()).await;
        let error = api.chat(&chat).await["last_error"].clone();
        assert_eq!((&error["kind"], &error["retryable"]), (&json!("config"), &json!(false)), "{error}");
        assert_eq!(error["provider"], json!("anthropic"), "{error}");
        let said = error["message"].as_str().unwrap_or_default();
        assert!(said.contains("Anthropic") && said.contains("below 5.0 MiB") && said.contains("p.png"), "{said}");
        let small = of_size(5 * MIB - 1).await;
        api.stream(&small, None).await.answered(1).await;
        assert_eq!(h.turns(), 1, "the refused image was not sent");
        // The chat goes on: in its history a note stands for the image.
        api.send(&chat, "Never mind.").await;
        api.stream(&chat, None).await.answered(1).await;
        assert!(h.turn(1).await.mentions("the provider takes less than 5242880"), "{}", h.turn(1).await.summary());
    }

    async fn files_of_others_are_hidden_and_not_usable(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let file = uploaded(&api, "a.txt", "text/plain", b"mine".to_vec()).await;
        let eve = daemon.api_as(&daemon.token_for("eve", &[]).await);
        eve.get(&format!("/chats/files/{file}")).await.problem(404);
        let organization = eve.organization().await;
        let body = json!({ "organization_id": organization, "content": [{ "type": "file", "file_id": file }] });
        eve.post("/chats", body).await.problem(400);
        api.with_token(None).get(&format!("/chats/files/{file}")).await.problem(401);
    }

    async fn a_chat_has_at_most_fifty_files_and_says_which_were_left_out(h: Harness) {
        h.model.push([says("Many.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut parts = Vec::new();
        for at in 0..52 {
            let file = uploaded(&api, &format!("{at}.txt"), "text/plain", format!("file {at}").into_bytes()).await;
            parts.push(json!({ "type": "file", "file_id": file }));
        }
        let chat = api.create_chat_with(message(json!(parts))).await;
        assert_eq!(chat["files"].as_array().map(Vec::len), Some(50));
        assert_eq!(chat["warnings"].as_array().map(Vec::len), Some(2), "{}", chat["warnings"]);
        let mut stream = api.stream(&id(&chat), None).await;
        stream.answered(1).await;
        assert!(h.turn(0).await.mentions("file 51"), "what was not linked is in the message all the same");
    }

    async fn uploads_are_never_held_whole(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        // The caches of the database are full after this.
        for _ in 0..3 {
            let file = uploaded(&api, "a.txt", "text/plain", vec![b'a'; 10 * MIB]).await;
            assert_eq!(api.get(&format!("/chats/files/{file}")).await.body.len(), 10 * MIB);
        }
        let before = peak_memory_kib(daemon.pid());
        // JSON is checked besides, one long string of it as well.
        let json = [b"\"", vec![b'a'; 10 * MIB - 2].as_slice(), b"\""].concat();
        let many = (0..8).map(|at| match at {
            0 => uploaded(&api, "a.json", "application/json", json.clone()),
            _ => uploaded(&api, "a.txt", "text/plain", vec![b'a'; 10 * MIB]),
        });
        futures_util::future::join_all(many).await;
        let grown = peak_memory_kib(daemon.pid()) - before;
        // Eight copies would be 80 MiB; what each holds is a chunk or two of 256 KiB.
        assert!(grown < 24 * 1024, "the peak grew by {grown} KiB for eight files of 10 MiB at once");
    }

    async fn a_prompt_reads_the_files_it_has_room_for_and_no_others(h: Harness) {
        h.model.push([says("Seen.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut parts = vec![json!({ "type": "text", "text": "look" })];
        for at in 1..=8_u8 {
            let pdf = [b"%PDF-1.7\n%".as_slice(), &vec![b'a' + at; 8 * MIB]].concat();
            let file = uploaded(&api, &format!("{at}.pdf"), "application/pdf", pdf).await;
            parts.push(json!({ "type": "file", "file_id": file }));
        }
        let before = peak_memory_kib(daemon.pid());
        let chat = id(&api.create_chat_with(message(json!(parts))).await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let asked = h.turn(0).await;
        for at in 1..=6 {
            assert!(asked.mentions(&format!("[Attached file {at}.pdf: left out")), "{at}");
        }
        assert!(!asked.mentions("7.pdf: left out") && !asked.mentions("8.pdf: left out"));
        let grown = peak_memory_kib(daemon.pid()) - before;
        // Two of 8 MiB, as bytes, as base64 (21 MiB) and in the request (21 MiB more, and its growth). All of them would
        // be 64 MiB and 85 MiB besides.
        assert!(grown < 120 * 1024, "the peak grew by {grown} KiB for a prompt with two of eight files of 8 MiB");
    }
}
