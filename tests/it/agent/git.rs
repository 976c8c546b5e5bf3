//! Changes of the repositories in the agent's folder.

use super::{Inside, escaped};
use serde_json::{Value, json};
use std::{fs, process::Command, time::Duration};

fn git(dir: &str, args: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]);
    let output =
        command.arg("-C").arg(dir).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn changes(inside: &Inside) -> Vec<Value> {
    let answer = inside.client.get("git/changes").await.ok();
    assert!(answer["scanned_at"].as_str().unwrap().ends_with('Z'));
    answer["repositories"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_repository_shows_what_is_not_committed() {
    let inside = Inside::new().await;
    assert!(changes(&inside).await.is_empty());
    let root = inside.at("");
    let root = root.trim_end_matches('/');
    git(root, &["init", "-q"]);
    fs::write(inside.at("new"), "n\n").unwrap();
    let fresh = changes(&inside).await;
    assert_eq!((&fresh[0]["repo_root"], &fresh[0]["branch"]), (&json!(root), &json!("main")));
    assert!(
        fresh[0]["unified_diff"].as_str().unwrap().contains("+n\n") && fresh[0].get("error").is_none(),
        "{fresh:?}"
    );
    git(root, &["add", "."]);
    git(root, &["commit", "-q", "-m", "one"]);
    git(root, &["remote", "add", "origin", "https://me:secret@h.example/r.git"]);
    assert_eq!(changes(&inside).await[0]["unified_diff"], "");
    fs::write(inside.at("new"), "changed\n").unwrap();
    fs::write(inside.at("ü"), "untracked\n").unwrap();
    fs::write(inside.at(".gitignore"), "ignored\n").unwrap();
    fs::write(inside.at("ignored"), "x\n").unwrap();
    let index = fs::read(inside.at(".git/index")).unwrap();
    let changed = changes(&inside).await;
    let diff = changed[0]["unified_diff"].as_str().unwrap();
    assert!(
        diff.contains("-n\n+changed\n") && diff.contains("+++ b/ü\n") && diff.contains("+untracked\n"),
        "{diff}"
    );
    assert!(!diff.contains("b/ignored"), "{diff}");
    assert_eq!(changed[0]["remote_origin"], "https://h.example/r.git");
    assert_eq!(fs::read(inside.at(".git/index")).unwrap(), index, "the repository is left as it is");
    fs::write(inside.at("new"), "line\n".repeat(400_000)).unwrap();
    let large = changes(&inside).await;
    assert_eq!(large[0]["truncated"], true);
    assert!(large[0]["unified_diff"].as_str().unwrap().len() <= 1 << 20);
    assert_eq!(counts(&large[0]), [3, 400_002, 1], "all of them, although the diff is cut");
}

/// Changed files, added and removed lines.
fn counts(repository: &Value) -> [i64; 3] {
    ["changed_files", "additions", "deletions"].map(|key| repository[key].as_i64().unwrap())
}

#[tokio::test]
async fn how_much_was_changed_is_told_without_the_changes() {
    let inside = Inside::new().await;
    let root = inside.at("");
    git(&root, &["init", "-q"]);
    for (name, text) in [("a", "1\n2\n3\n"), ("b", "x\n"), ("gone", "1\n2\n")] {
        fs::write(inside.at(name), text).unwrap();
    }
    git(&root, &["add", "."]);
    git(&root, &["commit", "-q", "-m", "one"]);
    let counted = async || {
        let answer = inside.client.get("git/changes?diff=false").await;
        assert!(answer.body.len() < 1000, "{}", answer.body.len());
        answer.ok()["repositories"][0].clone()
    };
    assert_eq!(counts(&counted().await), [0, 0, 0]);
    fs::write(inside.at("a"), "1\n2\n".repeat(100_000)).unwrap();
    fs::write(inside.at("bin"), b"\0\x01\n").unwrap();
    fs::write(inside.at("new"), "n\n").unwrap();
    fs::remove_file(inside.at("gone")).unwrap();
    let seen = counted().await;
    // Two of the three lines stay; a binary file has none.
    assert_eq!(counts(&seen), [4, 199_999, 3], "{seen}");
    assert_eq!((&seen["unified_diff"], &seen["branch"]), (&json!(""), &json!("main")));
    assert!(seen.get("truncated").is_none(), "{seen}");
}

#[tokio::test]
async fn repositories_below_are_found() {
    let inside = Inside::new().await;
    for name in ["a", "b/c", "d/e/f/too-deep"] {
        fs::create_dir_all(inside.at(name)).unwrap();
        git(&inside.at(name), &["init", "-q"]);
        fs::write(inside.at(&format!("{name}/f")), "x\n").unwrap();
    }
    let roots: Vec<_> =
        changes(&inside).await.iter().map(|r| r["repo_root"].as_str().unwrap().to_owned()).collect();
    assert_eq!(roots, [inside.at("a"), inside.at("b/c")]);
    let one = inside.client.get(&format!("git/changes?path={}", escaped(&inside.at("b/c")))).await.ok();
    assert_eq!(one["repositories"].as_array().unwrap().len(), 1);
    inside.client.get("git/changes?path=b").await.refused(400);
}

#[tokio::test]
async fn a_hostile_repository_runs_nothing() {
    let inside = Inside::new().await;
    let root = inside.at("");
    git(&root, &["init", "-q"]);
    fs::write(inside.at("f"), "x\n").unwrap();
    git(&root, &["add", "."]);
    git(&root, &["commit", "-q", "-m", "one"]);
    fs::write(inside.at("f"), "y\n").unwrap();
    let touch = format!("touch {}; true", inside.at("pwned"));
    for key in [
        "core.fsmonitor",
        "core.pager",
        "pager.diff",
        "diff.external",
        "diff.x.textconv",
        "diff.x.command",
        "core.sshCommand",
    ] {
        git(&root, &["config", key, &touch]);
    }
    fs::write(inside.at(".gitattributes"), "* diff=x\n").unwrap();
    assert!(changes(&inside).await[0]["unified_diff"].as_str().unwrap().contains("+y\n"));
    assert!(!fs::exists(inside.at("pwned")).unwrap());
}

/// Git tells by the time of its index that it has to look into such a file.
#[tokio::test]
async fn a_change_within_the_second_of_the_commit_is_seen() {
    let inside = Inside::new().await;
    let root = inside.at("");
    fs::write(inside.at("f"), "x\n").unwrap();
    let then = fs::metadata(inside.at("f")).unwrap().modified().unwrap() - Duration::from_secs(10);
    let set_back = |path: &str| {
        fs::File::options().write(true).open(inside.at(path)).unwrap().set_modified(then).unwrap();
    };
    git(&root, &["init", "-q"]);
    git(&root, &["config", "core.trustctime", "false"]);
    set_back("f");
    git(&root, &["add", "."]);
    git(&root, &["commit", "-q", "-m", "one"]);
    fs::write(inside.at("f"), "y\n").unwrap();
    set_back("f");
    set_back(".git/index");
    assert!(changes(&inside).await[0]["unified_diff"].as_str().unwrap().contains("+y\n"));
}
