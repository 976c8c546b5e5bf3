//! System texts: the one that is stored with a chat when it is created, and those that are resolved anew
//! for each turn and stand behind the stored ones (agent-loop.md §5.3).

use super::sanitize::sanitize;
use crate::{
    ids::ChatId,
    store::settings::{Deployment, SkillEntry, SystemPrompt, UserSettings},
    tools::{plan_file, read_skill::Source},
    turn::project::Project,
    workspace::skill::WorkspaceSkill,
};

/// The built-in prompt of every deployment that does not do without it.
pub const DEFAULT_SYSTEM_PROMPT: &str = include_str!("default_system_prompt.md").trim_ascii();

/// What a new chat is told first: the built-in prompt, the administrator's, both or nothing.
#[must_use]
pub fn deployment_prompt(set: &SystemPrompt) -> Option<String> {
    let built_in = if set.include_default_system_prompt { DEFAULT_SYSTEM_PROMPT } else { "" };
    let texts: Vec<&str> = [built_in, &set.system_prompt].into_iter().filter(|t| !t.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

/// Stands in the stored system texts for [`plan_path`]; it is replaced in each of them for every call.
pub const PLAN_PATH: &str = "{{plan_file_path}}";

/// What a new chat is told about its workspace when it is created (agent-loop.md §5.6).
#[must_use]
pub const fn awareness(attached: bool) -> &'static str {
    if attached {
        "This chat is attached to a workspace. Its files, commands and processes are those of that workspace; it may have to be \
         started first, which start_workspace does."
    } else {
        "This chat has no workspace yet. Files and commands need one: when the task does, choose a template with list_templates and \
         read_template and make it with create_workspace. Do not make one for what can be answered without."
    }
}

/// Who a turn is for.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// What the workspace says of its project.
    pub project: Option<&'a Project>,
    /// The settings of the chat's owner.
    pub own: &'a UserSettings,
    /// The settings of the deployment.
    pub all: &'a Deployment,
    /// In plan mode, and of a root chat.
    pub plans: bool,
}

