//! A server without a socket: routes, store and two accounts.

use crate::{
    actors::{
        subscription::{Outgoing, PartsSubscription, Streams, Subscription},
        titles::{TitleFailure, Titles},
    },
    api::{ApiSettings, ApiState, observe::observe, routes, token},
    chat::{
        command::Command,
        json::Json,
        message::{NewMessage, Part, Role, ToolCallPart, Visibility},
        state::State,
    },
    clock::{Clock, Timestamp},
    config::{Secret, models::Model, providers::Provider, providers::ProviderKind},
    ids::{ChatId, UserId},
    llm::catalog::{LiveCatalog, Outside},
    store::{
        Store,
        commit::Commit,
        records::{ChatRecord, MessageRow, SiteRole, UserRecord},
        sealing::{self, Keyring},
        settings::{Deployment, LiveSettings},
        tests::support::Db,
    },
    stream::episode::EpisodeKey,
    turn::title::Question,
    workspace::{connection::Dialer, link::Links},
};
use actix_web::{App, body::to_bytes, http::Method, middleware::from_fn, test, web};
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// Start of the test's time.
pub const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// Keeps the sending ends, so that a test can speak for the actors.
#[derive(Default)]
pub struct FakeStreams(pub Mutex<Vec<Asked>>);

/// A subscription that was asked for, with its sending end.
pub type Asked = (ChatId, Option<i64>, mpsc::Sender<Outgoing>);

/// Titles that nobody waits for long.
struct FakeTitles;

impl Titles for FakeTitles {
    fn propose<'a>(
        &'a self,
        _: &'a ChatRecord,
        _: &'a [MessageRow],
        question: &'a Question,
    ) -> LocalBoxFuture<'a, Result<String, TitleFailure>> {
        Box::pin(std::future::ready(Ok(format!("{} bytes", question.shown.len()))))
    }
}

impl Streams for FakeStreams {
    fn subscribe(&self, chat: ChatId, after_id: Option<i64>) -> Subscription {
        let (sender, outgoing) = mpsc::channel(8);
        self.0.lock().unwrap().push((chat, after_id, sender));
        Subscription { outgoing, guard: Box::new(()) }
    }

    fn parts(&self, _: ChatId, _: EpisodeKey) -> PartsSubscription {
        let (_, outgoing) = mpsc::channel(1);
        PartsSubscription { outgoing, guard: Box::new(()) }
    }
}

/// The server and its accounts.
pub struct World {
    pub state: ApiState,
    pub streams: Arc<FakeStreams>,
    pub draining: watch::Sender<bool>,
    pub organization: String,
    /// Tokens.
    pub owner: String,
    pub stranger: String,
    pub admin: String,
    pub owner_id: UserId,
    db: Db,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub text: String,
    pub headers: Vec<(String, String)>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    pub fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {self:?}")).to_owned()
    }
}

async fn account(store: &Store, name: &str, role: SiteRole) -> (UserId, String) {
    let user = UserRecord {
        name: format!("{name} the tester"),
        email: format!("{name}@example.test"),
        ..UserRecord::new(name, NOW).with_role(role)
    };
    let user = store.create_user(user, NOW).await.unwrap();
    let minted = token::mint(user.id, NOW, None);
    store.create_token(minted.record).await.unwrap();
    (user.id, minted.text)
}

/// The database below a server.
#[derive(Debug, Clone, Copy)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Makes two tests of each function of an [`Engine`]: `NAME::sqlite` and `NAME::postgres`.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => { $(
        mod $name {
            use crate::api::tests::support::Engine;
            #[actix_web::test]
            async fn sqlite() { super::$name(Engine::Sqlite).await }
            #[actix_web::test]
            async fn postgres() { super::$name(Engine::Postgres).await }
        }
    )* };
}
pub(super) use on_both;

pub async fn world(on: Engine) -> World {
    world_with(on, ApiSettings::default()).await
}

pub async fn world_with(on: Engine, settings: ApiSettings) -> World {
    let db = match on {
        Engine::Sqlite => Db::sqlite(),
        Engine::Postgres => Db::postgres().await,
    };
    let keys = Secret::new(sealing::fresh_text().as_str());
    let store = db.store.clone().with_keys(Keyring::variable("KEYS", &keys).unwrap());
    store.ready_keys().await.unwrap();
    let provider = Provider { name: "s".into(), kind: ProviderKind::Scripted, ..Provider::default() };
    let model = |name: &str, enabled| Model {
        name: name.into(),
        provider: "s".into(),
        model: name.into(),
        enabled,
        ..Model::default()
    };
    let outside = Outside {
        scripted: [("s".to_owned(), "http://127.0.0.1:1".to_owned())].into(),
        allow_user_api_keys: true,
        ..Outside::default()
    };
    let models = [model("one", true), model("off", false)];
    let catalog = LiveCatalog::open(&store, &[provider], &models, 70, outside, NOW).await.unwrap();
    let (admin_id, admin) = account(&store, "admin", SiteRole::Owner).await;
    let (owner_id, owner) = account(&store, "owner", SiteRole::Member).await;
    let (_, stranger) = account(&store, "stranger", SiteRole::Member).await;
    let organization = store.organizations_of(admin_id).await.unwrap()[0].id.to_string();
    let streams = Arc::new(FakeStreams::default());
    let (draining, stops) = watch::channel(false);
    let live = Arc::new(LiveSettings::new(store.clone(), Deployment::default()));
    let (debug, _) = crate::actors::debug::Recorder::new(live.clone(), store.clone(), Clock::system());
    let clock = Clock::manual(NOW);
    let state = ApiState {
        dialer: Dialer {
            store: store.clone(),
            clock: clock.clone(),
            links: Links::default(),
            replicas: None,
        },
        store,
        clock,
        catalog: Arc::new(catalog),
        settings: Arc::new(settings),
        live,
        streams: Arc::clone(&streams) as Arc<dyn Streams>,
        titles: Arc::new(FakeTitles),
        metrics: None,
        draining: stops.clone(),
        settled: stops,
        replica_secret: None,
        tokens: Arc::default(),
        owners: Arc::default(),
        notices: Arc::default(),
        limits: Arc::default(),
        mcp_servers: Arc::default(),
        debug,
        worker: crate::ids::WorkerId::fresh(),
        outbound: crate::mcp::outbound::Outbound::new().unwrap(),
    };
    World { state, streams, draining, organization, owner, stranger, admin, owner_id, db }
}

