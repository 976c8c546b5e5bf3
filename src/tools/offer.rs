//! Which tools a turn has (tools.md §0).

use super::{
    Tool,
    ask_user_question::{self, AskUserQuestion},
    attach_file::AttachFile,
    create_workspace::CreateWorkspace,
    edit_files::EditFiles,
    execute::Execute,
    power::{StartWorkspace, StopWorkspace},
    process_list::ProcessList,
    process_output::ProcessOutput,
    process_signal::ProcessSignal,
    propose_plan::{self, ProposePlan},
    read_file::ReadFile,
    read_skill::ReadSkill,
    read_skill_file::ReadSkillFile,
    templates::{ListTemplates, ReadTemplate},
    write_file::WriteFile,
};
use crate::workspace::skill::WorkspaceSkill;
use std::{collections::HashSet, sync::Arc};

/// What kind of turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says one thing of a turn, and they are independent")]
pub struct TurnKind {
    /// Of a chat that another chat has spawned.
    pub child: bool,
    /// In plan mode.
    pub plan: bool,
    /// The deployment has workspaces, or the chat has one.
    pub workspaces: bool,
    /// The chat's owner has skills.
    pub personal_skills: bool,
    /// The skills of the chat's workspace.
    pub workspace_skills: Arc<[WorkspaceSkill]>,
}

/// The built-in tools of a turn, in the order in which the model sees them.
#[must_use]
pub fn built_in(kind: TurnKind) -> Vec<Arc<dyn Tool>> {
    let TurnKind { child, plan, workspaces, personal_skills, workspace_skills } = kind;
    let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
    if workspaces {
        tools.push(Arc::new(ReadFile));
        if !(plan && child) {
            tools.push(Arc::new(WriteFile));
            tools.push(Arc::new(EditFiles));
            tools.push(Arc::new(AttachFile));
        }
        tools.push(Arc::new(Execute));
        tools.push(Arc::new(ProcessOutput));
        if !plan {
            tools.push(Arc::new(ProcessList));
            tools.push(Arc::new(ProcessSignal));
        }
    }
    if plan && !child {
        tools.push(Arc::new(AskUserQuestion));
    }
    if workspaces && !child {
        tools.push(Arc::new(ListTemplates));
        tools.push(Arc::new(ReadTemplate));
        tools.push(Arc::new(CreateWorkspace));
        tools.push(Arc::new(StartWorkspace));
        tools.push(Arc::new(StopWorkspace));
        if plan {
            tools.push(Arc::new(ProposePlan));
        }
    }
    if personal_skills || !workspace_skills.is_empty() {
        tools.push(Arc::new(ReadSkill { workspace: Arc::clone(&workspace_skills) }));
    }
    if !workspace_skills.is_empty() {
        tools.push(Arc::new(ReadSkillFile { workspace: workspace_skills }));
    }
    tools
}

/// The tools whose success ends a turn.
#[must_use]
pub fn stop_after() -> HashSet<String> {
    HashSet::from([ask_user_question::NAME, propose_plan::NAME].map(str::to_owned))
}

#[cfg(test)]
pub(super) fn everything(child: bool, plan: bool) -> TurnKind {
    let skill = WorkspaceSkill {
        name: "a".into(),
        description: String::new(),
        dir: "/w/a".into(),
        meta_file: "SKILL.md".into(),
    };
    TurnKind { child, plan, workspaces: true, personal_skills: true, workspace_skills: [skill].into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of tools.md §0: root, child, plan root, plan child.
    #[test]
    fn each_kind_of_turn_has_its_tools() {
        let kinds = [(false, false), (true, false), (false, true), (true, true)];
        let offered = kinds.map(|(child, plan)| {
            let tools = built_in(everything(child, plan));
            tools.iter().map(|tool| tool.name().to_owned()).collect::<Vec<_>>()
        });
        for (tool, has) in [
            ("read_file", [true, true, true, true]),
            ("write_file", [true, true, true, false]),
            ("edit_files", [true, true, true, false]),
            ("attach_file", [true, true, true, false]),
            ("propose_plan", [false, false, true, false]),
            ("execute", [true, true, true, true]),
            ("process_output", [true, true, true, true]),
            ("process_list", [true, true, false, false]),
            ("process_signal", [true, true, false, false]),
            ("ask_user_question", [false, false, true, false]),
            ("read_skill", [true, true, true, true]),
            ("read_skill_file", [true, true, true, true]),
            ("list_templates", [true, false, true, false]),
            ("read_template", [true, false, true, false]),
            ("create_workspace", [true, false, true, false]),
            ("start_workspace", [true, false, true, false]),
            ("stop_workspace", [true, false, true, false]),
        ] {
            let found: Vec<bool> = offered.iter().map(|names| names.iter().any(|n| n == tool)).collect();
            assert_eq!(found, has, "{tool}");
        }
        let none = TurnKind {
            workspaces: false,
            personal_skills: false,
            workspace_skills: Arc::default(),
            ..everything(false, false)
        };
        assert!(built_in(none).is_empty());
        let personal = TurnKind { workspace_skills: Arc::default(), ..everything(false, false) };
        let names: Vec<_> = built_in(personal).iter().map(|tool| tool.name().to_owned()).collect();
        assert!(names.contains(&"read_skill".to_owned()) && !names.contains(&"read_skill_file".to_owned()));
    }
}
