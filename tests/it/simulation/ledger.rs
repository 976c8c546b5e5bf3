//! What the daemon has promised about the user messages of one chat, kept by the sender.
//!
//! One sender speaks in a chat, one request at a time. So after a kill at most one request has an unknown
//! outcome, and the first look at the chat after the restart decides it for ever.

use crate::support::client::Api;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    History(i64),
    Queue(i64),
}

/// A request that got no answer.
#[derive(Debug, Clone)]
enum Unknown {
    /// A message with this text and this idempotency key, under this busy behavior.
    Send { text: String, key: String, busy: &'static str },
    /// An edit of this message into this text.
    Edit { target: i64, text: String },
    /// The deletion of a queued message with this text.
    Delete { text: String },
    /// A request that takes no message away and brings none.
    Nothing,
}

/// The promises.
#[derive(Debug)]
pub struct Ledger {
    pub chat: String,
    /// Messages that were accepted and that nobody has taken back.
    promised: BTreeSet<String>,
    /// Messages that must not be there: refused, deleted, or edited away.
    gone: BTreeSet<String>,
    /// What was sent when the daemon was killed.
    unknown: Option<Unknown>,
    /// What an edit of unknown outcome would have left.
    before: Option<BTreeSet<String>>,
    sent: u32,
    /// Accepted requests of each kind, for the report.
    pub accepted: BTreeMap<&'static str, u32>,
}

fn text_of(message: &Value) -> String {
    let parts = message["content"].as_array().into_iter().flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}

fn content(text: &str) -> Value {
    json!([{ "type": "text", "text": text }])
}

impl Ledger {
    pub fn new(chat: &str, first: &str) -> Self {
        Self {
            chat: chat.to_owned(),
            promised: BTreeSet::from([first.to_owned()]),
            gone: BTreeSet::new(),
            unknown: None,
            before: None,
            sent: 0,
            accepted: BTreeMap::new(),
        }
    }

    fn next_text(&mut self) -> String {
        self.sent += 1;
        format!("message {} of {}", self.sent, self.chat)
    }

    fn count(&mut self, kind: &'static str) {
        *self.accepted.entry(kind).or_default() += 1;
    }

    /// Every user message of the chat and where it is.
    async fn places(&self, api: &Api) -> Option<Vec<(String, Place)>> {
        // The newest page and the queue are of one moment; what is older does not move but by our edits.
        let mut places = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/chats/{}/messages?limit=200{cursor}", self.chat);
            let page = api.try_call(Method::GET, &path, None).await.ok()?.json(200);
            let messages = page["messages"].as_array()?;
            for message in messages.iter().filter(|m| m["role"] == "user") {
                places.push((text_of(message), Place::History(message["id"].as_i64()?)));
            }
            for message in page["queued_messages"].as_array()? {
                places.push((text_of(message), Place::Queue(message["id"].as_i64()?)));
            }
            if page["has_more"] != json!(true) {
                return Some(places);
            }
            cursor = format!("&before_id={}", messages.last()?["id"]);
        }
    }

    /// Sends a message. False: no answer came.
    pub async fn send(&mut self, api: &Api, busy: &'static str) -> bool {
        let text = self.next_text();
        let key = format!("key of {text}").replace(' ', "-");
        self.send_again(api, text, key, busy).await
    }

    async fn send_again(&mut self, api: &Api, text: String, key: String, busy: &'static str) -> bool {
        let body = json!({ "content": content(&text), "busy_behavior": busy });
        let path = format!("/chats/{}/messages", self.chat);
        let headers = [("Idempotency-Key", key.as_str())];
        match api.try_call_with(Method::POST, &path, Some(&body), &headers).await {
            Err(_) => {
                self.unknown = Some(Unknown::Send { text, key, busy });
                false
            }
            Ok(answer) => {
                match answer.status {
                    200 => {
                        self.promised.insert(text);
                        self.count(busy);
                    }
                    429 | 503 => drop(self.gone.insert(text)),
                    _ => panic!("{answer:?}"),
                }
                true
            }
        }
    }

    /// Replaces one of the messages in history; `pick` chooses among `n`.
    pub async fn edit(&mut self, api: &Api, pick: impl FnOnce(usize) -> usize) -> bool {
        let Some(places) = self.places(api).await else { return false };
        let mut ids: Vec<i64> = places
            .iter()
            .filter_map(|(_, p)| if let Place::History(id) = p { Some(*id) } else { None })
            .collect();
        ids.sort_unstable();
        if ids.is_empty() {
            return true;
        }
        let target = ids[pick(ids.len())];
        let text = self.next_text();
        let body = json!({ "content": content(&text) });
        let path = format!("/chats/{}/messages/{target}", self.chat);
        match api.try_call(Method::PATCH, &path, Some(&body)).await {
            Err(_) => {
                self.unknown = Some(Unknown::Edit { target, text });
                // What stood before the target stays; the rest is decided with the edit.
                self.before = Some(kept_by_edit(&places, target));
                false
            }
            Ok(answer) => {
                match answer.status {
                    200 => {
                        self.count("edit");
                        self.edited(&kept_by_edit(&places, target), text);
                    }
                    503 => drop(self.gone.insert(text)),
                    _ => panic!("{answer:?}"),
                }
                true
            }
        }
    }