impl World {
    /// Sends a request whose parts the test decides.
    pub async fn raw(&self, request: test::TestRequest) -> Answer {
        let data = web::Data::new(self.state.clone());
        let app = App::new().app_data(data).wrap(from_fn(observe)).configure(routes::configure);
        let app = test::init_service(app).await;
        let response = test::call_service(&app, request.to_request()).await;
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned())).collect();
        let bytes = to_bytes(response.into_body()).await.unwrap_or_else(|_| panic!("body"));
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, body, text, headers }
    }

    /// A request of somebody, with a body unless it is null.
    pub async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        self.keyed(token, method, path, body, None).await
    }

    pub async fn keyed(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
        key: Option<&str>,
    ) -> Answer {
        let path = match path.starts_with("/api/") || path.starts_with("/healthz") || path == "/readyz" {
            true => path.to_owned(),
            false => format!("/api/experimental/chats{path}"),
        };
        let mut request = test::TestRequest::with_uri(&path)
            .method(method.parse::<Method>().unwrap())
            .insert_header(("Coder-Session-Token", token));
        if let Some(key) = key {
            request = request.insert_header(("Idempotency-Key", key));
        }
        if !body.is_null() {
            request = request.set_payload(body.to_string());
        }
        self.raw(request).await
    }

    /// A request of the owner.
    pub async fn own(&self, method: &str, path: &str, body: Value) -> Answer {
        self.call(&self.owner, method, path, body).await
    }

    pub fn create_body(&self, text: &str) -> Value {
        json!({
            "organization_id": self.organization,
            "content": [{"type": "text", "text": text}],
            "unsafe_dynamic_tools": [{"name": "client", "input_schema": {"type": "object"}}],
        })
    }

    /// A fresh chat of the owner.
    pub async fn chat(&self) -> ChatId {
        let made = self.own("POST", "", self.create_body("hello world")).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.id().parse().unwrap()
    }

    pub async fn commit(&self, chat: ChatId, command: Command) {
        self.state.store.commit(Commit::new(chat, command, NOW)).await.unwrap();
    }

    pub async fn state_of(&self, chat: ChatId) -> State {
        let record = self.state.store.chat(chat).await.unwrap();
        let queued = !self.state.store.queue(chat).await.unwrap().is_empty();
        State::classify(record.head.status, queued, record.head.archived)
    }

    /// Changes the database behind the program's back.
    pub async fn sql(&self, statement: &str) {
        self.db.sql(statement).await;
    }

    /// Gives a chat the status `canary`, which no code knows.
    pub async fn break_status_of(&self, chat: ChatId) {
        let allow = match self.db.is_sqlite() {
            true => "PRAGMA ignore_check_constraints = 1",
            false => "ALTER TABLE chats DROP CONSTRAINT chats_status_check",
        };
        let id = self.db.literal(chat.0);
        self.sql(&format!("{allow}; UPDATE chats SET status = 'canary' WHERE id = {id}")).await;
    }

    /// A fresh chat at rest (W), running with a queue (R1) or with a pending call (A0).
    pub async fn chat_in(&self, state: State) -> ChatId {
        let chat = self.chat().await;
        match state {
            State::A0 => {
                let call = ToolCallPart {
                    tool_call_id: "call_1".into(),
                    tool_name: "client".into(),
                    args: Some(Json::of(&json!({"x": 1}))),
                    ..ToolCallPart::default()
                };
                let row = NewMessage::new(Role::Assistant, Visibility::Both, &[Part::ToolCall(call)]);
                self.commit(chat, Command::CommitStep(vec![row])).await;
                self.commit(chat, Command::EnterRequiresAction { deadline: NOW }).await;
            }
            State::W => {
                let text = Part::Text { text: "an answer".into() };
                let row = NewMessage::new(Role::Assistant, Visibility::Both, &[text]);
                self.commit(chat, Command::CommitStep(vec![row])).await;
                self.commit(chat, Command::FinishTurn).await;
            }
            _ => {
                let body = json!({"content": [{"type": "text", "text": "queued"}]});
                let sent = self.own("POST", &format!("/{chat}/messages"), body).await;
                assert_eq!((sent.status, &sent.body["queued"]), (200, &json!(true)), "{sent:?}");
            }
        }
        assert_eq!(self.state_of(chat).await, state);
        chat
    }
}
