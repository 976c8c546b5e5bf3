//! Usage, version, completions and the health check.

use super::Shell;
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

#[test]
fn wrong_usage_exits_2_and_help_exits_0() {
    let shell = Shell::new();
    for args in
        [&["--nonsense"][..], &["nonsense"], &["config"], &["completions", "tcl"], &["config", "show", "x"]]
    {
        let ran = shell.run(args);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{args:?}");
        assert!(!ran.err.is_empty(), "{args:?}");
    }
    for args in [&["--help"][..], &["config", "--help"], &["--version"]] {
        let ran = shell.run(args);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{args:?}");
    }
    assert_eq!(shell.run(&["--version"]).out, format!("chatd {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_are_printed_for_each_shell() {
    let shell = Shell::new();
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = shell.run(&["completions", name]);
        assert!(ran.status == 0 && ran.out.contains("healthcheck"), "{name}: {}", ran.err);
    }
}

/// A daemon that answers one request, and tells its address and, later, the request's first line.
fn daemon(answer: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        for line in lines.map_while(Result::ok) {
            if line.is_empty() {
                break;
            }
        }
        stream.write_all(answer.as_bytes()).unwrap();
        first
    });
    (address, served)
}

#[test]
fn healthcheck_tells_a_live_daemon_from_a_sick_one() {
    let shell = Shell::new();
    let (address, served) = daemon("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let ran = shell.run(&["healthcheck", "--url", &format!("http://{address}/base")]);
    assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    assert_eq!(served.join().unwrap(), "GET /base/healthz HTTP/1.1");

    let (address, served) = daemon("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let shell = shell.file("chatd.toml", &format!("[server]\nlisten = \"{address}\"\n"));
    let ran = shell.run(&["healthcheck"]);
    assert_eq!(ran.status, 1);
    assert_eq!(ran.err, format!("chatd: the daemon at http://{address} answers 503; see its log\n"));
    assert_eq!(served.join().unwrap(), "GET /healthz HTTP/1.1");

    // Its listener is gone now.
    let ran = shell.run(&["healthcheck"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.starts_with(&format!("chatd: no daemon answers at http://{address} (")), "{}", ran.err);

    let shell = shell.file("chatd.toml", "nonsense");
    assert_eq!(shell.run(&["healthcheck"]).status, 78);
    assert_eq!(shell.run(&["healthcheck", "--url", "https://h"]).status, 2);
}
