//! What a terminal shows of the events of a chat (api.md §4). Pure: events in, text out.

use serde_json::Value;
use std::collections::{HashSet, VecDeque};

/// Most characters shown of a call's arguments or a result. The whole is in the chat.
const PREVIEW: usize = 2000;

/// What is printed because of an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// The conversation.
    pub said: String,
    /// What is to be known beside it.
    pub noted: Vec<String>,
}

/// What kind of text stands at the end of what was printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Nothing,
    Text,
    Reasoning,
}

/// How far a turn is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It goes on.
    Running,
    /// It is over.
    Done,
    /// It has failed, for this reason.
    Failed(String),
    /// It waits for results of these tools, which its client runs.
    Asks(Vec<String>),
}

/// What was shown of a chat so far.
#[derive(Debug)]
pub struct View {
    /// Only the text of answers.
    quiet: bool,
    open: Open,
    /// Text of the message that is being made, as far as it was printed.
    shown: String,
    /// Calls and results that were printed, by their ids.
    calls: HashSet<String>,
    results: HashSet<String>,
    /// Which attempt the last part was of, and its number in it.
    part: (i64, i64, i64),
    newest: Option<i64>,
    /// What was typed here and has not come back yet.
    typed: VecDeque<String>,
    status: String,
    error: Option<String>,
    asked: Vec<String>,
    queued: HashSet<i64>,
    awaited: Option<i64>,
}

impl View {
    /// Nothing was shown yet. `newest`: the newest message that is not to be shown.
    #[must_use]
    pub fn new(quiet: bool, newest: Option<i64>) -> Self {
        Self {
            quiet,
            open: Open::Nothing,
            shown: String::new(),
            calls: HashSet::new(),
            results: HashSet::new(),
            part: (0, 0, 0),
            newest,
            typed: VecDeque::new(),
            status: String::new(),
            error: None,
            asked: Vec::new(),
            queued: HashSet::new(),
            awaited: None,
        }
    }

    /// The newest message that was shown, to go on behind it.
    #[must_use]
    pub const fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// Something was typed here and sent; `answer` is what the daemon says of it.
    pub fn sent(&mut self, text: &str, answer: &Value) {
        self.typed.push_back(text.to_owned());
        // A turn has begun with it, or it waits for one: what was said of the last turn is old.
        self.status = "running".to_owned();
        self.error = None;
        self.asked.clear();
        self.awaited = answer["queued_message"]["id"].as_i64();
        self.queued.extend(self.awaited);
    }

