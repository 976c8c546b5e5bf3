//! Reading, writing, listing, resolving.

use super::{Inside, escaped};
use bytes::Bytes;
use serde_json::json;
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

#[tokio::test]
async fn lines_are_read_within_limits() {
    let inside = Inside::new().await;
    let path = inside.at("a b&c.txt");
    fs::write(&path, "one\ntwo\nthree").unwrap();
    let read = async |more: &str| {
        inside.client.get(&format!("read-file-lines?path={}{more}", escaped(&path))).await.ok()
    };
    assert_eq!(
        read("").await,
        json!({"success": true, "file_size": 13, "total_lines": 3, "lines_read": 3, "content": "1\tone\n2\ttwo\n3\tthree"})
    );
    assert_eq!(read("&offset=2&limit=1").await["content"], "2\ttwo");
    assert_eq!(
        read("&max_line_bytes=2").await["content"],
        "1\ton... [truncated]\n2\ttw... [truncated]\n3\tth... [truncated]"
    );
    for (more, said) in [
        ("&offset=4", "the file has 3 lines"),
        ("&max_response_lines=2", "at most 2"),
        ("&max_response_bytes=5", "smaller range"),
        ("&max_file_size=12", "13 bytes"),
    ] {
        let failed = read(more).await;
        assert_eq!(failed["success"], false);
        assert!(failed["error"].as_str().unwrap().contains(said), "{failed}");
        assert!(failed.get("content").is_none());
    }
    fs::write(inside.at("empty"), "").unwrap();
    let empty = inside.client.get(&format!("read-file-lines?path={}", inside.at("empty"))).await.ok();
    assert_eq!((&empty["success"], &empty["total_lines"]), (&json!(true), &json!(0)));
    fs::write(inside.at("big"), vec![b'x'; (1 << 20) + 1]).unwrap();
    for (path, said) in [
        ("rel/f".to_owned(), "absolute"),
        (inside.at("none"), "does not exist"),
        (inside.at(""), "not a regular file"),
        (inside.at("big"), "shell tools"),
    ] {
        let failed = inside.client.get(&format!("read-file-lines?path={}", escaped(&path))).await.ok();
        assert!(failed["error"].as_str().unwrap().contains(said), "{failed}");
    }
    let client = &inside.client;
    assert!(client.get("read-file-lines?path=/x&ofset=1").await.refused(400).contains("ofset"));
    assert!(client.get("read-file-lines?path=/x&offset=-1").await.refused(400).contains("whole number"));
    assert!(client.get("read-file-lines").await.refused(400).contains("path"));
    assert!(client.get("read-lines?path=/x").await.refused(404).contains("read-lines"));
    assert!(client.post("read-file-lines?path=/x", json!({})).await.refused(405).contains("GET"));
}

