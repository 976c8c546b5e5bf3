//! A chat as a store would keep it, and the reads a store would make.

use crate::{
    chat::{
        json::Json,
        message::{Role, StepFigures, Visibility},
        state::{Status, Versions},
    },
    clock::Timestamp,
    ids::{ChatId, MessageId, QueuedId},
    store::records::{Head, MessageRow, PendingCall, QueuedRow, StreamRead},
    stream::subscriber::JoinFrom,
};
use proptest::prelude::*;
use serde_json::json;

#[derive(Debug, Clone)]
pub(super) struct Database {
    pub(super) head: Head,
    pub(super) rows: Vec<MessageRow>,
    pub(super) queue: Vec<QueuedRow>,
    next_id: i64,
}

/// One transaction.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Insert {
        hidden: bool,
        role: Role,
        size: usize,
    },
    /// Soft-deletes the rows from the n-th last on and inserts a replacement.
    Edit(usize),
    /// Changes the content of the n-th last row.
    Revise(usize),
    Queue(usize),
    Status(Status),
    Attempt,
    Retry,
    /// Something subscribers do not see.
    Acquire,
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    let role = prop_oneof![Just(Role::User), Just(Role::Assistant), Just(Role::Tool)];
    let status = proptest::sample::select(Status::ALL.to_vec());
    prop_oneof![
        4 => (proptest::bool::weighted(0.2), role, prop_oneof![9 => 0..50_usize, 1 => 300..500_usize])
            .prop_map(|(hidden, role, size)| Change::Insert { hidden, role, size }),
        2 => (1..4_usize).prop_map(Change::Edit),
        2 => (0..4_usize).prop_map(Change::Queue),
        3 => status.prop_map(Change::Status),
        4 => Just(Change::Attempt),
        1 => Just(Change::Retry),
        1 => Just(Change::Acquire),
    ]
}

pub(super) fn change_with_revisions() -> impl Strategy<Value = Change> {
    prop_oneof![6 => change(), 1 => (1..4_usize).prop_map(Change::Revise)]
}

impl Database {
    pub(super) fn new() -> Self {
        let head = Head {
            id: ChatId::fresh(),
            status: Status::Running,
            archived: false,
            versions: Versions { snapshot: 1, history: 1, ..Versions::default() },
            owner: None,
            last_error: None,
            retry_state: None,
            requires_action_deadline_at: None,
        };
        let mut db = Self { head, rows: Vec::new(), queue: Vec::new(), next_id: 1 };
        db.insert(false, Role::User, 3);
        db
    }

    fn insert(&mut self, hidden: bool, role: Role, size: usize) {
        // Ids of other chats lie between.
        self.next_id += 3;
        let text = format!("{} {}", self.head.versions.snapshot, "x".repeat(size));
        self.rows.push(MessageRow {
            id: MessageId(self.next_id),
            chat_id: self.head.id,
            revision: self.head.versions.snapshot,
            deleted: false,
            role,
            visibility: if hidden { Visibility::Model } else { Visibility::Both },
            content: Json::of(&json!([{"type": "text", "text": text}])),
            native: None,
            created_by: None,
            model_config_id: None,
            compressed: false,
            figures: StepFigures::default(),
            created_at: Timestamp::from_micros(0),
        });
    }

    fn set_retry(&mut self, retry: Option<Json>) {
        if self.head.retry_state != retry {
            self.head.retry_state = retry;
            self.head.versions.retry_state = self.head.versions.snapshot;
        }
    }

    fn moved_history(&mut self) {
        self.head.versions.history = self.head.versions.snapshot;
        self.head.versions.attempt = 0;
        self.set_retry(None);
    }

