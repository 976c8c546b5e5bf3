//! Which rows of a history the model sees (agent-loop.md §5.1).

use crate::{
    chat::message::{Role, Visibility},
    turn::history::{Entry, History},
};

/// The rows of one prompt.
#[derive(Debug)]
pub struct Selection<'h, 'a> {
    /// System rows, oldest first.
    pub system: Vec<&'h Entry<'a>>,
    /// The conversation; the latest summary, when there is one, stands first.
    pub conversation: Vec<&'h Entry<'a>>,
}

/// Selects. The `chat_summarized` pair is for display only: the model sees the summary as a user
/// message.
#[must_use]
pub fn select<'h, 'a>(history: &'h History<'a>) -> Selection<'h, 'a> {
    let entries = history.entries();
    let summary = entries
        .iter()
        .filter(|entry| entry.row.compressed && entry.row.visibility == Visibility::Model)
        .max_by_key(|entry| (entry.row.created_at, entry.row.id));
    let visible = |entry: &&Entry<'_>| !entry.row.compressed && entry.row.visibility != Visibility::User;
    let system = entries.iter().filter(visible).filter(|entry| entry.row.role == Role::System).collect();
    let rest = entries
        .iter()
        .filter(visible)
        .filter(|entry| entry.row.role != Role::System)
        .filter(|entry| summary.is_none_or(|summary| entry.row.id > summary.row.id));
    Selection { system, conversation: summary.into_iter().chain(rest).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{
        compact::{Compaction, Measurement, Source},
        fixtures::*,
    };

    fn compaction(summary: &str) -> Vec<crate::store::records::MessageRow> {
        let compaction = Compaction {
            uuid: uuid::Uuid::nil(),
            source: Source::Manual,
            measurement: Measurement { context_tokens: 0, context_limit: 0, threshold_percent: 70 },
            model_config_id: None,
            created_by: None,
            started_at: at(0),
        };
        compaction.rows(summary, at(0)).unwrap().0.into_iter().map(row).collect()
    }

    fn ids(entries: &[&Entry<'_>]) -> Vec<i64> {
        entries.iter().map(|entry| entry.row.id.0).collect()
    }

    #[test]
    fn without_a_summary_everything_visible_is_there() {
        let mut list = vec![
            with_parts(Role::System, &[text("s")]),
            user("1"),
            assistant(&[text("2")]),
            user("3"),
            user("4"),
        ];
        list[2].deleted = true;
        list[3].visibility = Visibility::User;
        list[4].visibility = Visibility::Model;
        let rows = rows(list);
        let history = History::new(&rows);
        let selection = select(&history);
        assert_eq!((ids(&selection.system), ids(&selection.conversation)), (vec![1], vec![2, 5]));
    }

    #[test]
    fn the_latest_summary_hides_what_is_older_but_not_the_system_rows() {
        let list = [
            vec![with_parts(Role::System, &[text("s")]), user("old")],
            compaction("first"),
            vec![user("newer")],
            compaction("second"),
            vec![user("last")],
        ]
        .concat();
        let rows = rows(list);
        let history = History::new(&rows);
        let selection = select(&history);
        assert_eq!((ids(&selection.system), ids(&selection.conversation)), (vec![1], vec![7, 10]));
    }
}