    /// How far the turn is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.status.as_str() {
            "error" => {
                Standing::Failed(self.error.clone().unwrap_or_else(|| "the turn has failed".to_owned()))
            }
            "requires_action" => Standing::Asks(self.asked.clone()),
            "waiting" if self.awaited.is_none_or(|id| !self.queued.contains(&id)) => Standing::Done,
            _ => Standing::Running,
        }
    }

    /// Takes an event.
    pub fn on(&mut self, event: &Value) -> Printed {
        let mut out = Printed::default();
        match event["type"].as_str().unwrap_or_default() {
            "message_part" => self.part(&event["message_part"], &mut out),
            "message" => self.message(&event["message"], &mut out),
            "status" => event["status"]["status"].as_str().unwrap_or_default().clone_into(&mut self.status),
            "queue_update" => {
                let queue = event["queued_messages"].as_array().into_iter().flatten();
                self.queued = queue.filter_map(|queued| queued["id"].as_i64()).collect();
            }
            "error" => {
                let error = &event["error"];
                let [message, detail] =
                    ["message", "detail"].map(|key| plain(error[key].as_str().unwrap_or_default()));
                self.error = Some(if detail.is_empty() { message } else { format!("{message} ({detail})") });
            }
            "action_required" => {
                let calls = event["action_required"]["tool_calls"].as_array().into_iter().flatten();
                self.asked = calls.filter_map(|call| call["tool_name"].as_str().map(plain)).collect();
            }
            "retry" => {
                self.close(&mut out);
                let retry = &event["retry"];
                let seconds = retry["delay_ms"].as_f64().unwrap_or_default() / 1000.0;
                let why = plain(retry["error"].as_str().unwrap_or("the model has failed"));
                out.noted.push(format!("{why}; trying again in {seconds:.1} s"));
            }
            "history_reset" => {
                self.close(&mut out);
                self.shown.clear();
                out.noted.push("an earlier message of this chat was changed".to_owned());
            }
            // The stored message says more than the order to drop what was shown of it.
            _ => {}
        }
        out
    }

    fn part(&mut self, piece: &Value, out: &mut Printed) {
        let number = |key: &str| piece[key].as_i64().unwrap_or_default();
        let part = (number("history_version"), number("generation_attempt"), number("seq"));
        let (version, attempt, seq) = self.part;
        if (part.0, part.1) == (version, attempt) && part.2 <= seq {
            return; // It comes again after a lost connection.
        }
        if part.0 == version && part.1 != attempt && !self.shown.is_empty() {
            self.close(out);
            self.shown.clear();
            out.noted.push("the answer begins again".to_owned());
        }
        self.part = part;
        let part = &piece["part"];
        let text = part["text"].as_str().unwrap_or_default();
        match part["type"].as_str().unwrap_or_default() {
            "text" => {
                self.shown.push_str(text);
                self.text(text, out);
            }
            "reasoning" => self.reasoning(text, out),
            _ => self.tool(part, out),
        }
    }

    /// A stored message: what was not shown while it was made.
    fn message(&mut self, message: &Value, out: &mut Printed) {
        let Some(id) = message["id"].as_i64().filter(|id| self.newest.is_none_or(|newest| *id > newest))
        else {
            return;
        };
        self.newest = Some(id);
        let parts = || message["content"].as_array().into_iter().flatten();
        let texts = || parts().filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str());
        let whole: String = texts().collect();
        match message["role"].as_str().unwrap_or_default() {
            "user" => {
                if self.typed.front() == Some(&whole) {
                    self.typed.pop_front();
                } else if !self.quiet && !whole.is_empty() {
                    self.close(out);
                    out.said.push_str(&format!("> {}\n\n", plain(&whole)));
                }
            }
            "assistant" => {
                let shown = std::mem::take(&mut self.shown);
                if shown.is_empty() && whole.is_empty() {
                    parts().filter(|part| part["type"] == "reasoning").for_each(|part| {
                        self.reasoning(part["text"].as_str().unwrap_or_default(), out);
                    });
                }
                self.text(whole.strip_prefix(shown.as_str()).unwrap_or_default(), out);
                parts().for_each(|part| self.tool(part, out));
                self.close(out);
            }
            _ => parts().for_each(|part| self.tool(part, out)),
        }
    }

    fn text(&mut self, text: &str, out: &mut Printed) {
        if !text.is_empty() {
            self.begin(Open::Text, "", out);
            out.said.push_str(&plain(text));
        }
    }

    fn reasoning(&mut self, text: &str, out: &mut Printed) {
        if !text.is_empty() && !self.quiet {
            self.begin(Open::Reasoning, "(thinks) ", out);
            out.said.push_str(&plain(text));
        }
    }

    /// Calls and results, once each; of those that are still being made nothing is shown.
    fn tool(&mut self, part: &Value, out: &mut Printed) {
        let (shown, value, arrow) = match part["type"].as_str().unwrap_or_default() {
            "tool-call" => (&mut self.calls, part.get("args"), '→'),
            "tool-result" => (&mut self.results, part.get("result"), '←'),
            _ => return,
        };
        let Some(value) = value.filter(|value| !value.is_null()) else { return };
        let id = part["tool_call_id"].as_str().unwrap_or_default();
        if !shown.insert(id.to_owned()) || self.quiet {
            return;
        }
        let name = part["tool_name"].as_str().unwrap_or_default();
        let failed = if part["is_error"] == true { "failed: " } else { "" };
        self.close(out);
        out.said.push_str(&plain(&format!("  {arrow} {name} {failed}{}\n", preview(&value.to_string()))));
        if arrow == '←' {
            out.said.push('\n');
        }
    }

    fn begin(&mut self, kind: Open, label: &str, out: &mut Printed) {
        if self.open != kind {
            self.close(out);
            self.open = kind;
            out.said.push_str(label);
        }
    }

    fn close(&mut self, out: &mut Printed) {
        if std::mem::take(&mut self.open) != Open::Nothing {
            out.said.push_str("\n\n");
        }
    }
}

fn preview(text: &str) -> String {
    match text.char_indices().nth(PREVIEW) {
        Some((cut, _)) => format!("{} … ({} characters more)", &text[..cut], text[cut..].chars().count()),
        None => text.to_owned(),
    }
}

