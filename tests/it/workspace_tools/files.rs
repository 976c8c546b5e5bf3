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
        let read = bound.call(&h, "read_file", json!({ "path": file, "offset": 2 })).await;
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
}
