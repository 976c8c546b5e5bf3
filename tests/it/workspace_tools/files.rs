use super::{Bound, LOCAL, error, ok};
use crate::support::both;
use serde_json::{Value, json};

both! {
    async fn files_are_written_edited_and_read_where_the_agent_is(h: Harness) {
        h.configure(LOCAL);
        h.model.push([crate::support::fake_model::says("Hi.")]);
        let daemon = h.daemon().await;
        let bound = Bound::make(&daemon, "files").await;
        let file = format!("{}/src/day.txt", bound.folder);
        let written = bound.call(&h, "write_file", json!({ "path": file, "content": "first\nsecond\n" })).await;
        assert_eq!(ok(&written), &json!({ "ok": true }));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "first\nsecond\n");
        let edit = |search: &str, replace: &str| {
            json!({ "files": [{ "path": file, "edits": [{ "search": search, "replace": replace }] }] })
        };
        assert_eq!(ok(&bound.call(&h, "edit_files", edit("second", "third")).await), &json!({ "ok": true }));
        // Each of them was one question.
        let figures = bound.api.get("//metrics").await;
        let figures = String::from_utf8_lossy(&figures.body);
        assert!(figures.contains(r#"request="edit_files""#) && !figures.contains(r#"request="resolve_path""#), "{figures}");
        // Models write whole numbers so, too.
        let read = bound.call(&h, "read_file", json!({ "path": file, "offset": 2.0 })).await;
        assert_eq!(ok(&read), &json!({ "content": "2\tthird", "file_size": 12, "total_lines": 2, "lines_read": 1 }));
        // What is refused changes nothing, and says why.
        let outside: Vec<(&str, Value, &str)> = vec![
            ("edit_files", edit("second", "x"), "not found"),
            ("edit_files", json!({ "files": [] }), "at least one file"),
            ("edit_files", json!({ "files": [{ "path": file, "edits": [] }] }), "files[0].edits"),
            ("edit_files", json!({ "files": [{ "path": file, "edits": [{ "search": "", "replace": "" }] }] }), "search must not be empty"),
            ("edit_files", json!({ "files": [{ "path": " ", "edits": [] }] }), "files[0].path must not be blank"),
            ("read_file", json!({ "path": "day.txt" }), "must be absolute"),
            ("read_file", json!({ "path": format!("{file}.none") }), "does not exist"),
            ("read_file", json!({ "path": format!("/{}", "x".repeat(30_000)) }), "longer than any"),
            ("read_file", json!({ "path": bound.folder }), "is not a regular file"),
            ("read_file", json!({ "path": file, "offset": 9 }), "2 lines"),
            ("write_file", json!({ "path": "x", "content": "" }), "must be absolute"),
            ("write_file", json!({ "path": bound.folder, "content": "" }), bound.folder.as_str()),
            ("write_file", json!({ "content": "" }), "missing field"),
        ];
        let results = bound.calls(&h, outside.iter().map(|(name, args, _)| (*name, args.clone())).collect()).await;
        for ((name, args, said), result) in outside.iter().zip(&results) {
            assert!(error(result).contains(said), "{name} {args}: {result}");
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "first\nthird\n");
        // All of several files, or none of them.
        let other = format!("{}/other.txt", bound.folder);
        std::fs::write(&other, "one\n").unwrap();
        let both = json!({ "files": [
            { "path": other, "edits": [{ "search": "one", "replace": "two" }] },
            { "path": file, "edits": [{ "search": "nowhere", "replace": "x" }] },
        ] });
        assert!(error(&bound.call(&h, "edit_files", both).await).contains("not found"));
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "one\n");
        bound.end().await;
    }

    async fn files_are_attached_for_the_user(h: Harness) {
        h.configure(LOCAL);
        h.model.push([crate::support::fake_model::says("Hi.")]);
        let daemon = h.daemon().await;
        let bound = Bound::make(&daemon, "attach").await;
        let file = |name: &str| format!("{}/{name}", bound.folder);
        std::fs::write(file("report.md"), "# All is well\n").unwrap();
        std::fs::write(file("empty"), "").unwrap();
        std::fs::write(file("program"), b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0").unwrap();
        std::fs::write(file("large.txt"), "x".repeat(10 * 1024 * 1024 + 1)).unwrap();
        let attached = bound.call(&h, "attach_file", json!({ "path": file("report.md"), "name": "Report.txt" })).await;
        let attached = ok(&attached);
        assert_eq!((&attached["ok"], &attached["name"], &attached["media_type"], &attached["size"]),
            (&json!(true), &json!("Report.txt"), &json!("text/markdown"), &json!(14)), "{attached}");
        let id = attached["file_id"].as_str().unwrap();
        let answer = bound.api.get(&format!("/chats/files/{id}")).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, "# All is well\n".as_bytes()));
        let history = bound.api.history(&bound.chat).await;
        let shown = history.iter().flat_map(|m| m["content"].as_array().cloned().unwrap_or_default());
        let shown: Vec<Value> = shown.filter(|part| part["type"] == "file").collect();
        assert_eq!(shown.len(), 1);
        assert_eq!((&shown[0]["file_id"], &shown[0]["name"]), (&json!(id), &json!("Report.txt")));
        assert_eq!(bound.api.chat(&bound.chat).await["files"][0]["id"], json!(id));
        // A name alone makes no JSON.
        for (name, content, is) in [("good.json", "{\"a\": [1]}", "application/json"), ("bad.json", "{\"a\":", "text/plain")] {
            std::fs::write(file(name), content).unwrap();
            let attached = bound.call(&h, "attach_file", json!({ "path": file(name) })).await;
            assert_eq!(ok(&attached)["media_type"], json!(is), "{attached}");
        }
        let refused = [
            (json!({ "path": file("empty") }), "is empty"),
            (json!({ "path": file("program") }), "allowed are"),
            (json!({ "path": file("large.txt") }), "10485760 bytes"),
            (json!({ "path": file("none") }), "does not exist"),
            (json!({ "path": "report.md" }), "must be absolute"),
            (json!({ "path": "" }), "path must not be blank"),
        ];
        let results = bound.calls(&h, refused.iter().map(|(args, _)| ("attach_file", args.clone())).collect()).await;
        for ((args, said), result) in refused.iter().zip(&results) {
            assert!(error(result).contains(said), "{args}: {result}");
        }
        assert_eq!(bound.api.chat(&bound.chat).await["files"].as_array().map(Vec::len), Some(3));
        bound.end().await;
    }

    async fn a_plan_is_written_to_its_place_and_proposed(h: Harness) {
        h.configure(LOCAL);
        h.model.push([crate::support::fake_model::says("Hi.")]);
        let daemon = h.daemon().await;
        let bound = Bound::make(&daemon, "plan").await;
        // Outside of plan mode only the place that all chats would share is refused.
        let home = ok(&bound.call(&h, "execute", json!({ "command": "cd; pwd" })).await)["output"].clone();
        let home = home.as_str().unwrap().trim().to_owned();
        let shared = bound.call(&h, "write_file", json!({ "path": format!("{home}/Plan.md"), "content": "x" })).await;
        let place = format!("{home}/.coder/plans/PLAN-{}.md", bound.chat);
        assert!(error(&shared).contains(&place), "{shared}");
        bound.api.patch(&format!("/chats/{}", bound.chat), json!({ "plan_mode": "plan" })).await.empty(204);
        let elsewhere = json!({ "path": format!("{}/notes.txt", bound.folder), "content": "x" });
        assert!(error(&bound.call(&h, "write_file", elsewhere).await).contains(&place));
        assert!(error(&bound.call(&h, "propose_plan", json!({})).await).contains("does not exist"));
        assert!(error(&bound.call(&h, "propose_plan", json!({ "path": "/etc/passwd" })).await).contains(".md"));
        let written = bound.call(&h, "write_file", json!({ "path": place, "content": "# Plan\n1. Do it.\n" })).await;
        assert_eq!(ok(&written), &json!({ "ok": true }));
        let turns = h.turns();
        h.model.push([crate::support::fake_model::calls("propose_plan", json!({}))]);
        bound.api.send(&bound.chat, "Propose it.").await;
        let mut stream = bound.api.stream(&bound.chat, None).await;
        let held = stream.until("the plan", |held| {
            held.is("waiting") && held.parts_of("tool-result").last().is_some_and(|r| r["result"]["kind"] == "plan")
        }).await;
        let proposed = held.parts_of("tool-result").pop().unwrap();
        assert_eq!((&ok(&proposed)["path"], &ok(&proposed)["media_type"]), (&json!(place), &json!("text/markdown")));
        assert_eq!(h.turns(), turns + 1, "a proposed plan ends the turn");
        std::fs::remove_file(&place).unwrap();
        bound.end().await;
    }
}