    pub(super) fn commit(&mut self, change: &Change) {
        self.head.versions.snapshot += 1;
        let now = self.head.versions.snapshot;
        let nth_last = |n: usize| self.rows.len().saturating_sub(n);
        match *change {
            Change::Insert { hidden, role, size } => {
                self.insert(hidden, role, size);
                self.moved_history();
            }
            Change::Edit(n) => {
                let from = nth_last(n);
                for row in self.rows[from..].iter_mut().filter(|r| !r.deleted) {
                    row.deleted = true;
                    row.revision = now;
                }
                self.insert(false, Role::User, 5);
                self.moved_history();
            }
            Change::Revise(n) => {
                let from = nth_last(n);
                if let Some(row) = self.rows.get_mut(from).filter(|r| !r.deleted) {
                    row.revision = now;
                    row.content = Json::of(&json!([{"type": "text", "text": format!("revised {now}")}]));
                    self.moved_history();
                }
            }
            Change::Queue(n) => {
                self.queue = (0..n)
                    .map(|i| QueuedRow {
                        id: QueuedId(now * 10 + i.cast_signed() as i64),
                        chat_id: self.head.id,
                        content: Json::of(&json!([])),
                        created_by: None,
                        model_config_id: None,
                        created_at: Timestamp::from_micros(0),
                    })
                    .collect();
                self.head.versions.queue = now;
            }
            Change::Status(status) => {
                if status == Status::Running && self.head.status != status {
                    // What begins a turn moves the history.
                    self.set_retry(None);
                }
                self.head.status = status;
                self.head.last_error =
                    (status == Status::Error).then(|| Json::of(&json!({"message": now, "retryable": false})));
            }
            Change::Attempt => {
                self.head.versions.attempt += 1;
                self.set_retry(None);
            }
            Change::Retry if self.head.status == Status::Running => {
                self.set_retry(Some(Json::of(&json!({"attempt": now}))));
            }
            Change::Retry | Change::Acquire => {}
        }
    }

    pub(super) fn visible(&self) -> impl Iterator<Item = &MessageRow> {
        self.rows.iter().filter(|r| !r.deleted && r.visibility != Visibility::Model)
    }

    fn read(&self, reset: bool, newer: impl Fn(&MessageRow) -> bool, queue_since: i64) -> StreamRead {
        let pending = PendingCall { tool_call_id: "c".into(), tool_name: "t".into(), args: "{}".into() };
        StreamRead {
            head: self.head.clone(),
            reset,
            messages: self.visible().filter(|r| reset || newer(r)).cloned().collect(),
            more: false,
            queue: (self.head.versions.queue != queue_since).then(|| self.queue.clone()),
            pending: if self.head.status == Status::RequiresAction { vec![pending] } else { vec![] },
        }
    }

    fn deleted(&self, which: impl Fn(&MessageRow) -> bool) -> bool {
        self.rows.iter().any(|r| r.deleted && r.visibility != Visibility::Model && which(r))
    }

    pub(super) fn since(&self, v: &Versions) -> StreamRead {
        let newer = |r: &MessageRow| r.revision > v.history;
        self.read(self.deleted(newer), newer, v.queue)
    }

    /// What a joiner gets, of new messages at most so many.
    pub(super) fn join(&self, from: JoinFrom, page: usize) -> StreamRead {
        let newer_than = |revision: i64| move |r: &MessageRow| r.revision > revision;
        // Above which id whole rows come, which is what a page cuts.
        let (mut read, above) = match from {
            JoinFrom::AfterId(None) => (self.read(false, |_| true, 0), 0),
            JoinFrom::AfterId(Some(id)) => {
                (self.read(self.deleted(|r| r.id.0 >= id), |r| r.id.0 > id, 0), id)
            }
            JoinFrom::Resume { after_id, revision } => {
                let newer = newer_than(revision);
                let read = self.read(self.deleted(newer), |r| r.id.0 > after_id || newer(r), 0);
                (read, after_id)
            }
            JoinFrom::Revision(rev) => {
                return self.read(self.deleted(newer_than(rev)), newer_than(rev), 0);
            }
        };
        let whole = if read.reset { 0 } else { read.messages.iter().filter(|r| r.id.0 <= above).count() };
        read.more = read.messages.len() > whole + page;
        read.messages.truncate(whole + page);
        read
    }
}
