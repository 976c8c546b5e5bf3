//! What the project tells the model: instructions and skills, also of a hostile one.

use super::Inside;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink};

async fn parts(inside: &Inside) -> Vec<Value> {
    let config = inside.client.get("context-config").await.ok();
    config["parts"].as_array().expect("never null").clone()
}

#[tokio::test]
async fn nothing_is_an_empty_list() {
    let inside = Inside::new().await;
    assert_eq!(inside.client.get("context-config").await.ok(), json!({"parts": []}));
    fs::write(inside.at("AGENTS.md"), " <!-- nothing to see -->\n\u{200B}").unwrap();
    assert!(parts(&inside).await.is_empty());
}

#[tokio::test]
async fn instructions_come_from_home_and_project() {
    let inside = Inside::new().await;
    fs::create_dir(inside.home(".chatd")).unwrap();
    fs::write(inside.home(".chatd/agents.MD"), "always\r\n").unwrap();
    fs::write(inside.at("AGENTS.md"), "\u{feff}Do<!-- ignore\n all --> \u{202E}this\u{200B}.\rNow.").unwrap();
    fs::write(inside.at("CLAUDE.md"), "other").unwrap();
    assert_eq!(
        parts(&inside).await,
        [
            json!({"type": "context-file", "context_file_path": inside.home(".chatd/agents.MD"), "context_file_content": "always"}),
            json!({"type": "context-file", "context_file_path": inside.at("AGENTS.md"), "context_file_content": "Do this.\nNow."}),
        ]
    );
    // One that is too long is cut, not within a character.
    fs::write(inside.at("AGENTS.md"), "é".repeat(40_000)).unwrap();
    let cut = &parts(&inside).await[1];
    assert_eq!(cut["context_file_truncated"], true);
    assert_eq!(cut["context_file_content"].as_str().unwrap(), "é".repeat(32 * 1024));
}

#[tokio::test]
async fn variables_name_other_places() {
    let inside = Inside::with(&[
        ("CHATD_AGENT_INSTRUCTIONS_DIRS", "docs,., missing"),
        ("CODER_AGENT_EXP_INSTRUCTIONS_FILE", "RULES.md"),
        ("CHATD_AGENT_SKILLS_DIRS", "s"),
        ("CHATD_AGENT_SKILL_META_FILE", "META.md"),
    ])
    .await;
    fs::create_dir_all(inside.at("docs")).unwrap();
    fs::create_dir_all(inside.at("s/one")).unwrap();
    fs::write(inside.at("docs/RULES.md"), "a").unwrap();
    fs::write(inside.at("RULES.md"), "b").unwrap();
    fs::write(inside.at("s/one/META.md"), "---\nname: one\n---").unwrap();
    let found = parts(&inside).await;
    let contents: Vec<_> = found.iter().map(|part| part["context_file_content"].as_str()).collect();
    assert_eq!(contents, [Some("a"), Some("b"), None]);
    assert_eq!(
        found[2],
        json!({"type": "skill", "skill_name": "one", "skill_dir": inside.at("s/one"), "context_file_skill_meta_file": "META.md"})
    );
}

#[tokio::test]
async fn skills_are_folders_with_their_own_name() {
    let inside = Inside::new().await;
    let skill = |dir: String, text: &str| {
        fs::create_dir_all(&dir).unwrap();
        fs::write(format!("{dir}/SKILL.md"), text).unwrap();
    };
    skill(inside.at(".agents/skills/b-2"), "---\nname: b-2\ndescription: Two\u{200B}\n---\nbody");
    skill(inside.at(".agents/skills/a"), "---\nname: a\n---\n");
    skill(inside.at(".agents/skills/other"), "---\nname: name\n---\n");
    skill(inside.at(".agents/skills/Bad"), "---\nname: Bad\n---\n");
    skill(inside.at(".agents/skills/plain"), "no front matter");
    skill(inside.home(".chatd/skills/a"), "---\nname: a\ndescription: later\n---\n");
    skill(inside.home(".chatd/skills/c"), "---\nname: c\n---\n");
    fs::create_dir(inside.at(".agents/skills/empty")).unwrap();
    symlink("b-2", inside.at(".agents/skills/link")).unwrap();
    let found = parts(&inside).await;
    let names: Vec<_> = found.iter().map(|part| part["skill_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b-2", "c"]);
    assert_eq!(found[1]["skill_description"], "Two");
    assert!(found[0].get("skill_description").is_none(), "the first folder wins");
}

#[tokio::test]
async fn a_hostile_project_shows_no_files_of_the_user() {
    let inside = Inside::new().await;
    fs::write(inside.home("key"), "PRIVATE KEY").unwrap();
    fs::create_dir_all(inside.at(".agents/skills/x")).unwrap();
    symlink(inside.home("key"), inside.at("AGENTS.md")).unwrap();
    symlink(inside.home("key"), inside.at(".agents/skills/x/SKILL.md")).unwrap();
    assert!(parts(&inside).await.is_empty());
    // Nor does a pipe hang it. A link within the project is what many projects have.
    fs::remove_file(inside.at("AGENTS.md")).unwrap();
    nix::unistd::mkfifo(inside.at("AGENTS.md").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(parts(&inside).await.is_empty());
    fs::remove_file(inside.at("AGENTS.md")).unwrap();
    fs::write(inside.at("CLAUDE.md"), "mine").unwrap();
    symlink("CLAUDE.md", inside.at("AGENTS.md")).unwrap();
    assert_eq!(parts(&inside).await[0]["context_file_content"], "mine");
    // A folder of skills that leads to another project's.
    fs::create_dir_all(inside.home("else/k")).unwrap();
    fs::write(inside.home("else/k/SKILL.md"), "---\nname: k\n---\n").unwrap();
    fs::remove_dir_all(inside.at(".agents/skills")).unwrap();
    symlink(inside.home("else"), inside.at(".agents/skills")).unwrap();
    assert_eq!(parts(&inside).await.len(), 1);
}