#[tokio::test]
async fn a_pipe_or_device_hangs_nobody() {
    let inside = Inside::new().await;
    nix::unistd::mkfifo(inside.at("pipe").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", inside.at("zero")).unwrap();
    for name in ["pipe", "zero"] {
        let path = inside.at(name);
        let lines = inside.client.get(&format!("read-file-lines?path={path}")).await.ok();
        assert!(lines["error"].as_str().unwrap().contains("not a regular file"), "{lines}");
        assert_eq!(inside.client.get(&format!("read-file?path={path}")).await.status, 400);
        let body = json!({"files": [{"path": path, "edits": [{"search": "a", "replace": "b"}]}]});
        assert_eq!(inside.client.post("edit-files", body).await.status, 400);
        inside
            .client
            .post_bytes(&format!("write-file?path={path}"), Bytes::from_static(b"x"))
            .await
            .refused(400);
    }
}

#[tokio::test]
async fn bytes_are_read_whole_and_in_parts() {
    let inside = Inside::new().await;
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(inside.at("blob"), &bytes).unwrap();
    let get =
        async |more: &str| inside.client.get(&format!("read-file?path={}{more}", inside.at("blob"))).await;
    let whole = get("").await;
    assert_eq!((whole.status.as_u16(), whole.body.len()), (200, bytes.len()));
    assert!(whole.body == bytes);
    assert_eq!(whole.headers["content-type"], "application/octet-stream");
    let part = get("&offset=2999990&limit=100").await;
    assert_eq!(part.body, bytes[2_999_990..]);
    assert_eq!(get("&offset=10&limit=5").await.body, bytes[10..15]);
    assert_eq!(get("&offset=4000000").await.body, Bytes::new());
    fs::write(inside.at("t"), "text").unwrap();
    fs::write(inside.at("p"), b"\x89PNG\r\n\x1a\n0000").unwrap();
    for (name, kind) in [("t", "text/plain; charset=utf-8"), ("p", "image/png")] {
        let answer = inside.client.get(&format!("read-file?path={}", inside.at(name))).await;
        assert_eq!(answer.headers["content-type"], kind);
    }
    inside.client.get(&format!("read-file?path={}", inside.at("none"))).await.refused(404);
}

#[tokio::test]
async fn files_are_written_whole() {
    let inside = Inside::new().await;
    let write = async |path: &str, content: &'static str| {
        let path = format!("write-file?path={}", escaped(path));
        inside.client.post_bytes(&path, Bytes::from_static(content.as_bytes())).await
    };
    let path = inside.at("deep/er/ü.txt");
    write(&path, "one").await.ok();
    assert_eq!(fs::metadata(inside.at("deep")).unwrap().permissions().mode() & 0o777, 0o755);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    write(&path, "two").await.ok();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(inside.at("deep/er")).unwrap().count(), 1, "no temporary file stays");
    // An agent that runs as root leaves the files of others theirs.
    if std::os::unix::fs::chown(&path, Some(65534), Some(65534)).is_ok() {
        write(&path, "again").await.ok();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (65534, 65534, 0o600));
    }
    symlink("er/ü.txt", inside.at("deep/link")).unwrap();
    write(&inside.at("deep/link"), "three").await.ok();
    assert_eq!(fs::read_to_string(&path).unwrap(), "three");
    assert!(fs::symlink_metadata(inside.at("deep/link")).unwrap().is_symlink());
    symlink("loop", inside.at("loop")).unwrap();
    for path in
        ["rel".to_owned(), inside.at("deep"), inside.at("loop"), inside.at("deep/link/x"), inside.at("a\0b")]
    {
        assert!([400, 404].contains(&write(&path, "x").await.status.as_u16()), "{path}");
    }
    let large = Bytes::from(vec![b'x'; (32 << 20) + 1]);
    inside.client.post_bytes(&format!("write-file?path={}", inside.at("large")), large).await.refused(413);
    assert!(!fs::exists(inside.at("large")).unwrap());
}