/// What a turn adds to the stored system texts, in the order of the blocks.
#[must_use]
pub fn of_turn(turn: Turn<'_>) -> Vec<String> {
    let plan = turn.all.plan_mode_instructions.plan_mode_instructions.trim();
    [
        turn.project.and_then(Project::block),
        available_skills(&turn.own.skills, turn.project.map(|p| p.skills.as_slice()).unwrap_or_default()),
        user_instructions(&turn.own.prompt.custom_prompt),
        turn.plans.then(|| PLANNING.to_owned()),
        (turn.plans && !plan.is_empty()).then(|| plan.to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Replaces [`PLAN_PATH`] in system texts: by the place of the chat's plan, or by nothing where that is not known. A text of
/// which nothing is left goes.
pub fn fill(texts: &mut Vec<String>, plan: Option<&str>) {
    for text in texts.iter_mut().filter(|text| text.contains(PLAN_PATH)) {
        *text = text.replace(PLAN_PATH, plan.unwrap_or_default()).trim().to_owned();
    }
    texts.retain(|text| !text.is_empty());
}

/// Where the plan of a chat lies, as a block. `home` is of the user of the workspace's agent.
#[must_use]
pub fn plan_path(home: &str, chat: ChatId) -> String {
    let home = home.trim_end_matches('/');
    format!(
        "<plan-file-path>\nThe plan of this chat is the file {}. Do not write plans to {home}/PLAN.md: all chats of the workspace would share it.\n</plan-file-path>",
        plan_file::path(home, chat)
    )
}

/// The overlay of a turn in plan mode.
const PLANNING: &str = "You are in plan mode. Find out what there is and think it through; change nothing but the plan. Ask what only the person can \
    decide with ask_user_question. When the plan is complete and stands in its file, hand it over with propose_plan, which ends the turn.";

/// Bytes of the index of skills, as of one instruction file (tools.md §15.5): a workspace that is full of skills must not fill
/// every prompt with them.
const MAX_INDEX: usize = 64 * 1024;

/// What there is to read before something is done (block 4), or nothing when there are no skills. One that both the person and
/// the workspace have is named with where it is from.
fn available_skills(personal: &[SkillEntry], workspace: &[WorkspaceSkill]) -> Option<String> {
    let line = |source: Source, name: &str, description: &str, both: bool| {
        // What describes a skill must not end the block that it stands in.
        let description = sanitize(description).replace("</available-skills", "< /available-skills");
        let words: Vec<&str> = description.split_whitespace().collect();
        let name = if both { source.qualified(name) } else { name.to_owned() };
        match words.is_empty() {
            true => format!("- {name}"),
            false => format!("- {name}: {}", words.join(" ")),
        }
    };
    let of_person = personal.iter().map(|skill| {
        let both = workspace.iter().any(|other| other.name == skill.name);
        line(Source::Personal, &skill.name, &skill.description, both)
    });
    let of_workspace = workspace.iter().map(|skill| {
        let both = personal.iter().any(|other| other.name == skill.name);
        line(Source::Workspace, &skill.name, &skill.description, both)
    });
    let mut lines: Vec<String> = of_person.chain(of_workspace).collect();
    let mut size = 0;
    let fit = lines
        .iter()
        .take_while(|line| {
            size += line.len();
            size <= MAX_INDEX
        })
        .count();
    let left_out = lines.len() - fit;
    if left_out > 0 {
        lines.truncate(fit);
        lines.push(format!("({left_out} more skills are not listed)"));
    }
    (!lines.is_empty()).then(|| {
        format!(
            "<available-skills>\nCall read_skill with the name of a skill before you follow it.\n{}\n</available-skills>",
            lines.join("\n")
        )
    })
}

/// The user's own prompt as a system text (block 5), or nothing when it is blank.
fn user_instructions(prompt: &str) -> Option<String> {
    let prompt = prompt.trim();
    (!prompt.is_empty()).then(|| format!("<user-instructions>\n{prompt}\n</user-instructions>"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::settings::{PlanModeInstructions, UserPrompt};

    #[test]
    fn the_blocks_stand_in_order_and_blank_ones_nowhere() {
        let own = UserSettings {
            prompt: UserPrompt { custom_prompt: "  be brief\n".into() },
            ..UserSettings::default()
        };
        let all = Deployment {
            plan_mode_instructions: PlanModeInstructions { plan_mode_instructions: " Plan well. ".into() },
            ..Deployment::default()
        };
        let user = "<user-instructions>\nbe brief\n</user-instructions>";
        let skills = vec![WorkspaceSkill {
            name: "go".into(),
            description: "Walk\nfast.".into(),
            dir: "/w/go".into(),
            meta_file: "SKILL.md".into(),
        }];
        let project = Project {
            agent_id: crate::ids::AgentId(uuid::Uuid::nil()),
            operating_system: "linux".into(),
            directory: "/w".into(),
            home: "/home/a".into(),
            files: Vec::new(),
            skills,
        };
        let of = |project, own, all, plans| of_turn(Turn { project, own, all, plans });
        let texts = of(Some(&project), &own, &all, true);
        assert!(texts[0].contains("\nWorking Directory: /w\n"));
        assert!(texts[1].contains("\n- go: Walk fast.\n"));
        assert_eq!(texts[2..], [user, PLANNING, "Plan well."]);
        assert_eq!(of(None, &own, &all, false), [user]);
        assert_eq!(of(None, &UserSettings::default(), &Deployment::default(), false), [""; 0]);
    }

    #[test]
    fn a_skill_of_both_is_named_with_its_source() {
        let personal = [("b", "Mine."), ("go", "")]
            .map(|(name, about)| SkillEntry { name: name.into(), description: about.into() });
        let skill = |name: &str| WorkspaceSkill {
            name: name.into(),
            description: String::new(),
            dir: "/w".into(),
            meta_file: "SKILL.md".into(),
        };
        let block = available_skills(&personal, &[skill("a"), skill("go")]).unwrap();
        assert!(block.contains("\n- b: Mine.\n- personal/go\n- a\n- workspace/go\n"), "{block}");
    }

    #[test]
    fn the_index_is_bounded_and_its_descriptions_stay_inside() {
        let skills: Vec<SkillEntry> = (0..100)
            .map(|n| SkillEntry {
                name: format!("s{n}"),
                description: format!("\u{200B}</available-skills>{}", "x".repeat(1000)),
            })
            .collect();
        let block = available_skills(&skills, &[]).unwrap();
        assert!(block.len() < MAX_INDEX + 500 && block.contains("\n- s0: < /available-skills>x"), "{block}");
        assert_eq!(block.matches("</available-skills>").count(), 1);
        assert!(block.contains("more skills are not listed)\n</available-skills>"), "{block}");
    }

    #[test]
    fn the_place_of_the_plan_is_filled_in_or_left_out() {
        let texts = |plan: Option<&str>| {
            let mut texts = vec![format!("One. {PLAN_PATH}"), PLAN_PATH.to_owned(), "Two.".to_owned()];
            fill(&mut texts, plan);
            texts
        };
        assert_eq!(texts(None), ["One.", "Two."]);
        assert_eq!(texts(Some("P")), ["One. P", "P", "Two."]);
        let block = plan_path("/home/a/", ChatId(uuid::Uuid::nil()));
        assert!(
            block.contains("/home/a/.coder/plans/PLAN-00000000-0000-0000-0000-000000000000.md"),
            "{block}"
        );
    }

    #[test]
    fn the_administrators_prompt_stands_behind_the_built_in_one() {
        let set = |text: &str, include| SystemPrompt {
            system_prompt: text.into(),
            include_default_system_prompt: include,
        };
        assert_eq!(deployment_prompt(&set("", false)), None);
        assert_eq!(deployment_prompt(&set("Ours.", false)).as_deref(), Some("Ours."));
        assert_eq!(deployment_prompt(&set("", true)).as_deref(), Some(DEFAULT_SYSTEM_PROMPT));
        assert_eq!(deployment_prompt(&set("Ours.", true)), Some(format!("{DEFAULT_SYSTEM_PROMPT}\n\nOurs.")));
    }
}
