//! Records model calls for debugging (agent-loop.md §21). Nothing here waits: what is to be recorded goes
//! into a bounded queue, and what does not fit is dropped and counted. A task of its own cleans and writes.

mod writer;

use crate::chat::{
    message::{Role, Visibility},
    state::Status,
};
use crate::{
    clock::{Clock, Timestamp},
    ids::{ChatId, MessageId, ModelConfigId, UserId, fresh_uuid},
    llm::{failure::Failure, request::Request, tap::Tap},
    metrics,
    store::{
        Store,
        commit::Committed,
        records::{
            ChatRecord, MessageRow,
            debug::{RunKind, RunStatus},
        },
        settings::LiveSettings,
    },
    turn::{accumulate::Step, engine::ModelChoice, title::Witness},
};
use serde_json::{Value, json};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Records that may wait for the database.
const QUEUE: usize = 512;
/// Bytes of prompts that may wait with them.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Characters of the message that names a run.
const LABEL_CHARS: usize = 100;
/// A run that nobody has touched for this long is nobody's (agent-loop.md §1: 3 × the lease of the original).
pub const STALE: Duration = Duration::from_secs(15 * 60);
/// How far clocks of replicas may be apart: younger runs are left alone by an edit.
const EDIT_SKEW: Duration = Duration::from_secs(30);

/// Takes records. Cloning shares it.
#[derive(Clone)]
pub struct Recorder {
    live: Arc<LiveSettings>,
    clock: Clock,
    queue: mpsc::Sender<(Record, usize)>,
    waiting: Arc<AtomicUsize>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

/// What the writer is told.
enum Record {
    Begin(Box<Begin>),
    End(Box<End>),
    Runs {
        chat: ChatId,
        kinds: Vec<RunKind>,
        status: RunStatus,
        at: Timestamp,
    },
    Edited {
        chat: ChatId,
        message: MessageId,
        before: Timestamp,
    },
    /// Everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// What a call is about. It owns what it has, as titles are made beside the turn.
#[derive(Debug, Clone)]
pub struct Subject {
    chat: ChatId,
    owner: UserId,
    root: ChatId,
    parent: Option<ChatId>,
    /// The last message of the user, and the last one of all.
    trigger: Option<MessageId>,
    tip: Option<MessageId>,
    /// How lists name the run.
    label: String,
    /// Bytes of the messages that the prompt is made of.
    bytes: usize,
}

impl Subject {
    /// A turn, which is named after the last message of the user.
    fn latest(chat: &ChatRecord, rows: &[MessageRow]) -> Self {
        let last = asked(rows).next_back();
        Self::of(chat, rows, last)
    }

    /// A title, which is named after the first message of the user (agent-loop.md §14.3).
    #[must_use]
    pub fn first(chat: &ChatRecord, rows: &[MessageRow]) -> Self {
        let first = asked(rows).next();
        Self::of(chat, rows, first)
    }

    fn of(chat: &ChatRecord, rows: &[MessageRow], named_after: Option<&MessageRow>) -> Self {
        let parts = named_after.and_then(|row| row.content.read::<Value>().ok());
        let text = parts.as_ref().and_then(|all| all.as_array()?.iter().find_map(|p| p["text"].as_str()));
        Self {
            chat: chat.head.id,
            owner: chat.owner_id,
            root: chat.root_chat_id,
            parent: chat.parent_chat_id,
            trigger: asked(rows).next_back().map(|row| row.id),
            tip: rows.last().map(|row| row.id),
            label: text.unwrap_or_default().chars().take(LABEL_CHARS).collect(),
            bytes: rows.iter().map(|row| row.content.get().len()).sum(),
        }
    }
}

/// What the user has said. Their rows with a native form are what the workspace says of its project.
fn asked(rows: &[MessageRow]) -> impl DoubleEndedIterator<Item = &MessageRow> {
    rows.iter()
        .filter(|row| row.role == Role::User && row.visibility == Visibility::Both && row.native.is_none())
}

struct Begin {
    step: Uuid,
    subject: Subject,
    kind: RunKind,
    model_config_id: ModelConfigId,
    provider: String,
    request: Arc<Request>,
    at: Timestamp,
}

struct End {
    step: Uuid,
    status: RunStatus,
    message: Option<MessageId>,
    answer: Option<Step>,
    attempts: Vec<Attempt>,
    error: Option<Value>,
    at: Timestamp,
}

struct Attempt {
    number: i64,
    tap: Tap,
    started: Timestamp,
    finished: Option<Timestamp>,
    error: Option<String>,
}

impl Recorder {
    /// A recorder and the work of its writer, which ends when the last recorder is dropped. Who is
    /// recorded is a setting.
    pub fn new(
        live: Arc<LiveSettings>,
        store: Store,
        clock: Clock,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, records) = mpsc::channel(QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = writer::run(store, records, Arc::clone(&waiting));
        (Self { live, clock, queue, waiting }, writer)
    }

    /// Whether the model calls for this user's chats are recorded. A turn never fails for it.
    async fn enabled(&self, user: UserId) -> bool {
        self.live.debug_enabled(user).await.unwrap_or_else(|e| {
            tracing::warn!(%user, error = %e, "a model call is not recorded: the user's settings cannot be read");
            false
        })
    }

    fn send(&self, record: Record, bytes: usize) {
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > QUEUE_BYTES || self.queue.try_send((record, bytes)).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            dropped();
        }
    }

    /// Begins a step of a turn, if it is recorded at all.
    pub async fn step(
        &self,
        kind: RunKind,
        chat: &ChatRecord,
        rows: &[MessageRow],
        choice: &ModelChoice,
        request: &Arc<Request>,
    ) -> Option<Recording> {
        if !self.enabled(chat.owner_id).await {
            return None;
        }
        Some(self.begin(kind, Subject::latest(chat, rows), choice, request))
    }

