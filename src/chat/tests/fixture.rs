//! Sample facts and commands.

use crate::{
    chat::{
        command::{Busy, Command, CommandKind, SubmittedResult},
        json::Json,
        message::{NewMessage, Part, Role, ToolCallPart, ToolResultPart, Visibility},
        plan::{Plan, Write},
        state::{Chat, EditTarget, OpenCall, Owner, State, Status, Versions},
        step::step,
    },
    clock::Timestamp,
    ids::{ChatId, MessageId, QueuedId, RunnerId, WorkerId},
};
use uuid::Uuid;

/// The moment of every step in these tests.
pub const NOW: Timestamp = Timestamp::from_micros(1_780_000_000_000_000);
/// Some moment before.
pub const BEFORE: Timestamp = Timestamp::from_micros(1_779_999_000_000_000);
/// Some moment after.
pub const DEADLINE: Timestamp = Timestamp::from_micros(1_780_000_300_000_000);
/// The message that sample edits are aimed at.
pub const TARGET: MessageId = MessageId(10);

/// The eight combinations that no transition makes.
pub const INVALID: [State; 8] = [
    State::Invalid(Status::Waiting, true, false),
    State::Invalid(Status::Waiting, true, true),
    State::Invalid(Status::Running, false, true),
    State::Invalid(Status::Running, true, true),
    State::Invalid(Status::Interrupting, false, true),
    State::Invalid(Status::Interrupting, true, true),
    State::Invalid(Status::RequiresAction, false, true),
    State::Invalid(Status::RequiresAction, true, true),
];

pub fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).unwrap()
}

pub fn user(text: &str) -> NewMessage {
    NewMessage::new(Role::User, Visibility::Both, &[Part::Text { text: text.to_owned() }])
}

pub fn said(text: &str) -> NewMessage {
    NewMessage::new(Role::Assistant, Visibility::Both, &[Part::Text { text: text.to_owned() }])
}

pub fn calls(ids_and_tools: &[(&str, &str)]) -> NewMessage {
    let part = |(id, tool): &(&str, &str)| {
        Part::ToolCall(ToolCallPart {
            tool_call_id: (*id).to_owned(),
            tool_name: (*tool).to_owned(),
            args: Some(json("{}")),
            ..ToolCallPart::default()
        })
    };
    let parts: Vec<Part> = ids_and_tools.iter().map(part).collect();
    NewMessage::new(Role::Assistant, Visibility::Both, &parts)
}

pub fn result(id: &str, tool: &str) -> NewMessage {
    let part = ToolResultPart {
        tool_call_id: id.to_owned(),
        tool_name: tool.to_owned(),
        result: Some(json("\"done\"")),
        ..ToolResultPart::default()
    };
    NewMessage::new(Role::Tool, Visibility::Both, &[Part::ToolResult(part)])
}

pub fn open(id: &str, dynamic: bool) -> OpenCall {
    OpenCall { tool_call_id: id.to_owned(), tool_name: format!("tool_{id}"), dynamic }
}

pub fn submitted(id: &str, output: &str, is_error: bool) -> SubmittedResult {
    SubmittedResult { tool_call_id: id.to_owned(), output: output.to_owned(), is_error }
}

pub fn owner(seed: u128) -> Owner {
    Owner { worker: WorkerId(Uuid::from_u128(seed)), runner: RunnerId(Uuid::from_u128(seed + 1)) }
}

/// Stored facts of each state, `None` where the digit or the status says it all.
fn facts_of(state: State) -> (Status, bool, bool) {
    match state {
        State::W => (Status::Waiting, false, false),
        State::E0 => (Status::Error, false, false),
        State::E1 => (Status::Error, true, false),
        State::R0 => (Status::Running, false, false),
        State::R1 => (Status::Running, true, false),
        State::I0 => (Status::Interrupting, false, false),
        State::I1 => (Status::Interrupting, true, false),
        State::A0 => (Status::RequiresAction, false, false),
        State::A1 => (Status::RequiresAction, true, false),
        State::XW => (Status::Waiting, false, true),
        State::XE0 => (Status::Error, false, true),
        State::XE1 => (Status::Error, true, true),
        State::Invalid(status, queued, archived) => (status, queued, archived),
    }
}

