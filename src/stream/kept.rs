//! What an interruption needs of the parts of an attempt (agent-loop.md §10): deltas joined, in the
//! order in which their parts began.

use crate::chat::message::{Part, Role, ToolCallPart};

/// The accumulated content of one attempt, bounded. Which of it makes a valid message (arguments that
/// are JSON, results whose call is there) is for the one who commits it to judge.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    parts: Vec<(Role, Part)>,
    bytes: usize,
    dropped: u64,
}

impl Kept {
    /// The parts: neighbouring text and reasoning deltas are one part each; the argument deltas of a
    /// call are one `args_delta` until its complete call has replaced them; deltas of results are gone.
    #[must_use]
    pub fn parts(&self) -> &[(Role, Part)] {
        &self.parts
    }

    /// Bytes of content.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Parts that found no room.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Adds one live part. Once one had no room nothing more is taken, so that what is kept is a
    /// prefix of the output and never text with a hole.
    pub(super) fn push(&mut self, role: Role, part: &Part, max_bytes: usize) {
        if let Part::ToolResult(r) = part
            && (r.result_delta.is_some() || r.result_reset)
            && r.result.is_none()
        {
            return;
        }
        let size = size_of_content(part);
        if self.dropped > 0 || self.bytes.saturating_add(size) > max_bytes {
            self.dropped += 1;
            return;
        }
        self.bytes += size;
        if !self.join(role, part) {
            self.parts.push((role, part.clone()));
        }
    }

    /// Puts a part into one that is there already; false when it begins a new one.
    fn join(&mut self, role: Role, part: &Part) -> bool {
        match part {
            Part::Text { text } => match self.parts.last_mut() {
                Some((r, Part::Text { text: all })) if *r == role => {
                    all.push_str(text);
                    true
                }
                _ => false,
            },
            Part::Reasoning { text, created_at, completed_at } => match self.parts.last_mut() {
                // A finished block, or a delta that names another beginning, is another block.
                Some((r, Part::Reasoning { text: all, created_at: began, completed_at: ended @ None }))
                    if *r == role && (began.is_none() || created_at.is_none() || began == created_at) =>
                {
                    all.push_str(text);
                    *began = began.or(*created_at);
                    *ended = *completed_at;
                    true
                }
                _ => false,
            },
            Part::ToolCall(call) => self.join_call(call),
            Part::ToolResult(result) => {
                let earlier = self.parts.iter_mut().rev().find_map(|(_, p)| match p {
                    Part::ToolResult(r) if r.tool_call_id == result.tool_call_id => Some(r),
                    _ => None,
                });
                if let Some(earlier) = earlier {
                    self.bytes -= size_of_content(&Part::ToolResult(std::mem::take(earlier)));
                    *earlier = result.clone();
                    return true;
                }
                false
            }
            _ => false,
        }
    }

    fn join_call(&mut self, call: &ToolCallPart) -> bool {
        let earlier = self.parts.iter_mut().rev().find_map(|(_, p)| match p {
            Part::ToolCall(c) if c.tool_call_id == call.tool_call_id => Some(c),
            _ => None,
        });
        let Some(earlier) = earlier else { return false };
        if is_complete(call) {
            self.bytes -= size_of_content(&Part::ToolCall(std::mem::take(earlier)));
            *earlier = call.clone();
        } else if is_complete(earlier) {
            self.bytes -= size_of_content(&Part::ToolCall(call.clone()));
        } else {
            if let Some(delta) = &call.args_delta {
                earlier.args_delta.get_or_insert_default().push_str(delta);
            }
            // The name is counted once.
            self.bytes -= call.tool_call_id.len() + call.tool_name.len().min(earlier.tool_name.len());
            if earlier.tool_name.is_empty() {
                earlier.tool_name.clone_from(&call.tool_name);
            }
        }
        true
    }
}

/// A call is complete with its arguments, or with its time when it has none to give.
const fn is_complete(call: &ToolCallPart) -> bool {
    call.args.is_some() || (call.args_delta.is_none() && call.created_at.is_some())
}

