//! A store in memory: executes plans as the real one must.

use super::fixture::NOW;
use crate::{
    chat::{
        command::Command,
        message::{NewMessage, Part, Role},
        plan::{Plan, Refusal, Write},
        state::{Chat, EditTarget, OpenCall, State},
        step::{create, step_many},
    },
    ids::{MessageId, QueuedId},
};

/// Name of the one tool that the client runs.
pub const CLIENT_TOOL: &str = "client";

/// How many messages the queue holds after the plan.
pub fn queue_after(queue: &[QueuedId], plan: &Plan) -> usize {
    let mut length = queue.len();
    for write in &plan.writes {
        match write {
            Write::Enqueue(_) => length += 1,
            Write::MoveIntoHistory(_) | Write::Dequeue(_) => length -= 1,
            Write::ClearQueue => length = 0,
            Write::DeleteMessagesFrom(_) | Write::Insert(_) | Write::MoveToHead(_) => {}
        }
    }
    length
}

/// A history row.
pub struct Row {
    pub id: i64,
    pub message: NewMessage,
    pub deleted: bool,
}

/// One chat's rows.
pub struct Database {
    pub chat: Chat,
    pub rows: Vec<Row>,
    pub queue: Vec<(i64, NewMessage)>,
    /// Messages that left the queue without entering history.
    pub dropped: Vec<NewMessage>,
    next_row: i64,
    next_queued: i64,
}

impl Database {
    /// Creates the chat.
    pub fn create(initial: Vec<NewMessage>) -> Self {
        let mut database = Self {
            chat: super::fixture::chat(State::W, 0),
            rows: Vec::new(),
            queue: Vec::new(),
            dropped: Vec::new(),
            next_row: 1,
            next_queued: 1,
        };
        database.execute(create(initial, None));
        database
    }

    /// Decides and executes as one transaction.
    pub fn run(&mut self, commands: &[Command]) -> Result<(), Refusal> {
        let plan = step_many(&self.load(commands), commands, NOW)?;
        let expected = plan.lands_in;
        self.execute(plan);
        assert_eq!(self.load(&[]).state(), expected);
        Ok(())
    }

    /// Loads what the contract of [`Chat`] promises for these commands, and no more.
    fn load(&self, commands: &[Command]) -> Chat {
        let mut chat = self.chat.clone();
        chat.queue = self.queue.iter().map(|(id, _)| QueuedId(*id)).collect();
        chat.open_calls = match commands.iter().any(Command::needs_open_calls) {
            true => self.open_calls(),
            false => Vec::new(),
        };
        chat.edit_target = commands.iter().find_map(|command| match command {
            Command::EditMessage { target, .. } => self.edit_target(*target),
            _ => None,
        });
        chat
    }

    fn edit_target(&self, target: MessageId) -> Option<EditTarget> {
        let row = self.active().find(|row| row.id == target.0)?;
        Some(EditTarget { id: target, role: row.message.role })
    }

    /// Rows that are not deleted.
    pub fn active(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.deleted)
    }

    /// Calls without a result in active history.
    pub fn open_calls(&self) -> Vec<OpenCall> {
        let mut open = Vec::new();
        for row in self.active() {
            // Fails the walk when a call is left open before a user message.
            assert!(row.message.role != Role::User || open.is_empty(), "{open:?} before a user message");
            for part in row.message.content.read::<Vec<Part>>().unwrap() {
                match part {
                    Part::ToolCall(call) => open.push(OpenCall {
                        dynamic: call.tool_name == CLIENT_TOOL,
                        tool_call_id: call.tool_call_id,
                        tool_name: call.tool_name,
                    }),
                    Part::ToolResult(result) => {
                        let before = open.len();
                        open.retain(|call| call.tool_call_id != result.tool_call_id);
                        assert_eq!(open.len() + 1, before, "a result without an open call");
                    }
                    _ => {}
                }
            }
        }
        open
    }

    fn execute(&mut self, plan: Plan) {
        for write in plan.writes {
            match write {
                Write::Insert(message) => self.append(message),
                Write::Enqueue(message) => {
                    self.queue.push((self.next_queued, message));
                    self.next_queued += 1;
                }
                Write::MoveIntoHistory(id) => {
                    let message = self.unqueue(id);
                    self.append(message);
                }
                Write::Dequeue(id) => {
                    let message = self.unqueue(id);
                    self.dropped.push(message);
                }
                Write::MoveToHead(id) => {
                    let message = self.unqueue(id);
                    self.queue.insert(0, (id.0, message));
                }
                Write::ClearQueue => {
                    assert!(!self.queue.is_empty());
                    self.dropped.extend(self.queue.drain(..).map(|(_, message)| message));
                }
                Write::DeleteMessagesFrom(id) => {
                    self.rows.iter_mut().filter(|row| row.id >= id.0).for_each(|row| row.deleted = true);
                }
            }
        }
        let columns = plan.columns;
        self.chat.status = columns.status;
        self.chat.archived = columns.archived;
        self.chat.versions = columns.versions;
        self.chat.owner = columns.owner;
        self.chat.last_error = columns.last_error;
        self.chat.retry_state = columns.retry_state;
        self.chat.requires_action_deadline_at = columns.requires_action_deadline_at;
        self.chat.compaction_requested_at = columns.compaction_requested_at;
    }

    fn append(&mut self, message: NewMessage) {
        self.rows.push(Row { id: self.next_row, message, deleted: false });
        self.next_row += 1;
    }

    fn unqueue(&mut self, id: QueuedId) -> NewMessage {
        let index = self.queue.iter().position(|(queued, _)| *queued == id.0).unwrap();
        self.queue.remove(index).1
    }
}
