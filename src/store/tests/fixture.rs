//! Sample rows, and chats brought into a state by real commits.

use super::support::Db;
use crate::{
    chat::{
        command::{Busy, Command},
        json::Json,
        message::{NewMessage, Part, Role, ToolCallPart, ToolResultPart, Visibility},
        state::{Owner, Status},
    },
    clock::Timestamp,
    ids::{ChatId, ModelConfigId, OrganizationId, RunnerId, UserId, WorkerId},
    store::{
        ClaimSpec, Error, Result, Store,
        commit::{Accepted, Commit, Committed, Created, Fence, Idempotency},
        records::{DiffFilter, ListFilter, NewChat, PageSpec, UserRecord},
    },
};
use std::{sync::Arc, time::Duration};

/// The moment of the tests, with odd microseconds.
pub const NOW: Timestamp = Timestamp::from_micros(1_780_000_000_123_457);
pub const LEASE: Duration = Duration::from_secs(30);

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
            args: Some(json("{\"a\": 1}")),
            ..ToolCallPart::default()
        })
    };
    let parts: Vec<Part> = ids_and_tools.iter().map(part).collect();
    NewMessage::new(Role::Assistant, Visibility::Both, &parts)
}

pub fn result(id: &str) -> NewMessage {
    let part = ToolResultPart {
        tool_call_id: id.to_owned(),
        result: Some(json("\"done\"")),
        ..ToolResultPart::default()
    };
    NewMessage::new(Role::Tool, Visibility::Both, &[Part::ToolResult(part)])
}

pub fn send(text: &str) -> Command {
    Command::SendMessage { message: user(text), busy: Busy::Queue, max_queue: 20 }
}

pub fn interrupt_with(text: &str) -> Command {
    Command::SendMessage { message: user(text), busy: Busy::Interrupt, max_queue: 20 }
}

/// The text of the first part, or the id of the call it belongs to.
pub fn text(content: &Json) -> String {
    match content.read::<Vec<Part>>().unwrap().into_iter().next() {
        Some(Part::Text { text }) => text,
        Some(Part::ToolCall(c)) => format!("call {}", c.tool_call_id),
        Some(Part::ToolResult(r)) => format!("result {}", r.tool_call_id),
        other => panic!("unexpected part {other:?}"),
    }
}

pub fn owner() -> Owner {
    Owner { worker: WorkerId::fresh(), runner: RunnerId::fresh() }
}

pub fn fresh<T>(accepted: Accepted<T>) -> T {
    match accepted {
        Accepted::Fresh(t) => t,
        Accepted::Replayed { .. } => panic!("nothing was to be replayed"),
    }
}

pub fn new_user(name: &str) -> UserRecord {
    UserRecord {
        name: name.to_uppercase(),
        email: format!("{name}@example.com"),
        ..UserRecord::new(name, NOW)
    }
}

pub fn key<T>(user: UserId, key: &str, hash: &[u8], answer: &str) -> Idempotency<T> {
    let answer = json(answer);
    Idempotency {
        user,
        key: key.to_owned(),
        request_hash: hash.to_vec(),
        render: Arc::new(move |_| (201, answer.clone())),
    }
}

pub fn claim(worker: WorkerId, now: Timestamp, lease: Duration) -> ClaimSpec {
    let patience = Duration::from_secs(60);
    ClaimSpec { worker, limit: 10, lease, max_running_chats: 0, max_running_subagents: 0, now, patience }
}

pub fn newest(limit: i64) -> PageSpec {
    PageSpec { before: None, after: None, limit }
}

pub fn all_of(owner: UserId) -> ListFilter {
    ListFilter {
        owner,
        shared: false,
        archived: false,
        title: None,
        status: None,
        labels: Vec::new(),
        has_unread: None,
        words: None,
        diff: DiffFilter::default(),
        limit: 50,
        offset: 0,
        after: None,
    }
}

/// Somebody who owns chats.
#[derive(Clone, Copy)]
pub struct Person {
    pub user: UserId,
    pub organization: OrganizationId,
}

impl Person {
    pub async fn of(store: &Store) -> Self {
        let user = store.create_user(new_user("ann"), NOW).await.unwrap().id;
        let organization = store.organizations_of(user).await.unwrap()[0].id;
        Self { user, organization }
    }

    pub fn new_chat(&self, title: &str) -> NewChat {
        NewChat {
            id: ChatId::fresh(),
            organization_id: self.organization,
            owner_id: self.user,
            title: title.to_owned(),
            model_config_id: ModelConfigId::fresh(),
            reasoning_effort: None,
            plan_mode: None,
            client_type: "api".to_owned(),
            labels: json("{}"),
            mcp_server_ids: json("[]"),
            dynamic_tools: Some(json(r#"[{"name":"client","input_schema":{}}]"#)),
            workspace_id: None,
            files: Vec::new(),
            initial: vec![user("first")],
        }
    }

    pub async fn create(&self, store: &Store, title: &str) -> Created {
        fresh(store.create_chat(self.new_chat(title), NOW, None).await.unwrap())
    }
}

/// A chat with its owner, driven by hand.
pub struct Driven {
    pub store: Store,
    pub id: ChatId,
    pub owner: Owner,
    pub person: Person,
}

impl Driven {
    /// A chat in R0, acquired.
    pub async fn new(db: &Db) -> Self {
        let person = Person::of(&db.store).await;
        Self::another(db, person).await
    }

    pub async fn another(db: &Db, person: Person) -> Self {
        let id = person.create(&db.store, "chat").await.chat.head.id;
        let chat = Self { store: db.store.clone(), id, owner: owner(), person };
        chat.run(Command::Acquire(chat.owner)).await;
        chat
    }

    pub async fn attempt(&self, c: Commit) -> Result<Committed> {
        self.store.commit(c).await.map(fresh)
    }

    pub async fn run(&self, command: Command) -> Committed {
        self.attempt(Commit::new(self.id, command, NOW)).await.unwrap()
    }

    pub async fn refused(&self, command: Command) -> Error {
        self.attempt(Commit::new(self.id, command, NOW)).await.unwrap_err()
    }

    pub async fn fence(&self) -> Fence {
        let head = self.store.chat(self.id).await.unwrap().head;
        Fence {
            runner: self.owner.runner,
            status: head.status,
            history_version: head.versions.history,
            attempt: None,
        }
    }

    /// The history as texts.
    pub async fn history(&self) -> Vec<String> {
        self.store.history(self.id).await.unwrap().iter().map(|m| text(&m.content)).collect()
    }

    /// The queue as texts.
    pub async fn queue(&self) -> Vec<String> {
        self.store.queue(self.id).await.unwrap().iter().map(|m| text(&m.content)).collect()
    }

    pub async fn status(&self) -> Status {
        self.store.chat(self.id).await.unwrap().head.status
    }
}
