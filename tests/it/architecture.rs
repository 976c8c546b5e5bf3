//! The shape of the source: imports point one way, files stay short, and some things have one place.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Modules from the top to the bottom; those in one row must not import each other. A module may
/// import from rows below its own, and from the leaves.
const LAYERS: [&[&str]; 16] = [
    &["main"],
    &["cli"],
    &["app", "agent"],
    &["api"],
    &["actors"],
    &["stream"],
    &["turn"],
    &["tools"],
    // `mcp` is a third neighbour once it exists.
    &["mcp", "workspace", "llm"],
    &["store"],
    &["bus"],
    &["chat"],
    // Set up from the configuration.
    &["logging"],
    &["leaf"],
    &["ids", "clock"],
    &["lib"],
];

/// Usable from everywhere. They stand on the row `leaf`: of ours they may use ids and clock only.
const LEAVES: [&str; 3] = ["config", "metrics", "websocket"];

const MAX_LINES: usize = 500;

struct Source {
    /// Path below `src/`.
    path: String,
    module: String,
    /// The lines of the file with comments blanked out.
    lines: Vec<String>,
}

fn sources() -> Vec<Source> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let below = path.strip_prefix(&root).unwrap();
        let first = below.iter().next().unwrap().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
        Source {
            path: below.display().to_string(),
            module,
            lines: text.lines().map(without_comment).collect(),
        }
    };
    paths.into_iter().map(read).collect()
}

/// The line without a `//` comment. A `//` in a string, as in a URL, cuts the line too, which can only
/// hide what stands behind it on that line.
fn without_comment(line: &str) -> String {
    line.split("//").next().unwrap_or_default().to_owned()
}

/// The number of the row; unknown modules have none.
fn layer(module: &str) -> Option<usize> {
    let module = if LEAVES.contains(&module) { "leaf" } else { module };
    LAYERS.iter().position(|row| row.contains(&module))
}

/// Whether `from` may import `to`.
fn may_import(from: &str, to: &str) -> bool {
    if from == to || from == "lib" {
        return true;
    }
    match (layer(from), layer(to)) {
        (Some(from), Some(to)) => from < to,
        _ => false,
    }
}

/// Modules of this crate that the source names by `crate::` or, in the binary, by `chatd::`.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let prefixes: &[&str] = if source.module == "main" { &["crate::", "chatd::"] } else { &["crate::"] };
    let text = source.lines.join("\n");
    let mut found = Vec::new();
    for prefix in prefixes {
        for (at, _) in text.match_indices(prefix) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue; // `other_crate::`, or a macro's own crate
            }
            let line = text[..at].matches('\n').count() + 1;
            let rest = &text[at + prefix.len()..];
            found.extend(first_names(rest).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// First names of a path: `bus::Hint` has one, `{chat::state, ids::{ChatId, UserId}}` has two.
fn first_names(path: &str) -> Vec<String> {
    let name =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut depth, mut item) = (Vec::new(), 0, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut item)),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    names.push(item);
    names.iter().map(|item| name(item.trim())).filter(|name| !name.is_empty()).collect()
}

fn assert_none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

#[test]
fn imports_point_one_way() {
    let mut breaches = Vec::new();
    for source in sources() {
        if layer(&source.module).is_none() {
            breaches.push(format!("{}: the module {:?} has no layer", source.path, source.module));
        }
        for (line, name) in imports(&source) {
            // A capital is an item of the crate root, such as an exported macro or a re-export.
            if !name.starts_with(char::is_uppercase) && !may_import(&source.module, &name) {
                breaches.push(format!("{}:{line}: {} imports {name}", source.path, source.module));
            }
        }
    }
    assert_none("a module imports only what lies below it", &breaches);
}

#[test]
fn files_stay_short() {
    let long = sources().into_iter().filter(|source| source.lines.len() > MAX_LINES);
    let breaches: Vec<String> = long.map(|s| format!("{}: {} lines", s.path, s.lines.len())).collect();
    assert_none("a file holds one concept, in at most 500 lines", &breaches);
}

