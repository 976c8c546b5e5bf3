//! System texts: the one that is stored with a chat when it is created, and those that are resolved anew
//! for each turn and stand behind the stored ones (agent-loop.md §5.3).

use crate::store::settings::{Deployment, SkillEntry, SystemPrompt, UserSettings};

/// The built-in prompt of every deployment that does not do without it.
pub const DEFAULT_SYSTEM_PROMPT: &str = include_str!("default_system_prompt.md").trim_ascii();

/// What a new chat is told first: the built-in prompt, the administrator's, both or nothing.
#[must_use]
pub fn deployment_prompt(set: &SystemPrompt) -> Option<String> {
    let built_in = if set.include_default_system_prompt { DEFAULT_SYSTEM_PROMPT } else { "" };
    let texts: Vec<&str> = [built_in, &set.system_prompt].into_iter().filter(|t| !t.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

/// What a turn adds to the stored system texts, in the order of the blocks. `place`: where the chat's
/// tools work. `plans`: a turn in plan mode of a root chat.
#[must_use]
pub fn of_turn(place: Option<&Place>, own: &UserSettings, all: &Deployment, plans: bool) -> Vec<String> {
    let plan = all.plan_mode_instructions.plan_mode_instructions.trim();
    [
        place.map(workspace_context),
        available_skills(&own.skills),
        user_instructions(&own.prompt.custom_prompt),
        (plans && !plan.is_empty()).then(|| plan.to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What there is to read before something is done (block 4), or nothing when there are no skills.
fn available_skills(skills: &[SkillEntry]) -> Option<String> {
    let line = |skill: &SkillEntry| {
        let words: Vec<&str> = skill.description.split_whitespace().collect();
        match words.is_empty() {
            true => format!("- {}", skill.name),
            false => format!("- {}: {}", skill.name, words.join(" ")),
        }
    };
    let lines: Vec<String> = skills.iter().map(line).collect();
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

/// Where a chat's tools work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Operating system, as in `linux`.
    pub operating_system: String,
    /// Absolute path of the folder in which commands run.
    pub directory: String,
}

/// Where the chat's tools work (block 3).
fn workspace_context(place: &Place) -> String {
    format!(
        "<workspace-context>\nOperating System: {}\nWorking Directory: {}\n</workspace-context>",
        place.operating_system, place.directory
    )
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
        let place = Place { operating_system: "linux".into(), directory: "/w".into() };
        let texts = of_turn(Some(&place), &own, &all, true);
        assert!(texts[0].contains("\nWorking Directory: /w\n"));
        assert_eq!(texts[1..], [user, "Plan well."]);
        assert_eq!(of_turn(None, &own, &all, false), [user]);
        assert_eq!(of_turn(None, &UserSettings::default(), &Deployment::default(), true), [""; 0]);
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