#[tokio::test]
async fn directories_are_listed_and_paths_resolved() {
    let inside = Inside::new().await;
    fs::create_dir_all(inside.home("d/sub")).unwrap();
    fs::write(inside.home("d/f"), "").unwrap();
    symlink("sub", inside.home("d/l")).unwrap();
    symlink("nowhere", inside.home("d/n")).unwrap();
    let list = async |body| inside.client.post("list-directory", body).await;
    let listed = list(json!({"path": ["d"], "relativity": "home"})).await.ok();
    assert_eq!(listed["absolute_path_string"], inside.home("d"));
    assert_eq!(listed["absolute_path"].as_array().unwrap().last().unwrap(), "d");
    let entries: Vec<_> = listed["contents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["name"].as_str().unwrap(), entry["is_dir"].as_bool().unwrap()))
        .collect();
    assert_eq!(entries, [("f", false), ("l", true), ("n", false), ("sub", true)]);
    assert_eq!(listed["contents"][0]["absolute_path_string"], inside.home("d/f"));
    assert_eq!(list(json!({"path": [], "relativity": "root"})).await.ok()["absolute_path_string"], "/");
    assert_eq!(
        list(json!({"path": [], "relativity": "home"})).await.ok()["absolute_path_string"],
        inside.home("").trim_end_matches('/')
    );
    list(json!({"path": ["d", "none"], "relativity": "home"})).await.refused(404);
    list(json!({"path": ["d", "f"], "relativity": "home"})).await.refused(400);
    for step in ["..", "", ".", "a/b"] {
        list(json!({"path": ["d", step], "relativity": "home"})).await.refused(400);
    }
    list(json!({"path": ["d"], "relativity": "moon"})).await.refused(400);
    let resolve = async |path: &str| inside.client.get(&format!("resolve-path?path={}", escaped(path))).await;
    let resolved = resolve(&inside.home("d/l/new/leaf")).await.ok();
    assert_eq!(resolved, json!({"resolved_path": inside.home("d/sub/new/leaf")}));
    resolve("d").await.refused(400);
    // Where home is can be told without one.
    fs::remove_dir_all(inside.home("")).unwrap();
    let home = list(json!({"path": [], "relativity": "home"})).await.ok();
    assert_eq!(home["absolute_path_string"], inside.home("").trim_end_matches('/'));
    list(json!({"path": ["d"], "relativity": "home"})).await.refused(404);
}

#[tokio::test]
async fn a_place_where_all_chats_would_write_their_plans_is_refused() {
    let inside = Inside::new().await;
    let shared = inside.home("Plan.md");
    symlink(&shared, inside.at("notes")).unwrap();
    symlink(inside.home(""), inside.at("door")).unwrap();
    for path in [shared, inside.home("x/../PLAN.md"), inside.at("notes"), inside.at("door/plan.md")] {
        let write =
            inside.client.post_bytes(&format!("write-file?path={path}"), Bytes::from_static(b"x")).await;
        let own = inside.home(".coder/plans/PLAN-chat-1.md");
        assert!(write.refused(403).ends_with(&format!("write the plan to {own}")), "{path}");
        let edits = json!([{"search": "x", "replace": "y"}]);
        inside
            .client
            .post("edit-files", json!({"files": [{"path": path, "edits": edits}]}))
            .await
            .refused(403);
    }
    assert_eq!(fs::read_dir(inside.home("")).unwrap().count(), 0);
    for path in [inside.at("plan.md"), inside.home("d/PLAN.md")] {
        inside.client.post_bytes(&format!("write-file?path={path}"), Bytes::from_static(b"x")).await.ok();
    }
}

#[tokio::test]
async fn a_path_that_leads_elsewhere_by_now_is_refused() {
    let inside = Inside::new().await;
    fs::write(inside.at("plan.md"), "old").unwrap();
    let plan = inside.at("plan.md");
    let write = format!("write-file?path={plan}&resolved={plan}");
    let edit = json!({"files": [{"path": plan, "resolved": plan, "edits": [{"search": "new", "replace": "newer"}]}]});
    inside.client.post_bytes(&write, Bytes::from_static(b"new")).await.ok();
    inside.client.post("edit-files", edit.clone()).await.ok();
    assert_eq!(fs::read_to_string(&plan).unwrap(), "newer");
    fs::write(inside.home("else"), "new").unwrap();
    fs::remove_file(&plan).unwrap();
    symlink(inside.home("else"), &plan).unwrap();
    assert!(inside.client.post_bytes(&write, Bytes::new()).await.refused(409).contains(&inside.home("else")));
    inside.client.post("edit-files", edit).await.refused(409);
    assert_eq!(fs::read_to_string(inside.home("else")).unwrap(), "new");
}

#[tokio::test]
async fn a_race_for_a_link_is_never_won() {
    let inside = Inside::new().await;
    let (dir, aside, out) = (inside.at("d"), inside.at("aside"), inside.home("out"));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(format!("{out}/f"), "secret").unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (dir, aside, out, stop) = (dir.clone(), aside, out.clone(), stop.clone());
        move || {
            // Folder, link, folder, …; where the other side has just made something, it is cleared away.
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::rename(&dir, &aside);
                let _ = symlink(&out, &dir);
                let _ = fs::remove_file(&dir);
                let _ = fs::remove_dir_all(&dir);
                let _ = fs::rename(&aside, &dir);
            }
        }
    });
    let file = format!("{dir}/f");
    let (mut written, mut refused) = (0, 0);
    for round in 0..2000 {
        let path = format!("write-file?path={file}&resolved={file}");
        let status = inside.client.post_bytes(&path, Bytes::from_static(b"mine")).await.status.as_u16();
        assert!([200, 400, 404, 409, 500].contains(&status), "{status}");
        if status == 200 {
            written += 1;
        } else {
            refused += 1;
        }
        if round > 200 && written > 20 && refused > 20 {
            break;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(written > 0, "some find the folder");
    assert_eq!(fs::read_to_string(format!("{out}/f")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "nothing was put there");
}