    /// An edit took place: what it did not keep is gone, the replacement is promised.
    fn edited(&mut self, kept: &BTreeSet<String>, text: String) {
        let promised = std::mem::take(&mut self.promised);
        for old in promised {
            if kept.contains(&old) { &mut self.promised } else { &mut self.gone }.insert(old);
        }
        self.promised.insert(text);
    }

    /// Deletes or promotes a queued message.
    pub async fn queue(&mut self, api: &Api, promote: bool, pick: impl FnOnce(usize) -> usize) -> bool {
        let Some(places) = self.places(api).await else { return false };
        let queued: Vec<(&str, i64)> = places
            .iter()
            .filter_map(|(text, p)| if let Place::Queue(id) = p { Some((text.as_str(), *id)) } else { None })
            .collect();
        if queued.is_empty() {
            return true;
        }
        let (text, id) = queued[pick(queued.len())];
        let (method, path) = if promote {
            (Method::POST, format!("/chats/{}/queue/{id}/promote", self.chat))
        } else {
            (Method::DELETE, format!("/chats/{}/queue/{id}", self.chat))
        };
        match api.try_call(method, &path, None).await {
            Err(_) => {
                self.unknown =
                    Some(if promote { Unknown::Nothing } else { Unknown::Delete { text: text.to_owned() } });
                return false;
            }
            Ok(answer) => match (promote, answer.status) {
                (true, 202) => self.count("promote"),
                (false, 204) => {
                    self.promised.remove(text);
                    self.gone.insert(text.to_owned());
                    self.count("delete");
                }
                // It was taken up meanwhile.
                (_, 404 | 409 | 503) => {}
                _ => panic!("{answer:?}"),
            },
        }
        true
    }

    /// Interrupts whatever goes on.
    pub async fn interrupt(&mut self, api: &Api) -> bool {
        let path = format!("/chats/{}/interrupt", self.chat);
        match api.try_call(Method::POST, &path, Some(&json!({}))).await {
            Err(_) => {
                self.unknown = Some(Unknown::Nothing);
                false
            }
            Ok(answer) => {
                match answer.status {
                    200 => self.count("interrupt"),
                    409 | 503 => {}
                    _ => panic!("{answer:?}"),
                }
                true
            }
        }
    }

    /// Answers these client-side calls.
    pub async fn answer(&mut self, api: &Api, calls: &[String]) -> bool {
        let results: Vec<Value> =
            calls.iter().map(|id| json!({ "tool_call_id": id, "output": { "said": id } })).collect();
        let path = format!("/chats/{}/tool-results", self.chat);
        match api.try_call(Method::POST, &path, Some(&json!({ "results": results }))).await {
            Err(_) => {
                self.unknown = Some(Unknown::Nothing);
                false
            }
            Ok(answer) => {
                match answer.status {
                    204 => self.count("answer"),
                    // An interrupt or a deadline was faster.
                    400 | 409 | 503 => {}
                    _ => panic!("{answer:?}"),
                }
                true
            }
        }
    }

    /// After a restart: decides what became of the request that got no answer. With `again` a message is
    /// sent once more under its key, which must not make two of it.
    pub async fn resolve(&mut self, api: &Api, again: bool) {
        let Some(unknown) = self.unknown.take() else { return };
        let before = self.before.take();
        if let (Unknown::Send { text, key, busy }, true) = (&unknown, again) {
            assert!(self.send_again(api, text.clone(), key.clone(), busy).await, "no answer after a restart");
            return;
        }
        let places = self.places(api).await.expect("an answer after a restart");
        let there = |wanted: &str| places.iter().any(|(text, _)| text == wanted);
        match unknown {
            Unknown::Nothing => {}
            Unknown::Send { text, .. } => {
                if there(&text) { &mut self.promised } else { &mut self.gone }.insert(text);
            }
            Unknown::Delete { text } => {
                if !there(&text) {
                    self.promised.remove(&text);
                    self.gone.insert(text);
                }
            }
            Unknown::Edit { target, text } => {
                let kept = before.unwrap_or_else(|| panic!("an edit of {target} without what it keeps"));
                if there(&text) {
                    self.edited(&kept, text);
                } else {
                    self.gone.insert(text);
                }
            }
        }
    }

    /// What is wrong: a promised message that is not there exactly once, one that should not be there.
    pub async fn faults(&self, api: &Api) -> Vec<String> {
        let places = self.places(api).await.expect("an answer");
        let count = |wanted: &str| places.iter().filter(|(text, _)| text == wanted).count();
        let mut faults = Vec::new();
        for text in &self.promised {
            let found = count(text);
            if found != 1 {
                faults.push(format!("{text:?} was accepted and is there {found} times"));
            }
        }
        for text in self.gone.iter().filter(|text| count(text) > 0) {
            faults.push(format!("{text:?} was refused or taken back, and is there"));
        }
        for (text, place) in &places {
            if !self.promised.contains(text) && !self.gone.contains(text) {
                faults.push(format!("nobody sent {text:?}, which is in {place:?}"));
            }
        }
        faults
    }
}

/// What an edit of this message leaves standing: whatever was in history before it.
fn kept_by_edit(places: &[(String, Place)], target: i64) -> BTreeSet<String> {
    let kept = places.iter().filter(|(_, place)| matches!(place, Place::History(id) if *id < target));
    kept.map(|(text, _)| text.clone()).collect()
}
