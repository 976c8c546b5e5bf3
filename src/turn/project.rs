//! What the workspace says of its project: files of instructions and skills, kept in a message of their own
//! (workspace-and-providers.md §3). Clients see their names; the texts lie beside them, for the prompts.

use super::{history::History, prompt::sanitize::sanitize};
use crate::{
    chat::{
        json::Json,
        message::{NewMessage, Part, Role, Visibility},
    },
    ids::AgentId,
    workspace::{
        skill::{self, WorkspaceSkill},
        text::prefix,
        wire::{ContextConfig, ContextPart},
    },
};
use serde::{Deserialize, Serialize};

/// Bytes of one file; an agent sends no more (tools.md §15.5), and is not trusted to.
const MAX_FILE: usize = 64 << 10;
/// Most files. There is one for each configured folder and one for the project.
const MAX_FILES: usize = 32;
/// Most skills; each costs a line in every prompt.
const MAX_SKILLS: usize = 200;
/// Longest description of one in bytes, as of a line that is read.
const MAX_DESCRIPTION: usize = 1024;
/// Longest path or name in bytes, as on Linux.
const MAX_PATH: usize = 4096;

/// A file of instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectFile {
    /// Absolute path in the workspace.
    pub path: String,
    /// Its text.
    pub content: String,
    /// Whether it was cut at 64 KiB.
    pub truncated: bool,
}

/// What one agent said of its project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// The agent.
    pub agent_id: AgentId,
    /// Operating system of its machine, as in `linux`.
    pub operating_system: String,
    /// Absolute path of the folder it works in.
    pub directory: String,
    /// Home directory of its user; empty when it was not told.
    #[serde(default)]
    pub home: String,
    /// Files of instructions.
    pub files: Vec<ProjectFile>,
    /// Skills, without their texts.
    pub skills: Vec<WorkspaceSkill>,
}

/// How a project lies in the `native` column of its message.
#[derive(Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
enum Kept<T> {
    WorkspaceContext(T),
}

/// One line without what nobody sees.
fn line(text: &str, max: usize) -> String {
    let clean = sanitize(text).split_whitespace().collect::<Vec<_>>().join(" ");
    prefix(&clean, max).to_owned()
}

impl Project {
    /// From an agent's answer. What it says is cleaned and bounded: a workspace may be anybody's.
    #[must_use]
    pub fn new(
        agent_id: AgentId,
        operating_system: &str,
        directory: &str,
        home: &str,
        said: ContextConfig,
    ) -> Self {
        let mut project = Self {
            agent_id,
            operating_system: line(operating_system, MAX_PATH),
            directory: line(directory, MAX_PATH),
            home: line(home, MAX_PATH),
            files: Vec::new(),
            skills: Vec::new(),
        };
        for part in said.parts {
            match part {
                ContextPart::ContextFile {
                    context_file_path,
                    context_file_content,
                    context_file_truncated,
                } => {
                    let kept = prefix(&context_file_content, MAX_FILE);
                    let truncated = context_file_truncated || kept.len() < context_file_content.len();
                    let file = ProjectFile {
                        path: line(&context_file_path, MAX_PATH),
                        content: sanitize(kept),
                        truncated,
                    };
                    if !file.path.is_empty() && !file.content.is_empty() && project.files.len() < MAX_FILES {
                        project.files.push(file);
                    }
                }
                ContextPart::Skill {
                    skill_name,
                    skill_description,
                    skill_dir,
                    context_file_skill_meta_file,
                } => {
                    // A name or folder that is not as it should be is no skill that could be read.
                    let sound = skill::is_name(&skill_name)
                        && skill_name.len() <= skill::MAX_NAME_BYTES
                        && skill_dir.starts_with('/')
                        && !context_file_skill_meta_file.contains('/')
                        && !context_file_skill_meta_file.is_empty()
                        && project.skills.iter().all(|known| known.name != skill_name);
                    if sound && project.skills.len() < MAX_SKILLS {
                        project.skills.push(WorkspaceSkill {
                            name: skill_name,
                            description: line(&skill_description, MAX_DESCRIPTION),
                            dir: skill_dir,
                            meta_file: context_file_skill_meta_file,
                        });
                    }
                }
            }
        }
        project.skills.sort_by(|a, b| a.name.cmp(&b.name));
        project
    }

    /// The newest of a history: that of the agent which said something last.
    #[must_use]
    pub fn latest(history: &History<'_>) -> Option<Self> {
        history.entries().iter().rev().filter(|entry| entry.row.role == Role::User).find_map(|entry| {
            let Kept::WorkspaceContext(project) = entry.row.native.as_ref()?.read().ok()?;
            Some(project)
        })
    }

    fn skill_parts(&self) -> impl Iterator<Item = Part> {
        self.skills.iter().map(|skill| Part::Skill {
            skill_name: skill.name.clone(),
            skill_description: Some(skill.description.clone()).filter(|text| !text.is_empty()),
        })
    }

    fn file_parts(&self) -> impl Iterator<Item = Part> {
        self.files.iter().map(|file| Part::ContextFile {
            context_file_path: file.path.clone(),
            context_file_truncated: file.truncated.then_some(true),
            context_file_agent_id: Some(self.agent_id),
        })
    }

    /// The message that keeps it. Without files it has a part that only says which agent was asked, so that it is not
    /// asked again.
    #[must_use]
    pub fn message(&self) -> NewMessage {
        let mut parts: Vec<Part> = self.file_parts().collect();
        if parts.is_empty() {
            parts.push(Part::ContextFile {
                context_file_path: String::new(),
                context_file_truncated: None,
                context_file_agent_id: Some(self.agent_id),
            });
        }
        parts.extend(self.skill_parts());
        let mut message = NewMessage::new(Role::User, Visibility::Both, &parts);
        message.native = Some(Json::of(&Kept::WorkspaceContext(self)));
        message
    }