/// Without what would steer the terminal: text of models, tools and web pages is no command to it.
fn plain(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn part(attempt: i64, seq: i64, part: &Value) -> Value {
        json!({ "type": "message_part", "message_part": {
            "history_version": 3, "generation_attempt": attempt, "seq": seq, "part": part,
        }})
    }

    fn stored(id: i64, role: &str, content: &Value) -> Value {
        json!({ "type": "message", "message": { "id": id, "role": role, "content": content } })
    }

    fn status(status: &str) -> Value {
        json!({ "type": "status", "status": { "status": status } })
    }

    fn said(view: &mut View, events: &[Value]) -> String {
        events.iter().map(|event| view.on(event).said).collect()
    }

    fn turn() -> Vec<Value> {
        let call = json!({ "type": "tool-call", "tool_call_id": "a", "tool_name": "execute", "args": { "command": "ls" } });
        let result = json!({ "type": "tool-result", "tool_call_id": "a", "tool_name": "execute", "result": { "output": "x" } });
        vec![
            stored(1, "user", &json!([{ "type": "text", "text": "Look." }])),
            status("running"),
            part(1, 1, &json!({ "type": "reasoning", "text": "hm" })),
            part(1, 2, &json!({ "type": "text", "text": "I lo" })),
            part(1, 3, &json!({ "type": "text", "text": "ok." })),
            part(
                1,
                4,
                &json!({ "type": "tool-call", "tool_call_id": "a", "tool_name": "execute", "args_delta": "{" }),
            ),
            part(1, 5, &call),
            part(1, 6, &result),
            stored(2, "assistant", &json!([{ "type": "text", "text": "I look." }, call])),
            stored(3, "tool", &json!([result])),
            json!({ "type": "preview_reset" }),
            stored(4, "assistant", &json!([{ "type": "text", "text": "There is x." }])),
            status("waiting"),
        ]
    }

    const SHOWN: &str = "(thinks) hm\n\nI look.\n\n  → execute {\"command\":\"ls\"}\n  ← execute {\"output\":\"x\"}\n\nThere is x.\n\n";

    #[test]
    fn a_turn_is_shown_once_whether_live_or_stored() {
        let mut view = View::new(false, None);
        view.sent("Look.", &json!({}));
        assert_eq!(view.standing(), Standing::Running);
        assert_eq!(said(&mut view, &turn()), SHOWN);
        assert_eq!((view.standing(), view.newest()), (Standing::Done, Some(4)));
        // Nobody was there while it was made.
        let late: Vec<Value> = turn().into_iter().filter(|event| event["type"] != "message_part").collect();
        let mut view = View::new(false, None);
        assert_eq!(said(&mut view, &late), SHOWN.replace("(thinks) hm\n\n", "> Look.\n\n"));
        let mut view = View::new(true, None);
        assert_eq!(said(&mut view, &turn()), "I look.\n\nThere is x.\n\n");
        let mut view = View::new(false, Some(4));
        assert_eq!(said(&mut view, &late), "");
    }

    #[test]
    fn a_stream_that_was_opened_again_goes_on_where_it_was() {
        let turn = turn();
        for cut in 2..turn.len() {
            let mut view = View::new(false, None);
            view.sent("Look.", &json!({}));
            let mut text = said(&mut view, &turn[..cut]);
            // Behind the newest message, live parts from the first one on.
            let again: Vec<Value> = turn
                .iter()
                .enumerate()
                .filter(|(at, event)| match event["message"]["id"].as_i64() {
                    Some(id) => view.newest().is_none_or(|newest| id > newest),
                    None => *at >= cut || (event["type"] == "message_part" && cut <= 8),
                })
                .map(|(_, event)| event.clone())
                .collect();
            text += &said(&mut view, &again);
            assert_eq!(text, SHOWN, "cut before event {cut}");
        }
    }

    #[test]
    fn a_retry_begins_again_and_says_so() {
        let mut view = View::new(false, None);
        said(&mut view, &[part(1, 1, &json!({ "type": "text", "text": "Hal" }))]);
        let retry =
            json!({ "type": "retry", "retry": { "attempt": 1, "delay_ms": 1500, "error": "busy\u{1b}[2J" } });
        let told = view.on(&retry);
        assert_eq!(
            (told.said.as_str(), told.noted),
            ("\n\n", vec!["busy\u{fffd}[2J; trying again in 1.5 s".to_owned()])
        );
        let told = view.on(&part(2, 1, &json!({ "type": "text", "text": "Hello" })));
        assert_eq!((told.said.as_str(), told.noted), ("Hello", vec!["the answer begins again".to_owned()]));
        let rest = stored(2, "assistant", &json!([{ "type": "text", "text": "Hello there" }]));
        assert_eq!(said(&mut view, &[rest]), " there\n\n");
    }

    #[test]
    fn a_turn_ends_when_what_was_typed_has_had_its_turn() {
        let mut view = View::new(false, Some(9));
        view.on(&status("running"));
        view.sent("more", &json!({ "queued": true, "queued_message": { "id": 7 } }));
        view.on(&status("waiting"));
        assert_eq!(view.standing(), Standing::Running, "it is in the queue");
        view.on(&json!({ "type": "queue_update", "queued_messages": [] }));
        assert_eq!(view.standing(), Standing::Done);
        view.on(&status("error"));
        view.on(&json!({ "type": "error", "error": { "message": "No key.", "detail": "set one" } }));
        assert_eq!(view.standing(), Standing::Failed("No key. (set one)".to_owned()));
        view.on(&status("requires_action"));
        view.on(&json!({ "type": "action_required", "action_required": { "tool_calls": [{ "tool_name": "ask" }] } }));
        assert_eq!(view.standing(), Standing::Asks(vec!["ask".to_owned()]));
    }

    #[test]
    fn long_values_are_cut_and_nothing_steers_the_terminal() {
        assert_eq!(preview("é"), "é");
        assert_eq!(preview(&"é".repeat(PREVIEW + 3)).chars().filter(|c| *c == 'é').count(), PREVIEW);
        assert_eq!(plain("a\r\nb\t\u{1b}[31m\u{9b}\u{7}"), "a\nb\t\u{fffd}[31m\u{fffd}\u{fffd}");
    }
}
