//! How much of files one request holds. Providers refuse more (Anthropic: requests over 32 MB), and the files stay in the
//! history: they would refuse every later message of the chat as well.

use crate::{
    ids::FileId,
    llm::request::{PromptMessage, ToolAnswer, UserContent},
};
use serde_json::{Map, Value};

/// Most bytes of base64 in one request: two of the largest uploads, and room for a window of text.
pub(super) const MAX_INLINE: usize = 28 << 20;

pub(super) const LEFT_OUT: &str =
    "left out, as the files of this conversation are larger together than one request may be";

/// Takes sizes as long as their sum stays within a limit. One that does not fit leaves its room to the next.
fn within(mut room: usize) -> impl FnMut(usize) -> bool {
    move |size| match room.checked_sub(size) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    }
}

/// Which of a conversation's files are read for a prompt, given with their sizes in bytes and the newest last: the newest
/// that a request has room for. The others would be in memory only to be left out by [`bound`].
#[must_use]
pub fn fitting(files: &[(FileId, usize)]) -> Vec<FileId> {
    let mut fits = within(MAX_INLINE);
    files
        .iter()
        .rev()
        .filter(|(_, size)| fits(size.div_ceil(3).saturating_mul(4)))
        .map(|(id, _)| *id)
        .collect()
}

/// Leaves files out of a prompt, the oldest first and with a note in the place of each, until what is left has at most
/// `most` bytes.
pub(super) fn bound(messages: &mut [PromptMessage], most: usize) {
    let mut fits = within(most);
    for message in messages.iter_mut().rev() {
        match message {
            PromptMessage::User(content) => {
                for piece in content.iter_mut().rev() {
                    if let UserContent::File { data, name, .. } = piece
                        && !fits(data.len())
                    {
                        let name = name.as_deref().unwrap_or("without a name");
                        *piece = UserContent::Text(format!("[Attached file {name}: {LEFT_OUT}]"));
                    }
                }
            }
            PromptMessage::Tool(answers) => {
                for answer in answers.iter_mut().rev() {
                    let all = answer.media.len();
                    answer.media.retain(|(_, data)| fits(data.len()));
                    if answer.media.len() < all {
                        note(answer);
                    }
                }
            }
            PromptMessage::Assistant { .. } => {}
        }
    }
}

fn note(answer: &mut ToolAnswer) {
    if let Ok(mut object) = serde_json::from_str::<Map<String, Value>>(&answer.output) {
        object.insert("note".to_owned(), format!("The file was {LEFT_OUT}.").into());
        answer.output = Value::Object(object).to_string();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_files_are_read_as_far_as_a_request_has_room() {
        let id = |n: u128| FileId(uuid::Uuid::from_u128(n));
        let mib = 1 << 20;
        let files: Vec<_> = [(1, 3 * mib), (2, 1), (3, 15 * mib), (4, 8 * mib), (5, 10 * mib)]
            .map(|(n, size)| (id(n), size))
            .to_vec();
        // 13.3 MiB of 28 as base64 for the newest, 10.7 for the next; the oldest would need 4 of the 3.9 left.
        assert_eq!(fitting(&files), [5, 4, 2].map(id));
        assert_eq!(fitting(&[(id(1), usize::MAX)]), []);
    }

    #[test]
    fn the_newest_files_stay() {
        let file = |name: &str, bytes: usize| UserContent::File {
            media_type: "image/png".into(),
            data: "A".repeat(bytes),
            name: Some(name.into()),
        };
        let shot = |bytes: usize| ToolAnswer {
            id: "a".into(),
            name: "t".into(),
            output: r#"{"text":"shot"}"#.into(),
            is_error: false,
            media: vec![("image/png".into(), "A".repeat(bytes))],
        };
        let mut messages = vec![
            PromptMessage::User(vec![file("old", 3), UserContent::Text("q".into()), file("small", 1)]),
            PromptMessage::Tool(vec![shot(5), shot(4)]),
            PromptMessage::User(vec![file("new", 5)]),
        ];
        bound(&mut messages, 10);
        let shown = format!("{messages:?}");
        assert!(shown.contains("[Attached file old: left out"), "{shown}");
        assert_eq!(shown.matches("AAAAA").count(), 1, "{shown}");
        let PromptMessage::Tool(answers) = &messages[1] else { panic!("{shown}") };
        assert!(answers[0].media.is_empty() && answers[0].output.contains("left out"), "{shown}");
        assert!(answers[1].media.len() == 1 && answers[1].output == r#"{"text":"shot"}"#, "{shown}");
        let kept = |message: &PromptMessage| match message {
            PromptMessage::User(content) => {
                content.iter().filter(|piece| matches!(piece, UserContent::File { .. })).count()
            }
            _ => 0,
        };
        assert_eq!(messages.iter().map(kept).collect::<Vec<_>>(), [1, 0, 1]);
    }
}
