//! What is no export, no empty database, or no place for one.

use super::{ENGINES, Engine, Target, rows};
use crate::support::{both, fake_model::says, outside::chatd, run, turns::id};
use serde_json::{Value, json};

both! {
    async fn what_cannot_be_imported_leaves_nothing(h: Harness) {
        h.model.push([says("Kept.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Keep this").await);
        api.stream(&chat, None).await.answered(1).await;
        let good = daemon.command(&["export", "-"]).await.out;
        let lines: Vec<&str> = good.lines().collect();
        let (header, last) = (lines[0], lines[lines.len() - 1]);
        let user = lines.iter().position(|line| line.starts_with("{\"table\":\"users\"")).unwrap();
        let number = user + 1;
        let without = |n: usize| [&lines[..n], &lines[n + 1..]].concat().join("\n") + "\n";
        let with = |line: String| {
            let mut changed = lines.clone();
            changed[user] = &line;
            changed.join("\n") + "\n"
        };
        let changed_header = |key: &str, value: Value| {
            let mut header: Value = serde_json::from_str(header).unwrap();
            header[key] = value;
            good.replacen(lines[0], &header.to_string(), 1)
        };
        let at = |what: &str| format!("line {number}: {what}");
        let wrong: Vec<(String, String)> = vec![
            (String::new(), "no file of `chatd export`".into()),
            ("hello\n".into(), "no file of `chatd export`".into()),
            ("{\"a\":1}\n".into(), "no file of `chatd export`".into()),
            ("x".repeat(200_000), "no file of `chatd export`".into()),
            (rows(&good).into(), "no file of `chatd export`".into()),
            (changed_header("chatd_export", json!(2)), "use a newer chatd".into()),
            (changed_header("schema", json!("9999")), "use a newer chatd".into()),
            (changed_header("schema", json!("0001")), format!("import it with the chatd {}", env!("CARGO_PKG_VERSION"))),
            (good[..good.len() - last.len() - 1].into(), "it was cut off".into()),
            (good[..good.len() - 10].into(), "the file was cut off here".into()),
            (lines[..=user].join("\n")[..good.find(lines[user]).unwrap() + 20].into(), at("the file was cut off here")),
            (without(user), at("the rows of organization_members up to line")),
            (without(lines.len() - 2), "lines are missing".into()),
            (good.clone() + last + "\n", "more after the last line".into()),
            (with(lines[user].replace("\"users\"", "\"planets\"")), at("there is no table \"planets\"")),
            (with(lines[user].replace("\"username\"", "\"nickname\"")), at("users.username is missing")),
            (with(lines[user].replace("\"is_admin\":true", "\"is_admin\":1")), at("users.is_admin is not of its kind")),
            (with(lines[user].replace("\"row\":{", "\"row\":{\"more\":1,")), at("users has no column \"more\"")),
            (with(lines[user].replace("\"active\"", "\"asleep\"")), at("the rows of users up to line")),
            (with("[]".into()), at("this is no line of an export")),
        ];
        for engine in ENGINES {
            let target = Target::new(&h, engine, "wrong").await;
            for (n, (text, why)) in wrong.iter().enumerate() {
                let ran = target.run(&["import", "-"], text).await;
                assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{n}: {ran:?}");
                assert!(ran.err.contains(why) && ran.err.lines().count() == 1, "{n}: {why}: {ran:?}");
                assert!(ran.err.contains("stdin cannot be imported"), "{n}: {ran:?}");
            }
            // None of them has left anything.
            let done = target.run(&["import", "-"], &good).await;
            assert_eq!(done.status, 0, "{done:?}");
            let again = target.run(&["import", "-"], &good).await;
            assert_eq!(again.status, 1, "{again:?}");
            assert!(again.err.contains("rows in users already"), "{again:?}");
            assert_eq!(rows(&target.exported().await), rows(&good));
            target.remove().await;
        }
    }
}

#[test]
fn files_and_databases_that_are_there_are_left_alone() {
    run(Engine::Sqlite, "export_files", |h| async move {
        let mut daemon = h.daemon().await;
        let file = h.folder().join("all.jsonl");
        std::fs::write(&file, "mine").unwrap();
        let path = file.to_str().unwrap();
        let taken = daemon.command(&["export", path]).await;
        assert_eq!((taken.status, taken.out.as_str()), (1, ""), "{taken:?}");
        assert!(taken.err.contains("exists already"), "{taken:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        let nowhere = daemon.command(&["export", "/nowhere/all.jsonl"]).await;
        assert_eq!(nowhere.status, 1, "{nowhere:?}");
        assert!(nowhere.err.contains("cannot write /nowhere/all.jsonl"), "{nowhere:?}");
        for command in ["export", "import"] {
            assert_eq!(daemon.command(&[command]).await.status, 2);
        }
        let none = chatd(h.folder(), &["export", "-", "--data-dir", "nothing"]).await;
        assert_eq!((none.status, none.out.as_str()), (69, ""), "{none:?}");
        let missing = chatd(h.folder(), &["import", "nothing.jsonl", "--data-dir", "nothing"]).await;
        assert_eq!(missing.status, 1, "{missing:?}");
        assert!(missing.err.contains("cannot read nothing.jsonl"), "{missing:?}");
        let foreign = chatd(h.folder(), &["import", path, "--data-dir", "nothing"]).await;
        assert_eq!(foreign.status, 1, "{foreign:?}");
        assert!(!h.folder().join("nothing").exists(), "a database was made for a file that is none");

        let good = daemon.command(&["export", "-"]).await;
        assert_eq!(good.status, 0, "{good:?}");
        let served = daemon.command_with_input(&["import", "-"], &good.out).await;
        assert_eq!(served.status, 69, "{served:?}");
        assert!(served.err.contains("another chatd serves"), "{served:?}");
        daemon.stop().await;
        let url = "postgres://u:canary-password@127.0.0.1:1/db";
        for args in [&["export", "-"][..], &["import", "-"]] {
            let away = daemon.command_with_input(&[args, &["--database-url", url]].concat(), &good.out).await;
            assert_eq!((away.status, away.out.as_str()), (69, ""), "{away:?}");
            assert!(!away.err.contains("canary"), "{away:?}");
        }
    });
}
