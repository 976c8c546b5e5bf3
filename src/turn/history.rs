//! A read-only view of a chat's active history: what was asked, what was answered, what is open.

use crate::{
    chat::message::{Part, Role, ToolCallPart},
    store::records::MessageRow,
};
use std::{collections::HashSet, sync::OnceLock};

/// Tool name of the display pair that marks a compaction.
pub const SUMMARIZED: &str = "chat_summarized";
/// Tool name of the display pair that marks a cleared context.
pub const CLEARED: &str = "chat_cleared";

/// One row with its parts, which are parsed when first looked at and then kept.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The row.
    pub row: &'a MessageRow,
    parts: OnceLock<Vec<Part>>,
}

impl<'a> Entry<'a> {
    /// Wraps a row; nothing is parsed yet.
    #[must_use]
    pub fn new(row: &'a MessageRow) -> Self {
        Self { row, parts: OnceLock::new() }
    }

    /// The parts of the row. A bare JSON string (content version 0) is one text part; a part of a
    /// type this build does not know, as a newer replica may write it, is left out.
    pub fn parts(&self) -> &[Part] {
        self.parts.get_or_init(|| {
            if let Ok(parts) = self.row.content.read::<Vec<Part>>() {
                return parts;
            }
            if let Ok(text) = self.row.content.read::<String>() {
                return vec![Part::Text { text }];
            }
            let each: Vec<crate::chat::json::Json> = self.row.content.read().unwrap_or_default();
            each.iter().filter_map(|part| part.read().ok()).collect()
        })
    }

    /// The calls that chatd or its client has to answer: all but the provider-executed ones.
    pub fn calls(&self) -> impl Iterator<Item = &ToolCallPart> {
        self.parts().iter().filter_map(|part| match part {
            Part::ToolCall(call) if !call.provider_executed => Some(call),
            _ => None,
        })
    }

    fn result_ids(&self) -> impl Iterator<Item = &str> {
        self.parts().iter().filter_map(|part| match part {
            Part::ToolResult(result) => Some(result.tool_call_id.as_str()),
            _ => None,
        })
    }

    fn all_parts(&self, test: impl Fn(&Part) -> bool) -> bool {
        !self.parts().is_empty() && self.parts().iter().all(test)
    }
}

/// What a compressed display pair marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundaryKind {
    /// Older rows are summarised.
    Summarized,
    /// Older rows are forgotten.
    Cleared,
}

/// The last place at which older rows left the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    /// Index into [`History::entries`] of the last row of the mark.
    pub index: usize,
    /// What it marks.
    pub kind: BoundaryKind,
}

/// The active history of a chat, oldest first, as far as it matters.
#[derive(Debug)]
pub struct History<'a> {
    entries: Vec<Entry<'a>>,
    earlier_steps: usize,
}

impl<'a> History<'a> {
    /// A view of rows in ascending id; deleted ones are left out.
    #[must_use]
    pub fn new(rows: &'a [MessageRow]) -> Self {
        let entries = rows.iter().filter(|row| !row.deleted).map(Entry::new).collect();
        Self { entries, earlier_steps: 0 }
    }

    /// The same for rows that begin in the middle of a turn, behind this many of its model steps.
    #[must_use]
    pub fn with_earlier_steps(mut self, steps: usize) -> Self {
        self.earlier_steps = steps;
        self
    }