/// Words, paths, whether the words may stand only there (true) or anywhere but there (false), the rule.
const PLACES: [(&[&str], &[&str], bool, &str); 3] = [
    (
        &["diesel::", "diesel_async::", "diesel_migrations::"],
        &["store/", "bus/postgres.rs", "bus/postgres/"],
        true,
        "only the store knows diesel, and the bus LISTEN and NOTIFY",
    ),
    (
        &["Utc::now", "SystemTime::now", "jiff::Timestamp::now", "Zoned::now"],
        &["clock.rs"],
        true,
        "only the clock asks for the time",
    ),
    (
        &["actix::", "actix_web::", "actix_ws::", "actix_rt::"],
        &["chat/", "turn/", "stream/", "store/"],
        false,
        "the core does not know the actor framework",
    ),
];

/// The line uses this path: the word stands at the start of a name.
fn uses(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn some_things_have_one_place() {
    let mut breaches: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources() {
        for (words, places, allowed, rule) in PLACES {
            if places.iter().any(|place| source.path.starts_with(place)) == allowed {
                continue;
            }
            for (number, line) in source.lines.iter().enumerate() {
                if words.iter().any(|word| uses(line, word)) {
                    let breach = format!("{}:{}: {}", source.path, number + 1, line.trim());
                    breaches.entry(rule).or_default().push(breach);
                }
            }
        }
    }
    for (rule, breaches) in &breaches {
        assert_none(rule, breaches);
    }
}

/// Files and folders that a document names, as `src/chat/tests/`.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|name| {
        let first = name.split('/').next().unwrap_or_default();
        let known = ["src", "tests", "bench", "docs", "scripts", "migrations"].contains(&first);
        known && name.contains('/') && !name.contains([' ', '*', '…'])
    })
}

#[test]
fn the_documents_name_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = ["README.md", "bench/README.md", "docs/ARCHITECTURE.md", "docs/GUARANTEES.md"];
    let mut breaches = Vec::new();
    for document in documents {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let missing = named_files(&text).filter(|name| !root.join(name).exists());
        breaches.extend(missing.map(|name| format!("{document}: {name}")));
    }
    assert_none("what a document points at is there", &breaches);
}

mod the_rules_themselves {
    use super::*;

    #[test]
    fn upward_and_sideways_imports_are_found() {
        assert!(may_import("api", "store") && may_import("store", "chat") && may_import("main", "cli"));
        assert!(may_import("cli", "app") && may_import("app", "api") && may_import("llm", "metrics"));
        assert!(
            may_import("logging", "config") && may_import("config", "ids") && may_import("chat", "clock")
        );
        assert!(!may_import("chat", "store") && !may_import("turn", "stream") && !may_import("app", "cli"));
        assert!(
            !may_import("llm", "workspace") && !may_import("workspace", "llm") && !may_import("ids", "clock")
        );
        assert!(
            !may_import("config", "chat")
                && !may_import("metrics", "config")
                && !may_import("api", "unknown")
        );
    }

    #[test]
    fn grouped_imports_are_taken_apart() {
        assert_eq!(first_names("bus::Hint;"), ["bus"]);
        assert_eq!(
            first_names("{chat::{self, state::State}, ids::{ChatId, UserId},\n    clock::Clock,\n};"),
            ["chat", "ids", "clock"]
        );
        let line = "use crate::{store::Store}; fn f(x: crate::api::X) { other_crate::f() } ";
        let source = Source { path: "x.rs".into(), module: "chat".into(), lines: vec![line.to_owned()] };
        let names: Vec<String> = imports(&source).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["store", "api"]);
    }

    #[test]
    fn a_word_inside_a_name_is_no_use() {
        assert!(uses("use actix::Actor;", "actix::"));
        assert!(!uses("use my_actix::Actor;", "actix::"));
        assert_eq!(without_comment("let a = 1; // diesel::x"), "let a = 1; ");
    }
}
