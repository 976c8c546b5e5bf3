//! `chatd config check | show | init`

use super::{Ran, Shell};
use std::os::unix::fs::PermissionsExt;

#[test]
fn check_says_every_mistake_and_exits_78() {
    let shell = Shell::new().file("chatd.toml", "[server]\nlisen = 1\n[log]\nformat = \"xml\"\n");
    let ran = shell.run(&["config", "check"]);
    assert_eq!((ran.status, ran.out.as_str()), (78, ""));
    assert_eq!(
        ran.err,
        "chatd.toml:2: server.lisen: unknown key; did you mean \"listen\"?\n\
         chatd.toml:4: log.format: expected \"pretty\" or \"json\", found \"xml\"\n"
    );
    // Everything else says the first one, in one sentence.
    let ran = shell.run(&["config", "show"]);
    assert_eq!((ran.status, ran.out.as_str()), (78, ""));
    assert_eq!(
        ran.err,
        "chatd: chatd.toml:2: server.lisen: unknown key; did you mean \"listen\"? \
         (and 1 more: see `chatd config check`)\n"
    );
}

#[test]
fn options_of_a_model_are_checked_too() {
    let start = "[[providers]]\nname = \"a\"\ntype = \"anthropic\"\napi_key = \"k\"\n\
                 [[models]]\nname = \"m\"\nprovider = \"a\"\nmodel = \"x\"\n";
    for (options, said) in [
        ("anthropc = {}", "anthropc: unknown key; did you mean \"anthropic\"?"),
        ("anthropic = { efort = \"low\" }", "anthropic.efort: unknown key; did you mean \"effort\"?"),
        (
            "anthropic = { thinking = { tokens = 1 } }",
            "anthropic.thinking.tokens: unknown key; known here: budget_tokens",
        ),
        (
            "anthropic = { effort = \"extreme\" }",
            "anthropic.effort: expected one of low, medium, high, xhigh, max",
        ),
    ] {
        let shell = Shell::new().file("chatd.toml", &format!("{start}provider_options = {{ {options} }}\n"));
        for (args, begin) in [(&["config", "check"][..], ""), (&["config", "show"], "chatd: ")] {
            let ran = shell.run(args);
            assert_eq!((ran.status, ran.out.as_str()), (78, ""), "{ran:?}");
            assert_eq!(ran.err, format!("{begin}chatd.toml:9: models[0].provider_options.{said}\n"));
        }
    }
    let good = format!(
        "{start}provider_options = {{ anthropic = {{ effort = \"low\" }}, openrouter = {{ extra_body = {{ any = 1 }} }} }}"
    );
    let ran = Shell::new().file("chatd.toml", &good).run(&["config", "check"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
}

#[test]
fn check_of_a_sound_configuration_exits_0() {
    let ran = Shell::new().run(&["config", "check"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "The configuration is valid (no file was read).\n"));
    let text = "[[providers]]\nname = \"a\"\ntype = \"anthropic\"\napi_key_env = \"UNSET\"\n";
    let ran = Shell::new().file("c.toml", text).run(&["config", "check", "--config", "c.toml"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "The configuration is valid (c.toml).\n"));
    assert_eq!(
        ran.err,
        "warning: c.toml:4: providers[0].api_key_env: the environment variable UNSET is not set\n"
    );
}

#[test]
fn show_masks_secrets_and_names_the_source_of_each_value() {
    let shell = Shell::new()
        .file("chatd.toml", "[database]\nurl = \"postgres://u:canary@h/d\"\n[log]\nfilter = \"debug\"\n")
        .file(".env", "ANTHROPIC_API_KEY=canary\nCHATD__CHAT__MAX_QUEUE=5\n");
    let mut command = shell.command(&["--listen", "127.0.0.1:1", "config", "show", "--origin"]);
    let ran = Ran::from(command.env("CHATD__LOG__FILTER", "warn").output().unwrap());
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    for line in [
        "listen = \"127.0.0.1:1\"  # flag --listen",
        "url = \"postgres://u:[REDACTED]@h/d\"  # chatd.toml:2",
        "filter = \"warn\"  # environment CHATD__LOG__FILTER",
        "max_queue = 5  # .env:2 CHATD__CHAT__MAX_QUEUE",
        "lease = \"30s\"  # default",
        "api_key_env = \"ANTHROPIC_API_KEY\"  # .env:1 ANTHROPIC_API_KEY",
    ] {
        assert!(ran.out.lines().any(|shown| shown == line), "{line} is not in\n{}", ran.out);
    }
    assert!(!ran.out.contains("canary"));
    let plain = shell.run(&["config", "show"]);
    assert!(plain.status == 0 && plain.out.contains("\nfilter = \"debug\"\n"), "{}", plain.out);
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let shell = Shell::new();
    for args in [&["config", "show"][..], &["--help"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Ran::from(shell.command(args).stdout(writer).output().unwrap());
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn init_writes_a_sound_file_once() {
    let shell = Shell::new();
    let ran = shell.run(&["config", "init", "etc/c.toml"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, ""), "{}", ran.err);
    let path = shell.dir().join("etc/c.toml");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(shell.run(&["config", "check", "--config", "etc/c.toml"]).status, 0);
    let ran = shell.run(&["config", "init", "etc/c.toml"]);
    assert_eq!(ran.status, 1);
    assert_eq!(ran.err, "chatd: etc/c.toml exists already; name another file, or move it away first\n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), chatd::config::EXAMPLE);
}
