//! `chatd chat`: a chat in the terminal, beside a daemon.

use crate::{
    relay::proxy::Proxy,
    support::{
        both,
        daemon::DaemonProcess,
        fake_model::{Gate, Reply, fails, says, says_in, thinks},
        outside::{chatd, eventually},
    },
};
use nix::{
    pty::openpty,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use std::{fs::File, io::Write as _, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// The command, with its output as it comes.
struct Terminal {
    child: Child,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
    /// What has come of stdout and of stderr.
    seen: [watch::Receiver<String>; 2],
}

impl Terminal {
    fn start(daemon: &DaemonProcess, args: &[&str], stdin: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatd"));
        let file = daemon.config_file();
        command.arg("chat").args(args).arg("--config").arg(&file).env_clear();
        command.current_dir(file.parent().expect("it lies in a folder")).kill_on_drop(true);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start chatd");
        let (to_out, out_seen) = watch::channel(String::new());
        let (to_err, err_seen) = watch::channel(String::new());
        let out = tokio::spawn(read(child.stdout.take().expect("a pipe"), to_out));
        let err = tokio::spawn(read(child.stderr.take().expect("a pipe"), to_err));
        Self { child, out, err, seen: [out_seen, err_seen] }
    }

    /// Until the chat shows this.
    async fn shows(&mut self, text: &str) {
        seen(&mut self.seen[0], |out| out.contains(text), text).await;
    }

    /// Until this is told beside it.
    async fn tells(&mut self, text: &str) {
        seen(&mut self.seen[1], |err| err.contains(text), text).await;
    }

    /// Until a line could be typed for this many times: at the start, after each turn, after an empty line.
    async fn asks(&mut self, times: usize) {
        let what = format!("{times} times asked");
        seen(&mut self.seen[1], |err| err.matches("> ").count() == times, &what).await;
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.child.id().expect("it runs")).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("signal it");
    }

    /// Its status, stdout and stderr.
    async fn ends(mut self) -> (Option<i32>, String, String) {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("wait for it");
        (status.code(), self.out.await.expect("stdout"), self.err.await.expect("stderr"))
    }
}

async fn seen(printed: &mut watch::Receiver<String>, is: impl Fn(&str) -> bool, what: &str) {
    let waited = timeout(PATIENCE, printed.wait_for(|text| is(text))).await.is_ok_and(|there| there.is_ok());
    assert!(waited, "{what}: {:?}", *printed.borrow());
}

async fn read(mut from: impl AsyncRead + Unpin, seen: watch::Sender<String>) -> String {
    let (mut all, mut buffer) = (String::new(), vec![0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let piece = std::str::from_utf8(&buffer[..count]).expect("output is UTF-8");
        all.push_str(piece);
        seen.send_modify(|seen| seen.push_str(piece));
    }
    all
}

/// The id that the command told to go on with.
fn told(err: &str) -> &str {
    err.trim().rsplit_once("chatd chat --chat ").expect("how to go on").1
}

both! {
    async fn a_question_is_answered_and_gone_on_with(h: Harness) {
        h.model.push([
            thinks("Hm.").says("I look.").calls("no_such_tool", json!({ "path": "/x" })),
            says_in(["First ", "ans", "wer."]),
            says("Second \u{1b}[2J answer."),
        ]);
        let daemon = h.daemon().await;
        let url = daemon.url().to_owned();
        let ran = daemon.command(&["chat", "First question?", "--url", &url]).await;
        assert_eq!(ran.status, 0, "{ran:?}");
        let shown = ["(thinks) Hm.\n\nI look.\n\n  → no_such_tool {\"path\":\"/x\"}\n  ← no_such_tool ", "First answer.\n\n"];
        assert!(ran.out.starts_with(shown[0]) && ran.out.ends_with(shown[1]), "{ran:?}");
        assert_eq!(ran.out.matches("First").count(), 1, "{ran:?}");
        let chat = told(&ran.err).to_owned();
        // All of standard input is a question; only the answer is printed.
        let input = "Second\nquestion?\n";
        let ran = daemon.command_with_input(&["chat", "-q", "--chat", &chat, "--url", &url], input).await;
        assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (0, "Second \u{fffd}[2J answer.\n\n", ""));
        // A token of somebody else, whose chat it is not, and one of nobody.
        let bob = daemon.token_for("bob", &[]).await;
        let args = ["chat", "Mine?", "--chat", &chat, "--url", &url, "--token"];
        let ran = daemon.command(&[&args[..], &[&bob]].concat()).await;
        assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{ran:?}");
        let ran = daemon.command(&[&args[..], &["nonsense"]].concat()).await;
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.err.contains("chatd token create"), "{ran:?}");
        let api = daemon.api();
        assert_eq!(api.history(&chat).await.len(), 6);
    }

    async fn what_cannot_be_said_is_told(h: Harness) {
        h.model.otherwise(|_| fails(401, json!({ "error": { "message": "bad key", "type": "auth" } })));
        let daemon = h.daemon().await;
        let url = daemon.url().to_owned();
        let failed = daemon.command(&["chat", "Hello?", "--url", &url]).await;
        assert_eq!((failed.status, failed.out.as_str()), (1, ""), "{failed:?}");
        // The chat is there: its question need not be typed again.
        assert!(!told(&failed.err).is_empty(), "{failed:?}");
        assert!(failed.err.lines().last().is_some_and(|why| why.starts_with("chatd: ")), "{failed:?}");
        assert_eq!(failed.err.lines().count(), 2, "{failed:?}");
        for (args, input, status, why) in [
            (&["chat", "--url", &url][..], " \n", 2, "give a PROMPT"),
            (&["chat", "x", "--url", "ftp://h"], "", 2, "--token"),
            (&["chat", "x", "--url", "nonsense", "--token", "t"], "", 2, "http://HOST:PORT"),
            (&["chat", "x", "--url", "http://example.org"], "", 2, "--token"),
            (&["chat", "x", "--url", &url, "--chat", "7"], "", 2, "--chat"),
            (&["chat", "x", "--url", "http://127.0.0.1:1"], "", 1, "chatd serve"),
            (&["chat", "x", "--url", &url, "--chat", "00000000-0000-4000-8000-000000000000"], "", 1, "not found"),
        ] {
            let ran = daemon.command_with_input(args, input).await;
            assert_eq!((ran.status, ran.out.as_str()), (status, ""), "{args:?}: {ran:?}");
            assert!(ran.err.to_lowercase().contains(&why.to_lowercase()), "{args:?}: {ran:?}");
        }
        let nowhere = chatd(h.folder(), &["chat", "x", "--data-dir", "none"]).await;
        assert_eq!(nowhere.status, 2, "{nowhere:?}");
        assert!(nowhere.err.contains("none/token"), "{nowhere:?}");
    }

    async fn ctrl_c_interrupts_the_turn_and_twice_leaves(h: Harness) {
        let gates = [Gate::new(), Gate::new()];
        h.model.push([hangs("Part one", &gates[0]), hangs("Part two", &gates[1])]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut terminal = Terminal::start(&daemon, &["Go.", "--url", daemon.url()], Stdio::null());
        terminal.shows("Part one").await;
        terminal.interrupt();
        let (status, out, err) = terminal.ends().await;
        assert_eq!((status, out.as_str()), (Some(130), "Part one\n\n"), "{err}");
        let chat = told(&err).to_owned();
        assert_eq!(api.chat(&chat).await["status"], "waiting");
        assert_eq!(api.history(&chat).await.len(), 2, "what was said is kept");
        // Whoever does not wait for the end of the interruption leaves; the turn ends all the same.
        let mut terminal = Terminal::start(&daemon, &["Go.", "--chat", &chat, "--url", daemon.url()], Stdio::null());
        terminal.shows("Part two").await;
        terminal.interrupt();
        terminal.tells("once more leaves").await;
        terminal.interrupt();
        assert_eq!(terminal.ends().await.0, Some(130));
        eventually("the end of the turn", async || (api.chat(&chat).await["status"] == "waiting").then_some(())).await;
    }

    async fn a_lost_connection_loses_and_repeats_nothing(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("One, ").gate(&gate).says("two, ").says("three.")]);
        let daemon = h.daemon().await;
        let cable = Proxy::start().await;
        cable.lead_to(daemon.url());
        let mut terminal = Terminal::start(&daemon, &["Count.", "--url", &cable.url()], Stdio::null());
        terminal.shows("One, ").await;
        cable.cut();
        terminal.tells("cannot be reached").await;
        gate.open();
        cable.restore();
        let (status, out, err) = terminal.ends().await;
        assert_eq!((status, out.as_str()), (Some(0), "One, two, three.\n\n"), "{err}");
    }

    async fn lines_of_a_terminal_are_said_one_after_the_other(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("First."), hangs("Second", &gate), says("Third.")]);
        let daemon = h.daemon().await;
        let pty = openpty(None, None).expect("a terminal");
        let mut keys = File::from(pty.master);
        let mut terminal = Terminal::start(&daemon, &["--url", daemon.url()], Stdio::from(pty.slave));
        terminal.asks(1).await;
        keys.write_all(b"one\n").expect("type");
        terminal.shows("First.").await;
        terminal.asks(2).await;
        keys.write_all(b"\n").expect("type");
        terminal.asks(3).await;
        keys.write_all(b"two\n").expect("type");
        terminal.shows("Second").await;
        keys.write_all(b"three\n").expect("type");
        terminal.tells("it is queued").await;
        terminal.interrupt();
        terminal.shows("Third.").await;
        terminal.asks(4).await;
        // Ctrl-D.
        keys.write_all(&[4]).expect("type");
        let (status, out, err) = terminal.ends().await;
        assert_eq!((status, out.as_str()), (Some(0), "First.\n\nSecond\n\nThird.\n\n"), "{err}");
        let chat = told(&err).to_owned();
        assert_eq!(daemon.api().history(&chat).await.len(), 6);
    }
}

/// Says something and nothing more.
fn hangs(text: &str, gate: &Gate) -> Reply {
    says(text).gate(gate).says("never")
}