/// Bytes of the strings of a part.
fn size_of_content(part: &Part) -> usize {
    let len = |s: &Option<String>| s.as_ref().map_or(0, String::len);
    match part {
        Part::Text { text } | Part::Reasoning { text, .. } => text.len(),
        Part::ToolCall(c) => {
            let parsed = c.parsed_commands.iter().flatten().flatten().map(String::len).sum::<usize>();
            let args = c.args.as_ref().map_or(0, |a| a.get().len());
            c.tool_call_id.len() + c.tool_name.len() + args + len(&c.args_delta) + parsed
        }
        Part::ToolResult(r) => {
            let result = r.result.as_ref().map_or(0, |a| a.get().len());
            r.tool_call_id.len() + r.tool_name.len() + result + len(&r.result_delta)
        }
        Part::Source { url, source_id, title } => url.len() + len(source_id) + len(title),
        Part::File { media_type, name, data, .. } => media_type.len() + len(name) + len(data),
        Part::FileReference { file_name, content, .. } => file_name.len() + content.len(),
        Part::ContextFile { context_file_path, .. } => context_file_path.len(),
        Part::Skill { skill_name, skill_description } => skill_name.len() + len(skill_description),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::{json::Json, message::ToolResultPart},
        clock::Timestamp,
    };

    const ROOM: usize = 1000;

    fn text(s: &str) -> Part {
        Part::Text { text: s.into() }
    }
    fn delta(id: &str, s: &str) -> Part {
        Part::ToolCall(ToolCallPart {
            tool_call_id: id.into(),
            tool_name: "t".into(),
            args_delta: Some(s.into()),
            ..ToolCallPart::default()
        })
    }
    fn kept(parts: &[Part], room: usize) -> Kept {
        let mut kept = Kept::default();
        for p in parts {
            kept.push(Role::Assistant, p, room);
        }
        let sum = kept.parts.iter().map(|(_, p)| size_of_content(p)).sum::<usize>();
        assert_eq!(kept.bytes, sum, "the count is that of what is kept");
        kept
    }
    fn only(kept: &Kept) -> Vec<Part> {
        kept.parts().iter().map(|(_, p)| p.clone()).collect()
    }

    #[test]
    fn neighbouring_text_is_one_part() {
        let k = kept(&[text("a"), text("b"), delta("c", "{"), text("d")], ROOM);
        assert_eq!(only(&k), [text("ab"), delta("c", "{"), text("d")]);
    }

    #[test]
    fn reasoning_ends_at_its_end() {
        let r = |s: &str, from: Option<i64>, to: Option<i64>| Part::Reasoning {
            text: s.into(),
            created_at: from.map(Timestamp::from_micros),
            completed_at: to.map(Timestamp::from_micros),
        };
        let k = kept(
            &[r("a", Some(1), None), r("b", None, Some(2)), r("c", Some(3), None), r("d", Some(4), None)],
            ROOM,
        );
        assert_eq!(only(&k), [r("ab", Some(1), Some(2)), r("c", Some(3), None), r("d", Some(4), None)]);
    }

    #[test]
    fn a_complete_call_replaces_its_deltas_in_place() {
        let whole = Part::ToolCall(ToolCallPart {
            tool_call_id: "c".into(),
            tool_name: "t".into(),
            args: Some(Json::parse("{\"x\":1}".into()).unwrap()),
            ..ToolCallPart::default()
        });
        let k = kept(
            &[delta("c", "{\"x\""), delta("d", "["), delta("c", ":1"), whole.clone(), delta("c", "late")],
            ROOM,
        );
        assert_eq!(only(&k), [whole, delta("d", "[")]);
    }

    #[test]
    fn deltas_of_results_are_dropped_and_results_kept() {
        let result = |r: Option<&str>, d: Option<&str>| {
            Part::ToolResult(ToolResultPart {
                tool_call_id: "c".into(),
                result: r.map(|r| Json::parse(r.into()).unwrap()),
                result_delta: d.map(Into::into),
                ..ToolResultPart::default()
            })
        };
        let k = kept(&[result(None, Some("par")), result(Some("1"), None)], ROOM);
        assert_eq!(only(&k), [result(Some("1"), None)]);
    }

    #[test]
    fn what_has_no_room_ends_it() {
        let k = kept(&[text("abc"), text("defg"), text("h")], 5);
        assert_eq!(only(&k), [text("abc")]);
        assert_eq!(k.dropped(), 2);
    }
}