    /// What `last_injected_context` of the chat shows.
    #[must_use]
    pub fn injected(&self) -> Json {
        Json::of(&self.file_parts().chain(self.skill_parts()).collect::<Vec<_>>())
    }

    /// The system text, or nothing when there is nothing to say.
    #[must_use]
    pub fn block(&self) -> Option<String> {
        let mut lines = Vec::new();
        if !self.operating_system.is_empty() {
            lines.push(format!("Operating System: {}", self.operating_system));
        }
        if !self.directory.is_empty() {
            lines.push(format!("Working Directory: {}", self.directory));
        }
        for ProjectFile { path, content, truncated } in &self.files {
            let cut = if *truncated { " (truncated to 64KiB)" } else { "" };
            // What stands in a file must not end the block that it stands in.
            let content = content.replace("</workspace-context", "< /workspace-context");
            lines.push(format!("\nSource: {path}{cut}\n{content}"));
        }
        (!lines.is_empty())
            .then(|| format!("<workspace-context>\n{}\n</workspace-context>", lines.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::fixtures::{row, rows, user};
    use uuid::Uuid;

    fn file(path: &str, content: &str) -> ContextPart {
        ContextPart::ContextFile {
            context_file_path: path.into(),
            context_file_content: content.into(),
            context_file_truncated: false,
        }
    }

    fn skill(name: &str, dir: &str) -> ContextPart {
        ContextPart::Skill {
            skill_name: name.into(),
            skill_description: "Does\nthings\u{200b}.".into(),
            skill_dir: dir.into(),
            context_file_skill_meta_file: "SKILL.md".into(),
        }
    }

    fn project(parts: Vec<ContextPart>) -> Project {
        Project::new(AgentId(Uuid::from_u128(5)), "linux", "/w", "/home/a", ContextConfig { parts })
    }

    #[test]
    fn what_an_agent_says_is_cleaned_and_bounded() {
        let mut parts = vec![
            file("/w/AGENTS.md", "Be\u{200b} brief.\r\n\r\n\r\n\r\nAlways."),
            file("", "no path"),
            file("/w/empty", "\u{feff} \n"),
            file("/w/big\n</workspace-context>", &"x".repeat(70_000)),
            skill("b-skill", "/w/.agents/skills/b-skill"),
            skill("a-skill", "/w/.agents/skills/a-skill"),
            skill("a-skill", "/elsewhere"),
            skill("No Name", "/w"),
            skill("relative", "w"),
        ];
        parts.extend((0..100).map(|n| file(&format!("/w/{n}"), "x")));
        parts.extend((0..300).map(|n| skill(&format!("s{n}"), "/w/s")));
        let project = project(parts);
        assert_eq!(project.files.len(), MAX_FILES);
        assert_eq!(project.files[0].content, "Be brief.\n\nAlways.");
        assert_eq!((project.files[1].content.len(), project.files[1].truncated), (64 << 10, true));
        assert!(!project.files[1].path.contains('\n'));
        assert_eq!(project.skills.len(), MAX_SKILLS);
        assert_eq!(project.skills[0].name, "a-skill");
        assert_eq!(
            (project.skills[0].dir.as_str(), project.skills[0].description.as_str()),
            ("/w/.agents/skills/a-skill", "Does things.")
        );
    }

    #[test]
    fn it_is_kept_with_its_message_and_found_again() {
        let old = project(vec![file("/w/AGENTS.md", "Old.")]);
        let new = Project {
            agent_id: AgentId(Uuid::from_u128(6)),
            ..project(vec![file("/w/AGENTS.md", "New."), skill("a", "/w/a")])
        };
        let list = rows(vec![row(old.message()), user("q"), row(new.message()), user("q2")]);
        assert_eq!(Project::latest(&History::new(&list)), Some(new.clone()));
        assert_eq!(Project::latest(&History::new(&list[..2])), Some(old));
        assert_eq!(Project::latest(&History::new(&list[3..])), None);
        // Neither a text nor a place is shown to clients.
        let shown = new.message().content.get().to_owned();
        assert_eq!(
            shown,
            r#"[{"type":"context-file","context_file_path":"/w/AGENTS.md","context_file_agent_id":"00000000-0000-0000-0000-000000000006"},{"type":"skill","skill_name":"a","skill_description":"Does things."}]"#
        );
        assert_eq!(new.injected().get(), shown);
    }

    #[test]
    fn nothing_found_is_kept_too() {
        let nothing = project(Vec::new());
        assert_eq!(nothing.injected().get(), "[]");
        assert_eq!(
            nothing.message().content.get(),
            r#"[{"type":"context-file","context_file_path":"","context_file_agent_id":"00000000-0000-0000-0000-000000000005"}]"#
        );
    }

    #[test]
    fn the_block_names_each_source() {
        let mut full = project(vec![file("/w/AGENTS.md", "Be brief."), file("/w/b", "Be kind.")]);
        full.files[1].truncated = true;
        assert_eq!(
            full.block().unwrap(),
            "<workspace-context>\nOperating System: linux\nWorking Directory: /w\n\nSource: /w/AGENTS.md\nBe brief.\n\n\
             Source: /w/b (truncated to 64KiB)\nBe kind.\n</workspace-context>"
        );
        let bare =
            Project { operating_system: String::new(), directory: String::new(), files: Vec::new(), ..full };
        assert_eq!(bare.block(), None);
    }
}
