//! `config.example.toml` and the code say the same.

use super::Machine;
use crate::config::{Config, EXAMPLE, LISTS, keys::sections, mcp_servers, models, providers, templates};

/// Whether this is `key = value`.
fn is_key(line: &str) -> bool {
    let word = |key: &str| key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    line.split_once(" = ").is_some_and(|(key, _)| word(key))
}

/// The example with every commented key made real: `# key = …` and `# [section]`.
fn uncommented() -> String {
    let real = |line| match str::strip_prefix(line, "# ") {
        Some(bare) if bare.starts_with('[') || is_key(bare) => bare,
        _ => line,
    };
    EXAMPLE.lines().map(real).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_the_default() {
    let machine = Machine::new();
    let default = machine.load().config;
    assert_eq!(
        machine.file("chatd.toml", EXAMPLE).load().config.data_dir.file_name(),
        default.data_dir.file_name()
    );
    let machine = Machine::new().file("chatd.toml", EXAMPLE);
    let data_dir = machine.0.path().join("home/.local/share/chatd");
    assert_eq!(machine.load().config, Config { data_dir, ..Config::default() });
}

#[test]
fn the_example_has_every_key_and_no_other() {
    let example: toml::Table = uncommented().parse().unwrap();
    let found = |section: &str| -> Vec<String> {
        let mut at = &example;
        for part in section.split('.').filter(|part| !part.is_empty()) {
            at = match part.strip_suffix("[]") {
                Some(list) => at[list][0].as_table().unwrap(),
                None => at[part].as_table().unwrap(),
            };
        }
        let mut keys: Vec<_> = at.keys().cloned().collect();
        keys.sort();
        keys
    };
    for (section, keys) in sections() {
        let mut keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        keys.sort();
        assert_eq!(found(section), keys, "[{section}] of config.example.toml, then of the code");
    }
}

#[test]
fn the_lists_of_the_example_show_the_defaults_of_their_items() {
    let example: toml::Table = uncommented().parse().unwrap();
    let defaults = toml::Table::try_from(Config {
        providers: vec![providers::Provider::default()],
        models: vec![models::Model::default()],
        templates: vec![templates::Template::default()],
        mcp_servers: vec![mcp_servers::McpServer::default()],
        ..Config::default()
    })
    .unwrap();
    // What has no default, and is therefore shown with a value that makes sense.
    let required = ["name", "type", "provider", "model", "url"];
    for list in LISTS {
        for (key, default) in defaults[list][0].as_table().unwrap() {
            if !required.contains(&key.as_str()) {
                assert_eq!(&example[list][0][key], default, "{list}: {key}");
            }
        }
    }
}

#[test]
fn each_key_of_the_example_is_explained() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let is_key = |line: &str| is_key(line.strip_prefix("# ").unwrap_or(line));
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| is_key(line)) {
        assert!(lines[i - 1].starts_with("# ") && !is_key(lines[i - 1]), "line {}: {line}", i + 1);
    }
}