/// A chat in `state` whose every other column is set, so that a column that must be kept or cleared
/// shows it. One local call `l` and two client-side calls `c`, `d` are open. A queue that is not
/// empty holds `queued` messages with the ids 101, 102, ….
pub fn chat(state: State, queued: i64) -> Chat {
    let (status, has_queue, archived) = facts_of(state);
    let queue = if has_queue { (1..=queued).map(|n| QueuedId(100 + n)).collect() } else { Vec::new() };
    Chat {
        id: ChatId(Uuid::from_u128(7)),
        parent: None,
        status,
        archived,
        versions: Versions { snapshot: 40, history: 30, queue: 20, retry_state: 10, attempt: 3 },
        owner: Some(owner(50)),
        last_error: (status == Status::Error).then(|| json(r#"{"message":"old"}"#)),
        retry_state: Some(json(r#"{"attempt":3}"#)),
        requires_action_deadline_at: (status == Status::RequiresAction).then_some(DEADLINE),
        compaction_requested_at: Some(BEFORE),
        queue,
        open_calls: vec![open("l", false), open("c", true), open("d", true)],
        edit_target: Some(EditTarget { id: TARGET, role: Role::User }),
    }
}

/// A command of the kind that is refused by [`chat`] only because of the state.
pub fn command(kind: CommandKind) -> Command {
    let send = |busy| Command::SendMessage { message: user("sent"), busy, max_queue: 20 };
    match kind {
        CommandKind::SendMessageQueue => send(Busy::Queue),
        CommandKind::SendMessageInterrupt => send(Busy::Interrupt),
        CommandKind::EditMessage => Command::EditMessage { target: TARGET, replacement: user("edited") },
        CommandKind::DeleteQueuedMessage => Command::DeleteQueuedMessage(QueuedId(101)),
        CommandKind::PromoteQueuedMessage => Command::PromoteQueuedMessage(QueuedId(101)),
        CommandKind::Interrupt => Command::Interrupt { reason: "stop".to_owned() },
        CommandKind::CompleteRequiresAction => Command::CompleteRequiresAction(vec![
            submitted("d", r#"{"b":1, "a":2}"#, true),
            submitted("c", "7", false),
        ]),
        CommandKind::RequestCompaction => Command::RequestCompaction,
        CommandKind::ClearContext => Command::ClearContext { rows: vec![user("summary")] },
        CommandKind::Archive => Command::SetArchived(true),
        CommandKind::Unarchive => Command::SetArchived(false),
        CommandKind::RecordGenerationAttempt => Command::RecordGenerationAttempt,
        CommandKind::RecordRetryState => Command::RecordRetryState(json(r#"{"attempt":4}"#)),
        CommandKind::CommitStep => Command::CommitStep(vec![said("step")]),
        CommandKind::EnterRequiresAction => Command::EnterRequiresAction { deadline: DEADLINE },
        CommandKind::FinishTurn => Command::FinishTurn,
        CommandKind::FinishInterruption => Command::FinishInterruption { partial: vec![said("half")] },
        CommandKind::FinishError => Command::FinishError { error: json(r#"{"message":"new"}"#) },
        CommandKind::CancelRequiresAction => Command::CancelRequiresAction { reason: "too late".to_owned() },
        CommandKind::ReconcileInvalidState => {
            Command::ReconcileInvalidState { error: json(r#"{"message":"found"}"#) }
        }
        CommandKind::Acquire => Command::Acquire(owner(90)),
        CommandKind::Abandon => Command::Abandon,
    }
}

/// All states, legal or not.
pub fn all_states() -> impl Iterator<Item = State> {
    State::LEGAL.into_iter().chain(INVALID)
}

/// Every plan that some sample command makes of some sample chat.
pub fn all_plans() -> impl Iterator<Item = (Chat, Command, Plan)> {
    all_states().flat_map(|state| [chat(state, 1), chat(state, 2)]).flat_map(|chat| {
        CommandKind::ALL.into_iter().filter_map(move |kind| {
            let command = command(kind);
            step(&chat, &command, NOW).ok().map(|plan| (chat.clone(), command, plan))
        })
    })
}

/// The plan's writes in short: `+user:text`, `+answer:id`, `take:id` and so on.
pub fn brief(plan: &Plan) -> Vec<String> {
    plan.writes
        .iter()
        .map(|write| match write {
            Write::Insert(row) => format!("+{}", row_brief(row)),
            Write::Enqueue(row) => format!("enqueue {}", row_brief(row)),
            Write::MoveIntoHistory(id) => format!("take {id}"),
            Write::Dequeue(id) => format!("dequeue {id}"),
            Write::MoveToHead(id) => format!("to head {id}"),
            Write::DeleteMessagesFrom(id) => format!("delete from {id}"),
            Write::ClearQueue => "clear queue".to_owned(),
        })
        .collect()
}

fn row_brief(row: &NewMessage) -> String {
    let parts: Vec<Part> = row.content.read().unwrap();
    let parts: Vec<String> = parts
        .into_iter()
        .map(|part| match part {
            Part::Text { text } => text,
            Part::ToolCall(call) => format!("call {}", call.tool_call_id),
            Part::ToolResult(result) => format!("result {}", result.tool_call_id),
            other => panic!("no sample row has {other:?}"),
        })
        .collect();
    let role = match row.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    format!("{role} {}", parts.join(" "))
}
