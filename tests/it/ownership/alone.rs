//! The embedded database has one daemon.

use crate::support::{
    Engine,
    fake_model::{Gate, says},
    outside::eventually,
    run,
};

#[test]
fn a_second_daemon_on_the_same_file_is_refused() {
    run(Engine::Sqlite, "second_daemon", |h| async move {
        let daemon = h.daemon().await;
        let second = daemon.command(&["serve", "--listen", "127.0.0.1:0"]).await;
        assert_eq!(second.status, 69, "{second:?}");
        let sentence = second.err.lines().last().unwrap_or_default();
        assert!(sentence.starts_with("chatd: ") && sentence.contains("another chatd serves"), "{second:?}");
        // Nor by another name of the file.
        let folder = h.folder().join("elsewhere");
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(daemon.data_dir().join("chatd.db"), folder.join("chatd.db")).unwrap();
        let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", folder.to_str().unwrap()];
        let second = daemon.command(&args).await;
        assert!(second.status == 69 && second.err.contains("another chatd serves"), "{second:?}");
        // The first one has not noticed.
        assert_eq!(daemon.api().get("//readyz").await.status, 200);
        h.model.push([says("Still here.")]);
        let api = daemon.api();
        let chat = api.create_chat("Are you there?").await;
        let mut stream = api.stream(chat["id"].as_str().unwrap(), None).await;
        assert_eq!(stream.settled().await.texts("assistant"), ["Still here."]);
    });
}

#[test]
fn a_restart_after_kill_9_takes_over_at_once() {
    run(Engine::Sqlite, "restart_at_once", |h| async move {
        h.configure("[worker]\nlease = \"60s\"\nheartbeat_interval = \"500ms\"");
        let gate = Gate::new();
        h.model.push([says("lost").gate(&gate), says("found")]);
        let mut daemon = h.daemon().await;
        let chat = daemon.api().create_chat("Go on").await;
        gate.reached().await;
        daemon.kill_9().await;
        daemon.restart().await;
        // Long before the lease would have ended.
        eventually("the step is tried again", async || (h.turn_requests().len() == 2).then_some(())).await;
        let api = daemon.api();
        let mut stream = api.stream(chat["id"].as_str().unwrap(), None).await;
        assert_eq!(stream.settled().await.texts("assistant"), ["found"]);
        eventually("nothing is owned", async || {
            (daemon.metric("chatd_owned_chats").await == Some(0.0)).then_some(())
        })
        .await;
    });
}