    /// The rows, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The newest row that is not part of a compaction or clearing.
    #[must_use]
    pub fn last_uncompressed(&self) -> Option<&Entry<'a>> {
        self.entries.iter().rev().find(|entry| !entry.row.compressed)
    }

    /// Whether the row at `index` is one model step. An assistant row that only shows files which a
    /// tool attached (it stands directly before that tool's result) is none.
    #[must_use]
    pub fn is_step(&self, index: usize) -> bool {
        let Some(entry) = self.entries.get(index) else { return false };
        if entry.row.role != Role::Assistant || entry.row.compressed {
            return false;
        }
        let before_result = self.entries.get(index + 1).is_some_and(|next| next.row.role == Role::Tool);
        !(before_result && entry.all_parts(|part| matches!(part, Part::File { .. })))
    }

    /// Index of the last model step.
    #[must_use]
    pub fn last_step(&self) -> Option<usize> {
        (0..self.entries.len()).rev().find(|&index| self.is_step(index))
    }

    /// Index of the last message a person or program sent. Rows that only persist workspace context
    /// have the user role too, but nobody sent them.
    #[must_use]
    pub fn last_user(&self) -> Option<usize> {
        self.entries.iter().rposition(|entry| {
            entry.row.role == Role::User
                && !entry.row.compressed
                && !entry.all_parts(|part| matches!(part, Part::ContextFile { .. } | Part::Skill { .. }))
        })
    }

    /// The calls of the last step that wait for a result, in call order, each id once. A result
    /// counts when it stands in the step itself or later, so a provider may use an id again.
    #[must_use]
    pub fn unanswered(&self) -> Vec<&ToolCallPart> {
        let Some(step) = self.last_step() else { return Vec::new() };
        let mut known: HashSet<&str> = self.entries[step..].iter().flat_map(Entry::result_ids).collect();
        self.entries[step].calls().filter(|call| known.insert(&call.tool_call_id)).collect()
    }

    /// Model steps since the last user message.
    #[must_use]
    pub fn steps_since_user(&self) -> usize {
        let (from, earlier) = self.last_user().map_or((0, self.earlier_steps), |index| (index + 1, 0));
        earlier + (from..self.entries.len()).filter(|&index| self.is_step(index)).count()
    }

    /// Whether one of `names` answered without an error since the last user message.
    #[must_use]
    pub fn succeeded_since_user(&self, names: &HashSet<String>) -> bool {
        let from = self.last_user().map_or(0, |index| index + 1);
        self.entries[from..].iter().filter(|entry| !entry.row.compressed).any(|entry| {
            entry.parts().iter().any(|part| {
                matches!(part, Part::ToolResult(result) if !result.is_error && names.contains(&result.tool_name))
            })
        })
    }

    /// The last compaction or clearing.
    #[must_use]
    pub fn boundary(&self) -> Option<Boundary> {
        self.entries.iter().enumerate().rev().filter(|(_, entry)| entry.row.compressed).find_map(
            |(index, entry)| {
                entry.parts().iter().find_map(|part| {
                    let name = match part {
                        Part::ToolCall(call) => call.tool_name.as_str(),
                        Part::ToolResult(result) => result.tool_name.as_str(),
                        _ => return None,
                    };
                    let kind = match name {
                        SUMMARIZED => BoundaryKind::Summarized,
                        CLEARED => BoundaryKind::Cleared,
                        _ => return None,
                    };
                    Some(Boundary { index, kind })
                })
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::fixtures::*;

    fn open_ids(history: &History<'_>) -> Vec<String> {
        history.unanswered().iter().map(|call| call.tool_call_id.clone()).collect()
    }

    #[test]
    fn unanswered_skips_answered_and_provider_calls() {
        let provider = Part::ToolCall(ToolCallPart {
            tool_call_id: "p".into(),
            tool_name: "web_search".into(),
            provider_executed: true,
            ..Default::default()
        });
        let rows = rows(vec![
            user("hi"),
            assistant(&[
                call("a", "execute"),
                provider,
                call("b", "execute"),
                call("b", "execute"),
                call("c", "x"),
                result("c", "x"),
            ]),
            tool("a", "execute"),
        ]);
        assert_eq!(open_ids(&History::new(&rows)), ["b"]);
    }

    #[test]
    fn an_id_used_again_is_open_again() {
        let rows = rows(vec![
            user("hi"),
            assistant(&[call("call_0", "execute")]),
            tool("call_0", "execute"),
            assistant(&[call("call_0", "execute")]),
        ]);
        assert_eq!(open_ids(&History::new(&rows)), ["call_0"]);
    }

    #[test]
    fn an_attached_file_does_not_hide_the_step_before_it() {
        let file = Part::File { media_type: "text/plain".into(), name: None, data: None, file_id: None };
        let rows = rows(vec![
            user("hi"),
            assistant(&[call("a", "attach_file"), call("dyn", "ask")]),
            assistant(std::slice::from_ref(&file)),
            tool("a", "attach_file"),
        ]);
        let history = History::new(&rows);
        assert_eq!(open_ids(&history), ["dyn"]);
        assert_eq!(history.steps_since_user(), 1);
    }

    #[test]
    fn deleted_rows_and_context_rows_do_not_count() {
        let mut list = vec![
            user("one"),
            assistant(&[text("a")]),
            with_parts(Role::User, &[Part::Skill { skill_name: "s".into(), skill_description: None }]),
            assistant(&[text("b")]),
            user("gone"),
        ];
        list[4].deleted = true;
        let rows = rows(list);
        let history = History::new(&rows);
        assert_eq!(history.last_user(), Some(0));
        assert_eq!(history.steps_since_user(), 2);
    }

    #[test]
    fn legacy_and_unknown_content_is_readable() {
        let mut bare = user("x");
        bare.content = crate::chat::json::Json::of("old text");
        let mut newer = user("x");
        newer.content = crate::chat::json::Json::parse(
            r#"[{"type":"hologram","x":1},{"type":"text","text":"kept"}]"#.into(),
        )
        .unwrap();
        let rows = rows(vec![bare, newer]);
        let history = History::new(&rows);
        assert_eq!(history.entries()[0].parts(), [text("old text")]);
        assert_eq!(history.entries()[1].parts(), [text("kept")]);
    }
    #[test]
    fn steps_that_were_left_out_belong_to_the_turn_that_goes_on() {
        let going_on = rows(vec![assistant(&[call("a", "execute")]), tool("a", "execute")]);
        assert_eq!(History::new(&going_on).with_earlier_steps(7).steps_since_user(), 8);
        let new_turn = rows(vec![assistant(&[text("a")]), user("q"), assistant(&[text("b")])]);
        assert_eq!(History::new(&new_turn).with_earlier_steps(7).steps_since_user(), 1);
    }
}
