//! Workspaces that try to harm the daemon, or what lies beside the place a chat may write to.

use super::{Bound, LOCAL, error, ok};
use crate::support::{
    Engine, both,
    fake_model::says,
    outside::{memory_kib, peak_memory_kib},
    run_within,
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink, time::Duration};

both! {
    async fn no_link_leads_a_plan_elsewhere(h: Harness) {
        h.configure(LOCAL);
        h.model.push([says("Hi.")]);
        let daemon = h.daemon().await;
        let bound = Bound::make(&daemon, "links").await;
        bound.ends("Hi.").await;
        let home = ok(&bound.call(&h, "execute", json!({ "command": "cd; pwd" })).await)["output"].clone();
        let home = home.as_str().unwrap().trim().to_owned();
        let (plans, elsewhere) = (format!("{home}/.coder/plans"), format!("{home}/elsewhere"));
        let name = format!("PLAN-{}.md", bound.chat);
        let place = format!("{plans}/{name}");
        fs::create_dir_all(&elsewhere).unwrap();
        fs::create_dir_all(format!("{home}/.coder")).unwrap();
        // Outside of plan mode: no link of whatever name leads to the plan that all chats would share.
        let shared = format!("{home}/PLAN.md");
        fs::write(&shared, "secret\n").unwrap();
        let inside = |name: &str| format!("{}/{name}", bound.folder);
        symlink(&shared, inside("notes.txt")).unwrap();
        symlink(&home, inside("door")).unwrap();
        symlink(inside("plain.txt"), inside("link.txt")).unwrap();
        fs::write(inside("plain.txt"), "secret\n").unwrap();
        let at = |path: String| {
            let edits = json!([{ "search": "secret", "replace": "x" }]);
            let edit = json!({ "files": [{ "path": inside("plain.txt"), "edits": edits }, { "path": path, "edits": edits }] });
            vec![("write_file", json!({ "path": path, "content": "x" })), ("edit_files", edit)]
        };
        for path in [inside("notes.txt"), inside("door/plan.md"), shared.clone()] {
            for result in bound.calls(&h, at(path)).await {
                assert!(error(&result).contains("shared by all chats"), "{result}");
            }
        }
        for file in [&shared, &inside("plain.txt")] {
            assert_eq!(fs::read_to_string(file).unwrap(), "secret\n", "{file}");
        }
        ok(&bound.call(&h, "write_file", json!({ "path": inside("link.txt"), "content": "new" })).await);
        assert_eq!(fs::read_to_string(inside("plain.txt")).unwrap(), "new");
        bound.api.patch(&format!("/chats/{}", bound.chat), json!({ "plan_mode": "plan" })).await.empty(204);
        let write = json!({ "path": place, "content": "# Plan\n" });
        let edit = json!({ "files": [{ "path": place, "edits": [{ "search": "secret", "replace": "x" }] }] });
        // The folder, and then the file, are links.
        let secret = format!("{elsewhere}/{name}");
        fs::write(&secret, "secret\n").unwrap();
        symlink(&elsewhere, &plans).unwrap();
        let both = || vec![("write_file", write.clone()), ("edit_files", edit.clone())];
        for result in bound.calls(&h, both()).await {
            assert!(error(&result).contains("leads to"), "{result}");
        }
        fs::remove_file(&plans).unwrap();
        fs::create_dir(&plans).unwrap();
        symlink(&secret, &place).unwrap();
        for result in bound.calls(&h, both()).await {
            assert!(error(&result).contains("leads to"), "{result}");
        }
        // Other ways to write the same.
        let around = [
            format!("{plans}/../../elsewhere/{name}"),
            format!("{plans}/../plans/../../../../../../../etc/{name}"),
            format!("{plans}/sub/{name}"),
        ];
        let calls = around.iter().map(|path| ("write_file", json!({ "path": path, "content": "x" }))).collect();
        for result in bound.calls(&h, calls).await {
            assert!(error(&result).contains("only the plan"), "{result}");
        }
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret\n");
        fs::remove_file(&place).unwrap();

        // The folder changes to a link and back all the time.
        bound.api.patch(&format!("/chats/{}", bound.chat), json!({ "plan_mode": "" })).await.empty(204);
        fs::rename(&plans, format!("{home}/real")).unwrap();
        let races = format!(
            "cd {home}; ln -sfn {elsewhere} link; while ! test -e stop; do mv -T real .coder/plans; mv -T .coder/plans real; \
             cp -P link .coder/plans; rm .coder/plans; done &"
        );
        assert_eq!(ok(&bound.call(&h, "execute", json!({ "command": races })).await)["success"], json!(true));
        bound.api.patch(&format!("/chats/{}", bound.chat), json!({ "plan_mode": "plan" })).await.empty(204);
        let many: Vec<(&str, Value)> = (0..40).map(|_| ("write_file", write.clone())).collect();
        for result in bound.calls(&h, many).await {
            assert!(result["is_error"] == json!(true) || ok(&result) == &json!({ "ok": true }), "{result}");
        }
        fs::write(format!("{home}/stop"), "").unwrap();
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret\n");
        let there: Vec<_> = fs::read_dir(&elsewhere).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(there, [name.as_str()], "nothing was left there, not even for a moment");
        bound.end().await;
    }
}

#[test]
fn fifty_megabytes_of_output_cost_the_daemon_nothing() {
    run_within(Duration::from_secs(90), Engine::Sqlite, "output", |h| async move {
        h.configure(LOCAL);
        h.model.push([says("Hi.")]);
        let daemon = h.daemon().await;
        let bound = Bound::make(&daemon, "output").await;
        bound.ends("Hi.").await;
        bound.call(&h, "execute", json!({ "command": "true" })).await;
        let before = memory_kib(daemon.pid());
        let flood = "head -c 50000000 /dev/zero | tr '\\0' x";
        let seen = bound.call(&h, "execute", json!({ "command": flood, "timeout": "60s" })).await;
        let seen = ok(&seen);
        assert_eq!(seen["exit_code"], json!(0), "{}", seen["error"]);
        assert_eq!(seen["truncated"]["original_bytes"], json!(50_000_000));
        assert!(seen["output"].as_str().unwrap().len() < 40_000);
        let started = bound.call(&h, "execute", json!({ "command": format!("{flood} &") })).await;
        let id = ok(&started)["background_process_id"].clone();
        let wait = json!({ "process_id": id, "wait_timeout": "60s" });
        let ended = bound.call(&h, "process_output", wait).await;
        assert_eq!(ok(&ended)["truncated"]["original_bytes"], json!(50_000_000));
        // A file of that size is refused, not read.
        let file = format!("{}/large", bound.folder);
        bound.call(&h, "execute", json!({ "command": format!("{flood} >{file}") , "timeout": "60s" })).await;
        for (tool, args) in [
            ("read_file", json!({ "path": file })),
            ("attach_file", json!({ "path": file, "name": "large.txt" })),
            (
                "edit_files",
                json!({ "files": [{ "path": file, "edits": [{ "search": "y", "replace": "z" }] }] }),
            ),
        ] {
            error(&bound.call(&h, tool, args).await);
        }
        let grown = peak_memory_kib(daemon.pid()).saturating_sub(before);
        // `attach_file` reads 10 MiB to see whether there is more: once in the pieces that came, once in one, and what
        // the allocator keeps beside that depends on how the pieces came (a little over 40 MiB on a busy machine).
        assert!(grown < 48 << 10, "{grown} KiB more");
        bound.end().await;
    });
}
