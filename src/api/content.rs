//! What people may say: the input parts of api.md §3.8.

use super::{
    problem::{Problem, Result},
    query::uuid,
};
use crate::{chat::message::Part, ids::FileId};
use serde::Deserialize;
use utoipa::ToSchema;

/// Where a message's content is in every body.
pub const FILE_FIELD: &str = "content";

/// A part as a client sends it. Flat, as `type` selects what the other keys mean.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct InputPart {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    file_id: Option<String>,
    file_name: Option<String>,
    start_line: Option<i64>,
    end_line: Option<i64>,
    content: Option<String>,
}

/// Checks the parts and turns them into their stored form, in order.
///
/// # Errors
/// 400 with the index and the field.
pub fn parts(input: Vec<InputPart>) -> Result<Vec<Part>> {
    if input.is_empty() {
        return Err(Problem::field("content", "content must have at least one part."));
    }
    input
        .into_iter()
        .enumerate()
        .map(|(index, part)| {
            stored(part).map_err(|(field, what)| {
                Problem::field("content", format!("content[{index}].{field} {what}"))
            })
        })
        .collect()
}

fn stored(part: InputPart) -> Result<Part, (&'static str, String)> {
    let kind = part.kind.unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "" => Err(("type", "is required.".into())),
        "text" => {
            let text = part.text.unwrap_or_default();
            if text.trim().is_empty() {
                return Err(("text", "must not be blank.".into()));
            }
            Ok(Part::Text { text })
        }
        "file" => {
            let text = part.file_id.unwrap_or_default();
            let id = uuid::<FileId>(text.trim()).filter(|id| !id.0.is_nil());
            let Some(id) = id else {
                let what = if text.trim().is_empty() { "is required." } else { "must be a UUID." };
                return Err(("file_id", what.into()));
            };
            // What it is, and whether it may be used here, is filled in by `files::resolve`.
            Ok(Part::File { media_type: String::new(), name: None, data: None, file_id: Some(id) })
        }
        "file-reference" => {
            let file_name = part.file_name.unwrap_or_default();
            if file_name.trim().is_empty() {
                return Err(("file_name", "must not be blank.".into()));
            }
            Ok(Part::FileReference {
                file_name,
                start_line: part.start_line.unwrap_or(0),
                end_line: part.end_line.unwrap_or(0),
                content: part.content.unwrap_or_default(),
            })
        }
        other => {
            let shown: String = other.chars().take(32).collect();
            Err(("type", format!("{shown:?} is not one of text, file, file-reference.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body;

    fn check(json: &str) -> Result<Vec<Part>> {
        parts(body::of_text(json)?)
    }

    #[test]
    fn good_parts_keep_their_order_and_text() {
        let all = check(
            r#"[{"type":" Text ","text":" a "},
                {"type":"file-reference","file_name":"x.rs","start_line":3,"end_line":4,"content":"c","z":1},
                {"type":"text","text":"b"}]"#,
        )
        .unwrap();
        assert_eq!(all[0], Part::Text { text: " a ".into() });
        assert!(matches!(&all[1], Part::FileReference { start_line: 3, end_line: 4, .. }));
        assert_eq!(crate::turn::title::text(&all), " a  b");
    }

    #[test]
    fn a_bad_part_is_named() {
        let cases = [
            ("[]", "content must have"),
            (r#"[{"type":"text","text":"a"},{"type":"text","text":" \n"}]"#, "content[1].text"),
            (r#"[{"type":"text"}]"#, "content[0].text"),
            (r#"[{}]"#, "content[0].type"),
            (r#"[{"type":"tool-call"}]"#, "content[0].type"),
            (r#"[{"type":"file"}]"#, "content[0].file_id"),
            (r#"[{"type":"file","file_id":"x"}]"#, "content[0].file_id must be"),
            (r#"[{"type":"file-reference","file_name":" "}]"#, "content[0].file_name"),
        ];
        for (json, expected) in cases {
            let problem = check(json).unwrap_err();
            assert_eq!(problem.status().as_u16(), 400);
            assert!(format!("{problem:?}").contains(expected), "{json}: {problem:?}");
        }
        let wrong_type = check(r#"[{"type":"text","text":5}]"#).unwrap_err();
        assert!(format!("{wrong_type:?}").contains("[0].text"));
    }
}