    /// Begins a call for a title, if it is recorded at all.
    pub async fn title(
        &self,
        subject: &Subject,
        choice: &ModelChoice,
        request: &Arc<Request>,
    ) -> Option<Recording> {
        if !self.enabled(subject.owner).await {
            return None;
        }
        Some(self.begin(RunKind::TitleGeneration, subject.clone(), choice, request))
    }

    fn begin(
        &self,
        kind: RunKind,
        subject: Subject,
        choice: &ModelChoice,
        request: &Arc<Request>,
    ) -> Recording {
        let step = fresh_uuid();
        let Subject { chat, bytes, .. } = subject;
        let begin = Begin {
            step,
            subject,
            kind,
            model_config_id: choice.id,
            provider: choice.provider_type.clone(),
            request: Arc::clone(request),
            at: self.clock.now(),
        };
        self.send(Record::Begin(Box::new(begin)), bytes);
        Recording { recorder: self.clone(), chat, kind, step, attempts: Vec::new(), open: true }
    }

    /// A job moved a chat: its turn may have ended. `interrupted`: the job was to end it early.
    pub fn moved(&self, done: &Committed, interrupted: bool) {
        if !self.live.debug_may_be_enabled(done.owner_id) {
            return;
        }
        let next_turn =
            done.inserted.iter().any(|r| r.role == Role::User && r.visibility == Visibility::Both);
        let status = match done.head.status {
            _ if interrupted => RunStatus::Interrupted,
            Status::Error => RunStatus::Error,
            // A pause for tools of the client counts as an end (agent-loop.md §21).
            Status::Waiting | Status::RequiresAction => RunStatus::Completed,
            Status::Running if next_turn => RunStatus::Completed,
            Status::Running | Status::Interrupting => return,
        };
        let kinds = vec![RunKind::ChatTurn, RunKind::Compaction];
        self.send(Record::Runs { chat: done.head.id, kinds, status, at: self.clock.now() }, 0);
    }

    /// Waits until what was recorded so far is written, at most for so long: the process stops.
    pub async fn flush(&self, limit: Duration) {
        let (sender, written) = oneshot::channel();
        let all = async {
            // A writer that is gone has written what it could.
            if self.queue.send((Record::Flush(sender), 0)).await.is_ok() {
                let _ = written.await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(
                "debug records were not written in time; the runs they belong to will end as interrupted"
            );
        }
    }

    /// A message was edited: what was recorded of the history after it goes.
    pub fn edited(&self, chat: ChatId, message: MessageId) {
        if self.live.current().debug_allowed() {
            let before = self.clock.now() - EDIT_SKEW;
            self.send(Record::Edited { chat, message, before }, 0);
        }
    }
}

fn dropped() {
    ::metrics::counter!(metrics::DEBUG_DROPPED_TOTAL).increment(1);
}

/// A step that is being recorded. Dropped before its end it was interrupted.
#[derive(Debug)]
pub struct Recording {
    recorder: Recorder,
    chat: ChatId,
    kind: RunKind,
    step: Uuid,
    attempts: Vec<Attempt>,
    open: bool,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Recording {
    /// An attempt begins; the transport writes into the tap.
    pub fn attempt(&mut self, number: i64) -> Tap {
        let tap = Tap::default();
        let started = self.recorder.clock.now();
        self.attempts.push(Attempt { number, tap: tap.clone(), started, finished: None, error: None });
        tap
    }

    /// The attempt that began last is over.
    pub fn attempt_ended(&mut self, failure: Option<&Failure>) {
        let now = self.recorder.clock.now();
        if let Some(last) = self.attempts.last_mut() {
            last.finished = Some(now);
            last.error = failure.map(|f| f.message.clone());
        }
    }

    /// The step has an answer; `message` is what became of it.
    pub fn completed(mut self, answer: Step, message: Option<MessageId>) {
        self.end(RunStatus::Completed, Some(answer), message, None);
    }

    /// The step failed for good.
    pub fn failed(mut self, failure: &Failure) {
        let error = json!({
            "kind": failure.kind.as_str(),
            "message": failure.message,
            "detail": failure.detail,
            "status_code": failure.status_code,
            "retryable": failure.retryable,
        });
        self.end(RunStatus::Error, None, None, Some(error));
    }

    fn end(
        &mut self,
        status: RunStatus,
        answer: Option<Step>,
        message: Option<MessageId>,
        error: Option<Value>,
    ) {
        self.open = false;
        let attempts = std::mem::take(&mut self.attempts);
        let bytes = attempts.iter().map(|a| a.tap.exchange().request_body.len()).sum();
        let at = self.recorder.clock.now();
        let end = End { step: self.step, status, message, answer, attempts, error, at };
        self.recorder.send(Record::End(Box::new(end)), bytes);
        // A compaction is one step, and so is a title; the turn around it goes on.
        if self.kind != RunKind::ChatTurn {
            let kinds = vec![self.kind];
            self.recorder.send(Record::Runs { chat: self.chat, kinds, status, at }, 0);
        }
    }
}

impl Witness for Recording {
    fn attempt(&mut self, number: i64) -> Tap {
        Recording::attempt(self, number)
    }

    fn attempt_ended(&mut self, failure: Option<&Failure>) {
        Recording::attempt_ended(self, failure);
    }

    fn answered(self, step: Step) {
        self.completed(step, None);
    }

    fn failed(self, failure: &Failure) {
        Recording::failed(self, failure);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.open {
            self.end(RunStatus::Interrupted, None, None, None);
        }
    }
}
