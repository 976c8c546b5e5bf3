//! How much of files one request holds. Providers refuse more (Anthropic: requests over 32 MB), and the files stay in the
//! history: they would refuse every later message of the chat as well.

use crate::llm::request::{PromptMessage, ToolAnswer, UserContent};
use serde_json::{Map, Value};

/// Most bytes of base64 in one request: two of the largest uploads, and room for a window of text.
pub(super) const MAX_INLINE: usize = 28 << 20;

const LEFT_OUT: &str =
    "left out, as the files of this conversation are larger together than one request may be";

/// Leaves files out of a prompt, the oldest first and with a note in the place of each, until what is left has at most
/// `most` bytes.
pub(super) fn bound(messages: &mut [PromptMessage], most: usize) {
    let mut room = most;
    let mut fits = |data: &str| match room.checked_sub(data.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    for message in messages.iter_mut().rev() {
        match message {
            PromptMessage::User(content) => {
                for piece in content.iter_mut().rev() {
                    if let UserContent::File { data, name, .. } = piece
                        && !fits(data)
                    {
                        let name = name.as_deref().unwrap_or("without a name");
                        *piece = UserContent::Text(format!("[Attached file {name}: {LEFT_OUT}]"));
                    }
                }
            }
            PromptMessage::Tool(answers) => {
                for answer in answers.iter_mut().rev() {
                    let all = answer.media.len();
                    answer.media.retain(|(_, data)| fits(data));
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
