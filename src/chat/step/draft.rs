//! The plan while it grows: the chat as it will be, with the rules that hold across all commands.

use crate::{
    chat::{
        answers,
        command::CommandKind,
        json::Json,
        message::{NewMessage, Role},
        plan::{Columns, Plan, Refusal, Write},
        state::{Chat, OpenCall, State, Status},
    },
    clock::Timestamp,
    ids::{MessageId, QueuedId},
};

/// A place in the queue.
#[derive(Debug)]
enum Slot {
    /// A stored row.
    Stored(QueuedId),
    /// Accepted in this transaction, so without an id yet. Always behind the stored ones.
    Fresh(NewMessage),
}

/// A chat in the middle of a transaction.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    facts: &'a Chat,
    now: Timestamp,
    /// The command being applied; `None` before the first.
    command: Option<CommandKind>,
    writes: Vec<Write>,
    queue: Vec<Slot>,
    history_changed: bool,
    queue_changed: bool,
    /// Columns as they will be; of the versions only `attempt` is kept up to date.
    pub columns: Columns,
}

impl<'a> Draft<'a> {
    pub fn of(facts: &'a Chat, now: Timestamp) -> Self {
        Self {
            facts,
            now,
            command: None,
            writes: Vec::new(),
            queue: facts.queue.iter().copied().map(Slot::Stored).collect(),
            history_changed: false,
            queue_changed: false,
            columns: Columns {
                status: facts.status,
                archived: facts.archived,
                versions: facts.versions,
                owner: facts.owner,
                last_error: facts.last_error.clone(),
                retry_state: facts.retry_state.clone(),
                requires_action_deadline_at: facts.requires_action_deadline_at,
                compaction_requested_at: facts.compaction_requested_at,
            },
        }
    }

    /// Starts a command; refusals will name it.
    pub fn begin(&mut self, command: CommandKind) {
        self.command = Some(command);
    }

    /// The stored facts, as they were before the transaction.
    pub fn facts(&self) -> &Chat {
        self.facts
    }

    /// The moment of the transaction.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The state after the commands so far.
    pub fn state(&self) -> State {
        State::classify(self.columns.status, !self.queue.is_empty(), self.columns.archived)
    }

    /// The current command is not possible in the current state.
    pub fn refuse(&self) -> Result<(), Refusal> {
        // Abandon stands in for "no command yet", where nothing can be refused.
        let command = self.command.unwrap_or(CommandKind::Abandon);
        Err(Refusal::NotAllowed { command, from: self.state() })
    }

    /// Changes the status. Leaving E* clears `last_error`; leaving A* clears the deadline.
    pub fn go(&mut self, status: Status) {
        if status != Status::Error {
            self.columns.last_error = None;
        }
        if status != Status::RequiresAction {
            self.columns.requires_action_deadline_at = None;
        }
        self.columns.status = status;
    }

    /// Into E*, because of `error`.
    pub fn fail(&mut self, error: &Json) {
        self.go(Status::Error);
        self.columns.last_error = Some(error.clone());
    }

    /// Counts one more attempt at the current history.
    pub fn next_attempt(&mut self) {
        self.columns.versions.attempt += 1;
        self.columns.retry_state = None;
    }

    fn touch_history(&mut self) {
        self.history_changed = true;
        self.columns.versions.attempt = 0;
        self.columns.retry_state = None;
    }

    /// The calls without a result in active history, in call order.
    fn open_calls(&self) -> Vec<OpenCall> {
        let mut open = self.facts.open_calls.clone();
        for write in &self.writes {
            match write {
                Write::Insert(row) => answers::follow(&mut open, row),
                // Every user message stands behind the answers to all calls before it, so the calls
                // that are still open were made later and are deleted with it.
                Write::DeleteMessagesFrom(_) => open.clear(),
                Write::Enqueue(_)
                | Write::MoveIntoHistory(_)
                | Write::Dequeue(_)
                | Write::MoveToHead(_)
                | Write::ClearQueue => {}
            }
        }
        open
    }

    /// The open calls that the API client has to answer, in call order.
    pub fn pending_calls(&self) -> Vec<OpenCall> {
        self.open_calls().into_iter().filter(|call| call.dynamic).collect()
    }

    /// Gives every pending client-side call a synthetic result.
    pub fn cancel_pending(&mut self, reason: &str) {
        self.cancel(&self.pending_calls(), reason);
    }

