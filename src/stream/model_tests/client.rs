//! A client as api.md §4.3–4.5 and §5.3 have it: it keeps what it is told and complains.

use crate::stream::{
    frame::MAX_EVENTS,
    subscriber::{CloseReason, Refused, Sink},
};
use bytestring::ByteString;
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeMap, collections::VecDeque, rc::Rc};

/// The connection: a bounded queue of frames.
#[derive(Debug, Default)]
pub(super) struct Wire {
    frames: VecDeque<ByteString>,
    capacity: usize,
    hung_up: bool,
    pub(super) closed: Option<CloseReason>,
}

#[derive(Debug, Clone)]
pub(super) struct Line(pub(super) Rc<RefCell<Wire>>);

impl Line {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Rc::new(RefCell::new(Wire { capacity, ..Wire::default() })))
    }
    pub(super) fn take(&self) -> Option<ByteString> {
        self.0.borrow_mut().frames.pop_front()
    }
    pub(super) fn hang_up(&self) {
        self.0.borrow_mut().hung_up = true;
    }
}

impl Sink for Line {
    fn try_send(&mut self, frame: ByteString) -> Result<(), Refused> {
        let mut wire = self.0.borrow_mut();
        if wire.hung_up {
            return Err(Refused::Closed);
        }
        if wire.frames.len() == wire.capacity {
            return Err(Refused::Full);
        }
        wire.frames.push_back(frame);
        Ok(())
    }
    fn queued(&self) -> usize {
        self.0.borrow().frames.len()
    }
    fn close(self, reason: CloseReason) {
        self.0.borrow_mut().closed = Some(reason);
    }
}

#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) messages: BTreeMap<i64, Value>,
    pub(super) queue: Vec<Value>,
    pub(super) status: Option<String>,
    pub(super) error: Option<Value>,
    pub(super) retry: Option<Value>,
    /// (history, attempt) of the preview and its parts' texts.
    pub(super) episode: Option<(i64, i64)>,
    pub(super) preview: Vec<String>,
    /// A message came and its preview is not dropped yet.
    stale_preview: bool,
    pub(super) kinds: Vec<String>,
}

impl Client {
    /// The connection ended: the preview goes, the rest stays until it is replaced.
    pub(super) fn reconnecting(&mut self, from_nothing: bool) {
        self.episode = None;
        self.preview.clear();
        self.stale_preview = false;
        if from_nothing {
            *self = Self::default();
        }
    }

    pub(super) fn frame(&mut self, frame: &str) {
        let events: Vec<Value> = serde_json::from_str(frame).expect("a bare array");
        assert!((1..=MAX_EVENTS).contains(&events.len()));
        for event in &events {
            self.event(event);
        }
    }

    fn event(&mut self, event: &Value) {
        let kind = event["type"].as_str().unwrap();
        self.kinds.push(kind.into());
        match kind {
            "message" => {
                let message = event["message"].clone();
                self.messages.insert(message["id"].as_i64().unwrap(), message);
                self.stale_preview = true;
            }
            "history_reset" => {
                self.messages.clear();
                self.stale_preview = true;
            }
            "preview_reset" => {
                self.episode = None;
                self.preview.clear();
                self.stale_preview = false;
            }
            "queue_update" => {
                self.queue = event["queued_messages"].as_array().expect("always an array").clone();
            }
            "status" => {
                self.status = Some(event["status"]["status"].as_str().unwrap().into());
                self.error = None;
            }
            "error" => self.error = Some(event["error"].clone()),
            "retry" => self.retry = Some(event["retry"].clone()),
            "action_required" => assert!(event["action_required"]["tool_calls"][0]["args"].is_string()),
            "message_part" => self.part(&event["message_part"]),
            other => panic!("unknown event {other}"),
        }
    }

    fn part(&mut self, part: &Value) {
        assert!(!self.stale_preview, "a part between a message and its preview_reset");
        let int = |k: &str| part[k].as_i64().unwrap();
        let key = (int("history_version"), int("generation_attempt"));
        if let Some(episode) = self.episode {
            assert_eq!(episode, key, "another episode without preview_reset");
        }
        self.episode = Some(key);
        self.preview.push(part["part"]["text"].as_str().unwrap().into());
        assert_eq!(int("seq"), self.preview.len().cast_signed() as i64, "contiguous, each once");
    }
}
