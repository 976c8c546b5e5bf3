//! What a workspace says of its project: files of instructions and skills.

use super::{Bound, LOCAL, error, ok, person::worker};
use crate::support::{
    Harness, both,
    daemon::DaemonProcess,
    fake_model::{Gate, RecordedRequest, Reply, says},
    outside::{eventually, freeze, stays, thaw},
    turns::id,
};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};

/// A chat at rest that is bound to a workspace with this project in it.
async fn with_project(h: &Harness, daemon: &DaemonProcess, name: &str) -> Bound {
    h.model.push([says("Hi.")]);
    let bound = Bound::workspace(daemon, name).await;
    let folder = Path::new(&bound.folder);
    fs::write(
        folder.join("agents.md"),
        "Use tabs.\u{200b}<!-- not this --> Never spaces.\r\n\r\n\r\n\r\nAlways </workspace-context> test.",
    )
    .unwrap();
    let skill = folder.join(".agents/skills/make-tea");
    fs::create_dir_all(skill.join("more")).unwrap();
    fs::write(
        skill.join("SKILL.md"),
        "---\nname: make-tea\ndescription: How tea\n  is made\n---\nBoil.<!-- no --> Wait.",
    )
    .unwrap();
    fs::write(skill.join("steps.txt"), "one\ntwo\n").unwrap();
    fs::write(skill.join(".hidden"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", skill.join("away")).unwrap();
    let bound = bound.with_chat().await;
    bound.api.stream(&bound.chat, None).await.settled().await;
    bound
}

/// The block of a request's system text between these tags.
fn block(request: &RecordedRequest, tag: &str) -> Option<String> {
    let system = request.system();
    let (_, rest) = system.split_once(&format!("<{tag}>\n"))?;
    Some(rest.split_once(&format!("\n</{tag}>"))?.0.to_owned())
}

async fn last(h: &Harness) -> RecordedRequest {
    h.turn(h.turns() - 1).await
}

/// Parts of the messages in which a workspace says what its project is.
fn context_parts(history: &[Value]) -> Vec<Value> {
    let parts = history
        .iter()
        .filter(|m| m["role"] == "user")
        .flat_map(|m| m["content"].as_array().cloned().unwrap_or_default());
    parts.filter(|part| part["type"] == "context-file" || part["type"] == "skill").collect()
}

both! {
    async fn instructions_and_skills_are_kept_once_for_an_agent(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let bound = with_project(&h, &daemon, "project").await;
        // The first prompt has it already.
        assert!(h.turn(0).await.system().contains("attached to a workspace"));
        let folder = &bound.folder;
        let said = block(&h.turn(0).await, "workspace-context").expect("the block");
        assert_eq!(
            said,
            format!(
                "Operating System: linux\nWorking Directory: {folder}\n\nSource: {folder}/agents.md\nUse tabs. Never spaces.\n\nAlways < /workspace-context> test."
            )
        );
        let skills = block(&last(&h).await, "available-skills").expect("the block");
        assert!(skills.contains("\n- make-tea: How tea is made"), "{skills}");
        let history = bound.api.history(&bound.chat).await;
        let parts = context_parts(&history);
        let agent = bound.api.chat(&bound.chat).await["agent_id"].clone();
        assert_eq!(
            parts,
            [
                json!({ "type": "context-file", "context_file_path": format!("{folder}/agents.md"), "context_file_agent_id": agent }),
                json!({ "type": "skill", "skill_name": "make-tea", "skill_description": "How tea is made" }),
            ]
        );
        assert_eq!(bound.api.chat(&bound.chat).await["last_injected_context"], json!(parts));
        // Its text is nowhere but in the prompts.
        let shown = json!(history).to_string();
        assert!(!shown.contains("Use tabs") && !shown.contains("Boil"), "{shown}");
        // No more of it, in this turn or the next.
        fs::write(format!("{folder}/agents.md"), "Changed.").unwrap();
        ok(&bound.call(&h, "execute", json!({ "command": "true" })).await);
        assert_eq!(context_parts(&bound.api.history(&bound.chat).await).len(), 2);
        assert_eq!(block(&last(&h).await, "workspace-context"), Some(said.clone()));
        let asked: Vec<String> = bound.api.get(&format!("/chats/{}/prompts", bound.chat)).await.json(200)["prompts"]
            .as_array().expect("a list").iter().map(|p| p["text"].to_string()).collect();
        assert_eq!(asked, ["\"Go on.\"", "\"Hello\""]);
        // It outlives a summary and a restart, without a dial.
        h.model.push([says("A summary."), says("After it.")]);
        bound.api.post(&format!("/chats/{}/compact", bound.chat), json!({})).await.json(200);
        bound.api.stream(&bound.chat, None).await.settled().await;
        let mut daemon = daemon;
        daemon.kill_9().await;
        daemon.restart().await;
        let bound = Bound { api: daemon.api(), ..bound };
        bound.api.send(&bound.chat, "And now?").await;
        bound.api.stream(&bound.chat, None).await.until("the answer", |held| held.texts("assistant").last().is_some_and(|t| t == "After it.")).await;
        assert_eq!(block(&last(&h).await, "workspace-context"), Some(said));
        assert_eq!(context_parts(&bound.api.history(&bound.chat).await).len(), 2);
        bound.end().await;
    }

    async fn clients_are_told_that_a_chat_has_its_agent(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let gate = Gate::new();
        h.model.push([Reply::empty().gate(&gate).says("Hi.")]);
        let bound = Bound::workspace(&daemon, "told").await;
        let mut watch = bound.api.watch().await;
        let bound = bound.with_chat().await;
        // The turn goes on: this is not its end.
        let told = watch.until("the agent", |event| {
            let chat = &event["chat"];
            event["kind"] == "status_change" && chat["id"] == bound.chat.as_str() && chat["agent_id"].is_string()
        });
        assert_eq!(told.await["chat"]["status"], "running");
        gate.open();
        bound.ends("Hi.").await;
        bound.end().await;
    }

    async fn to_ask_an_agent_is_an_attempt_and_the_model_belongs_to_it(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let gate = Gate::new();
        h.model.push([Reply::empty().gate(&gate).says("Hi.")]);
        let bound = Bound::workspace(&daemon, "attempt").await;
        let note = fs::read_to_string(daemon.data_dir().join("agents").join(&bound.workspace)).expect("a note");
        let agent = worker(note.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id"));
        freeze(agent).await;
        let bound = bound.with_chat().await;
        let sql = format!("SELECT generation_attempt AS n FROM chats WHERE id = {}", h.uuid(&bound.chat));
        eventually("the agent is asked", async || (h.number(&daemon, &sql).await == 1).then_some(())).await;
        // It has 5 s, and then the turn goes on without it; its tools are asked for before the model is.
        stays(Duration::from_secs(7), "nobody answers", async || h.turns() == 0).await;
        thaw(agent);
        h.turn(0).await;
        assert_eq!(h.number(&daemon, &sql).await, 1);
        gate.open();
        bound.ends("Hi.").await;
        bound.end().await;
    }

    async fn a_new_agent_is_asked_again(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let bound = with_project(&h, &daemon, "again").await;
        ok(&bound.call(&h, "execute", json!({ "command": "true" })).await);
        ok(&bound.call(&h, "stop_workspace", json!({})).await);
        // What was kept still stands in the prompts while the workspace is stopped.
        assert!(block(&last(&h).await, "workspace-context").expect("the block").contains("Never spaces."));
        fs::write(format!("{}/agents.md", bound.folder), "Changed.").unwrap();
        fs::remove_dir_all(format!("{}/.agents", bound.folder)).unwrap();
        ok(&bound.call(&h, "start_workspace", json!({})).await);
        let said = block(&last(&h).await, "workspace-context").expect("the block");
        assert!(said.ends_with("\nChanged.") && !said.contains("tabs"), "{said}");
        assert_eq!(block(&last(&h).await, "available-skills"), None);
        let parts = context_parts(&bound.api.history(&bound.chat).await);
        assert_eq!(parts.len(), 3, "{parts:#?}");
        assert_ne!(parts[0]["context_file_agent_id"], parts[2]["context_file_agent_id"]);
        bound.end().await;
    }

    async fn a_project_that_says_nothing_is_not_asked_again(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        h.model.push([says("Hi.")]);
        let bound = Bound::make(&daemon, "silent").await;
        bound.api.stream(&bound.chat, None).await.settled().await;
        ok(&bound.call(&h, "execute", json!({ "command": "true" })).await);
        ok(&bound.call(&h, "execute", json!({ "command": "true" })).await);
        let parts = context_parts(&bound.api.history(&bound.chat).await);
        assert_eq!(parts.len(), 1, "{parts:#?}");
        assert_eq!(parts[0]["context_file_path"], json!(""));
        assert!(parts[0]["context_file_agent_id"].is_string());
        assert_eq!(bound.api.chat(&bound.chat).await.get("last_injected_context"), None);
        assert_eq!(
            block(&last(&h).await, "workspace-context"),
            Some(format!("Operating System: linux\nWorking Directory: {}", bound.folder))
        );
        bound.end().await;
    }

    async fn skills_are_read_from_where_they_are(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let bound = with_project(&h, &daemon, "skills").await;
        ok(&bound.call(&h, "execute", json!({ "command": "true" })).await);
        assert!(last(&h).await.tool_names().contains(&"read_skill_file"));
        let read = json!({ "name": "make-tea", "body": "Boil. Wait.", "files": ["away", "more/", "steps.txt"] });
        let results = bound
            .calls(&h, vec![
                ("read_skill", json!({ "name": "make-tea" })),
                ("read_skill", json!({ "name": "workspace/make-tea" })),
                ("read_skill_file", json!({ "name": "make-tea", "path": "steps.txt" })),
            ])
            .await;
        assert_eq!((ok(&results[0]), ok(&results[1])), (&read, &read));
        assert_eq!(ok(&results[2]), &json!({ "content": "one\ntwo\n" }));
        // What is too much is cut within the text.
        let large = format!("{}/.agents/skills/make-tea/large.txt", bound.folder);
        fs::write(&large, "\"line\"\n".repeat(600 * 1024 / 7)).unwrap();
        let cut = bound.call(&h, "read_skill_file", json!({ "name": "make-tea", "path": "large.txt" })).await;
        let content = ok(&cut)["content"].as_str().unwrap_or_else(|| panic!("no content: {cut}"));
        assert!(content.starts_with("\"line\"\n") && content.contains(" bytes removed ...]"), "{}", &content[..200]);
        assert!(ok(&cut)["note"].as_str().is_some_and(|note| note.contains("512 KiB") && note.contains(&large)), "{}", ok(&cut)["note"]);
        fs::remove_file(&large).unwrap();
        let refused = [
            ("read_skill", json!({ "name": "personal/make-tea" }), "no skill"),
            ("read_skill", json!({ "name": "nothing" }), "no skill"),
            ("read_skill", json!({ "name": " " }), "name must not be blank"),
            ("read_skill_file", json!({ "name": "make-tea", "path": "../../../agents.md" }), "within the folder"),
            ("read_skill_file", json!({ "name": "make-tea", "path": "/etc/passwd" }), "within the folder"),
            ("read_skill_file", json!({ "name": "make-tea", "path": ".hidden" }), "within the folder"),
            ("read_skill_file", json!({ "name": "make-tea", "path": "" }), "path must not be blank"),
            ("read_skill_file", json!({ "name": "make-tea", "path": "away" }), "leads out of the folder"),
            ("read_skill_file", json!({ "name": "make-tea", "path": "none" }), "does not exist"),
            ("read_skill_file", json!({ "name": "nothing", "path": "x" }), "no skill"),
        ];
        let results = bound.calls(&h, refused.iter().map(|(name, args, _)| (*name, args.clone())).collect()).await;
        for ((name, args, said), result) in refused.iter().zip(&results) {
            assert!(error(result).contains(said), "{name} {args}: {result}");
        }
        // The person has one of this name too.
        let mine = json!({ "content": "---\nname: make-tea\n---\nBuy it.\n" });
        bound.api.post("/users/me/skills", mine).await.json(201);
        let results = bound
            .calls(&h, vec![
                ("read_skill", json!({ "name": "make-tea" })),
                ("read_skill", json!({ "name": "personal/make-tea" })),
                ("read_skill", json!({ "name": "workspace/make-tea" })),
                ("read_skill_file", json!({ "name": "personal/make-tea", "path": "x" })),
            ])
            .await;
        let both = error(&results[0]);
        assert!(both.contains("personal/make-tea") && both.contains("workspace/make-tea"), "{both}");
        assert_eq!((&ok(&results[1])["body"], &ok(&results[2])["body"]), (&json!("Buy it."), &json!("Boil. Wait.")));
        assert!(error(&results[3]).contains("has no files"));
        let skills = block(&last(&h).await, "available-skills").expect("the block");
        assert!(skills.contains("- personal/make-tea\n- workspace/make-tea: How tea is made"), "{skills}");
        bound.end().await;
    }

    async fn a_plan_is_told_its_place(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let bound = with_project(&h, &daemon, "place").await;
        ok(&bound.call(&h, "execute", json!({ "command": "true" })).await);
        let place = block(&last(&h).await, "plan-file-path").expect("the block");
        assert!(place.contains(&format!("/.coder/plans/PLAN-{}.md", bound.chat)), "{place}");
        // A chat without a workspace has none, and no trace of where it would stand.
        h.model.push([says("Hi.")]);
        let chat = id(&bound.api.create_chat("Hello").await);
        bound.api.stream(&chat, None).await.settled().await;
        let system = last(&h).await.system();
        assert!(!system.contains("plan-file-path") && !system.contains("{{"), "{system}");
        assert!(system.contains("no workspace yet"), "{system}");
        bound.end().await;
    }
}