    /// Gives every open call a synthetic result.
    pub fn cancel_open(&mut self, reason: &str) {
        self.cancel(&self.open_calls(), reason);
    }

    /// Gives every open call a synthetic result, except those that `rows`, which come next, answer.
    pub fn cancel_open_but_for(&mut self, rows: &[NewMessage], reason: &str) {
        let mut open = self.open_calls();
        open.retain(|call| !rows.iter().any(|row| answers::answers(row, call)));
        self.cancel(&open, reason);
    }

    fn cancel(&mut self, calls: &[OpenCall], reason: &str) {
        for call in calls {
            self.insert(answers::cancelled(call, reason, self.now));
        }
    }

    /// Appends to history. A user message comes behind the answers to all open calls.
    pub fn insert(&mut self, row: NewMessage) {
        if row.role == Role::User {
            self.cancel_open(answers::SUPERSEDED);
        }
        self.touch_history();
        self.writes.push(Write::Insert(row));
    }

    /// Appends rows to history, in order.
    pub fn insert_all(&mut self, rows: &[NewMessage]) {
        for row in rows {
            self.insert(row.clone());
        }
    }

    /// Soft-deletes the message and all later ones.
    pub fn delete_from(&mut self, target: MessageId) {
        self.touch_history();
        self.writes.push(Write::DeleteMessagesFrom(target));
    }

    /// Puts a message at the end of the queue.
    pub fn enqueue(&mut self, message: NewMessage, max_queue: usize) -> Result<(), Refusal> {
        if self.queue.len() >= max_queue {
            return Err(Refusal::QueueFull { max: max_queue });
        }
        self.queue_changed = true;
        self.queue.push(Slot::Fresh(message));
        Ok(())
    }

    /// Moves the first queued message, if there is one, to the end of history.
    pub fn take_head(&mut self) {
        if !self.queue.is_empty() {
            self.take(0);
        }
    }

    /// Moves a queued message to the end of history.
    pub fn take_queued(&mut self, id: QueuedId) -> Result<(), Refusal> {
        let index = self.find(id)?;
        self.take(index);
        Ok(())
    }

    fn take(&mut self, index: usize) {
        self.queue_changed = true;
        match self.queue.remove(index) {
            Slot::Stored(id) => {
                self.cancel_open(answers::SUPERSEDED);
                self.touch_history();
                self.writes.push(Write::MoveIntoHistory(id));
            }
            Slot::Fresh(message) => self.insert(message),
        }
    }

    /// Takes a message out of the queue.
    pub fn dequeue(&mut self, id: QueuedId) -> Result<(), Refusal> {
        let index = self.find(id)?;
        self.queue.remove(index);
        self.queue_changed = true;
        self.writes.push(Write::Dequeue(id));
        Ok(())
    }

    /// Makes a queued message the first.
    pub fn move_to_head(&mut self, id: QueuedId) -> Result<(), Refusal> {
        let index = self.find(id)?;
        let slot = self.queue.remove(index);
        self.queue.insert(0, slot);
        self.queue_changed = true;
        self.writes.push(Write::MoveToHead(id));
        Ok(())
    }

    /// Empties the queue.
    pub fn clear_queue(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        self.queue_changed = true;
        if self.queue.iter().any(|slot| matches!(slot, Slot::Stored(_))) {
            self.writes.push(Write::ClearQueue);
        }
        self.queue.clear();
    }

    fn find(&self, id: QueuedId) -> Result<usize, Refusal> {
        let here = |slot: &Slot| matches!(slot, Slot::Stored(stored) if *stored == id);
        self.queue.iter().position(here).ok_or(Refusal::QueuedMessageNotFound)
    }

    /// Closes the transaction: advances the versions and puts what is left of the new messages into
    /// the queue.
    pub fn into_plan(self) -> Plan {
        let lands_in = self.state();
        let Self { facts, command, mut writes, queue, history_changed, queue_changed, mut columns, .. } =
            self;
        writes.extend(queue.into_iter().filter_map(|slot| match slot {
            Slot::Stored(_) => None,
            Slot::Fresh(message) => Some(Write::Enqueue(message)),
        }));
        let versions = &mut columns.versions;
        if command.is_some() {
            versions.snapshot += 1;
        }
        if history_changed {
            versions.history = versions.snapshot;
        }
        if queue_changed {
            versions.queue = versions.snapshot;
        }
        if columns.retry_state != facts.retry_state {
            versions.retry_state = versions.snapshot;
        }
        Plan { writes, columns, lands_in }
    }
}
