//! Edits: all or nothing, and once.

use super::Inside;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink};

fn edit(path: &str, search: &str, replace: &str) -> Value {
    json!({"path": path, "edits": [{"search": search, "replace": replace}]})
}

#[tokio::test]
async fn several_files_are_edited_together_or_not_at_all() {
    let inside = Inside::new().await;
    let (a, b) = (inside.at("a"), inside.at("b"));
    fs::write(&a, "one\ntwo\n").unwrap();
    fs::write(&b, "x  \ny\n").unwrap();
    let post = async |files: Value| inside.client.post("edit-files", json!({"files": files})).await;
    let said = post(json!([edit(&a, "one", "1"), edit(&b, "nothing", ""), edit(&inside.at("c"), "x", "y")]))
        .await
        .refused(400);
    assert!(
        said.contains("nothing was changed") && said.contains(&b) && said.contains("not found"),
        "{said}"
    );
    assert!(said.contains(&inside.at("c")) && said.contains("does not exist"), "{said}");
    assert_eq!(fs::read_to_string(&a).unwrap(), "one\ntwo\n");
    let both = json!([
        {"path": a, "edits": [{"search": "one", "replace": "1"}, {"search": "1\ntwo", "replace": "2"}]},
        edit(&b, "x\ny", "z"),
    ]);
    post(both).await.ok();
    assert_eq!(
        (fs::read_to_string(&a).unwrap(), fs::read_to_string(&b).unwrap()),
        ("2\n".into(), "z\n".into())
    );
    fs::write(&a, "q q").unwrap();
    assert!(post(json!([edit(&a, "q", "")])).await.refused(400).contains("2 places"));
    post(json!([{"path": a, "edits": [{"search": "q", "replace": "r", "replace_all": true}]}])).await.ok();
    assert_eq!(fs::read_to_string(&a).unwrap(), "r r");
}

#[tokio::test]
async fn what_is_refused() {
    let inside = Inside::new().await;
    let a = inside.at("a");
    fs::write(&a, "one").unwrap();
    fs::write(inside.at("bin"), [0xff, 0xfe]).unwrap();
    symlink("a", inside.at("link")).unwrap();
    let post = async |files: Value| inside.client.post("edit-files", json!({"files": files})).await;
    for (files, said) in [
        (json!([]), "at least one file"),
        (json!([{"path": a, "edits": []}]), "no edits"),
        (json!([edit("a", "x", "y")]), "absolute"),
        (json!([edit(&a, "one", "1"), edit(&inside.at("link"), "one", "2")]), "same file"),
        (json!([edit(&a, "", "x")]), "empty"),
        (json!([edit(&inside.at("bin"), "x", "y")]), "UTF-8"),
        (json!([edit(&inside.at(""), "x", "y")]), "not a regular file"),
        (json!([{"path": a, "edits": [{"replace": "x"}]}]), "search"),
    ] {
        let refused = post(files).await.refused(400);
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!(fs::read_to_string(&a).unwrap(), "one");
}

#[tokio::test]
async fn a_repeated_call_has_one_effect() {
    let inside = Inside::new().await;
    let a = inside.at("a");
    fs::write(&a, "aa").unwrap();
    let body = json!({"files": [edit(&a, "aa", "aaa")]});
    let call = inside.client.tool_call("call-1");
    let first = call.post("edit-files", body.clone()).await;
    let again = inside.again().await.tool_call("call-1").post("edit-files", body.clone()).await;
    assert_eq!((first.ok(), fs::read_to_string(&a).unwrap()), (again.ok(), "aaa".into()));
    // A failure is an outcome too.
    let bad = json!({"files": [edit(&a, "zzz", "")]});
    let failed = inside.client.tool_call("call-2").post("edit-files", bad.clone()).await.refused(400);
    fs::write(&a, "zzz").unwrap();
    assert_eq!(inside.client.tool_call("call-2").post("edit-files", bad.clone()).await.refused(400), failed);
    assert!(
        inside
            .client
            .tool_call("call-2")
            .post("edit-files", body)
            .await
            .refused(409)
            .contains("another request")
    );
    inside.client.chat("chat-2").tool_call("call-2").post("edit-files", bad).await.ok();
}
