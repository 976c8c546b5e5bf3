//! Whether a call can go on from the answer that the provider keeps (agent-loop.md §5.5).

use super::select::Selection;
use crate::{
    chat::message::{Part, Role},
    ids::ModelConfigId,
    turn::history::Entry,
};

/// What a chained call sends.
#[derive(Debug)]
pub struct Chain<'h, 'a> {
    /// Id of the answer it goes on from.
    pub response_id: &'h str,
    /// The same system rows, and of the conversation what came after that answer.
    pub selection: Selection<'h, 'a>,
}

/// The chain of a history: it has an answer of this model that the provider can name, and only the user
/// spoke since. Whether the provider keeps answers, and whether the turn may chain at all, is asked elsewhere.
#[must_use]
pub fn chain<'h, 'a>(selection: &Selection<'h, 'a>, model: ModelConfigId) -> Option<Chain<'h, 'a>> {
    let conversation = &selection.conversation;
    let at = conversation.iter().rposition(|entry| entry.row.role == Role::Assistant)?;
    let answer: &'h Entry<'a> = conversation[at];
    let response_id = answer.row.figures.provider_response_id.as_deref().filter(|id| !id.is_empty())?;
    // Results of its calls would have to be sent with the call, and then it is no answer to a user.
    if answer.row.model_config_id != Some(model) || answer.calls().next().is_some() {
        return None;
    }
    let since = &conversation[at + 1..];
    let users_only = since.iter().all(|entry| entry.row.role == Role::User && !entry.row.compressed);
    if !users_only || !since.iter().any(|entry| contributes(entry)) {
        return None;
    }
    let selection = Selection { system: selection.system.clone(), conversation: since.to_vec() };
    Some(Chain { response_id, selection })
}

/// Whether a user row says something itself; context of the workspace feeds the system texts.
fn contributes(entry: &Entry<'_>) -> bool {
    entry.parts().iter().any(|part| match part {
        Part::Text { text } => !text.trim().is_empty(),
        Part::ContextFile { .. } | Part::Skill { .. } => false,
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::message::{NewMessage, Visibility},
        ids::MessageId,
        store::records::MessageRow,
        turn::{
            fixtures::{call, result, row, text, with_parts},
            history::History,
            prompt::select,
        },
    };

    fn model() -> ModelConfigId {
        ModelConfigId(uuid::Uuid::from_u128(7))
    }

    fn user(words: &str) -> MessageRow {
        with_parts(Role::User, &[text(words)])
    }

    fn answer(parts: &[Part], id: Option<&str>) -> MessageRow {
        let mut row = with_parts(Role::Assistant, parts);
        row.model_config_id = Some(model());
        row.figures.provider_response_id = id.map(str::to_owned);
        row
    }

    /// Id of the answer that is gone on from, and how many rows are sent.
    fn chained(mut rows: Vec<MessageRow>) -> Option<(String, usize)> {
        for (n, row) in rows.iter_mut().enumerate() {
            row.id = MessageId(i64::try_from(n).unwrap() + 1);
        }
        let history = History::new(&rows);
        let selection = select(&history);
        chain(&selection, model()).map(|c| (c.response_id.to_owned(), c.selection.conversation.len()))
    }

    #[test]
    fn a_finished_answer_is_gone_on_from() {
        let said = answer(&[text("a")], Some("r1"));
        assert_eq!(chained(vec![user("q"), said.clone(), user("b"), user("c")]), Some(("r1".into(), 2)));
        let earlier = vec![
            user("q"),
            answer(&[call("c", "t")], Some("r0")),
            with_parts(Role::Tool, &[result("c", "t")]),
            said,
            user("b"),
        ];
        assert_eq!(chained(earlier), Some(("r1".into(), 1)));
    }

    #[test]
    fn everything_else_is_sent_whole() {
        let said = |id| answer(&[text("a")], id);
        let other = MessageRow { model_config_id: None, ..said(Some("r1")) };
        let mut summary = row(NewMessage::new(Role::User, Visibility::Model, &[text("so far")]));
        summary.compressed = true;
        let context = Part::Skill { skill_name: "s".into(), skill_description: None };
        for (why, rows) in [
            ("nothing was answered", vec![user("q")]),
            ("nothing was asked since", vec![user("q"), said(Some("r1"))]),
            ("no id", vec![user("q"), said(None), user("b")]),
            ("an empty id", vec![user("q"), said(Some("")), user("b")]),
            ("another model", vec![user("q"), other, user("b")]),
            (
                "results that were never sent",
                vec![
                    user("q"),
                    answer(&[call("c", "t")], Some("r1")),
                    with_parts(Role::Tool, &[result("c", "t")]),
                    user("b"),
                ],
            ),
            ("a call without an answer", vec![user("q"), answer(&[call("c", "t")], Some("r1")), user("b")]),
            ("context only", vec![user("q"), said(Some("r1")), with_parts(Role::User, &[context])]),
            ("a summary since", vec![user("q"), said(Some("r1")), summary, user("b")]),
        ] {
            assert_eq!(chained(rows), None, "{why}");
        }
    }
}
