//! What becomes of panics, and of readers that come while the process stops.

use super::{
    Owned, Settings, Shared,
    acquisition::Acquisition,
    chat::jobs::{self, Drive},
    debug::Recorder,
    janitor::Janitor,
    registry::Chats,
    subscription::{CloseReason, Outgoing, Streams as _},
    supervise,
};
use crate::{
    chat::{duty::Job, state::Status},
    clock::Clock,
    ids::{ChatId, WorkerId},
    llm::catalog::{LiveCatalog, Outside},
    metrics,
    store::{
        settings::{Deployment, LiveSettings},
        tests::{fixture::Person, support::Db},
    },
    stream::StreamLimits,
    turn::{engine::TurnEngine, retry::Policy},
};
use actix::{Actor as _, Arbiter};
use std::{
    cell::Cell,
    io::Write,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{MutexGuard, watch};

/// For a test that waits for its end.
const SHORT: Duration = Duration::from_millis(600);
/// Outlives any test.
const LONG: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(20);

/// What was logged on the threads that write to it.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }

    /// The lines with this text in them.
    fn with(&self, text: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let lines = self.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || lines.clone()).finish()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Actors on one thread, with jobs of the test's own.
struct World {
    db: Db,
    person: Person,
    shared: Arc<Shared>,
    chats: Chats,
    draining: watch::Sender<bool>,
    lines: Lines,
    arbiter: Arbiter,
    panics: u64,
    /// The counter of panics belongs to one test at a time.
    _alone: MutexGuard<'static, ()>,
}

impl World {
    async fn new(drive: Drive, lease: Duration) -> Self {
        static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let alone = ALONE.lock().await;
        let db = Db::sqlite();
        let person = Person::of(&db.store).await;
        let (draining, stops) = watch::channel(false);
        let now = Clock::system().now();
        let catalog = LiveCatalog::open(&db.store, &[], &[], 70, Outside::default(), now).await.unwrap();
        let live = Arc::new(LiveSettings::new(db.store.clone(), Deployment::default()));
        let (recorder, _) = Recorder::new(live.clone(), db.store.clone(), Clock::system());
        let shared = Arc::new(Shared {
            store: db.store.clone(),
            clock: Clock::system(),
            worker: WorkerId::fresh(),
            settings: settings(lease),
            links: crate::workspace::link::Links::default(),
            live: Arc::new(LiveSettings::new(db.store.clone(), Deployment::default())),
            turn: Arc::new(TurnEngine {
                catalog: Arc::new(catalog),
                max_steps: 10,
                policy: Policy::default(),
                tool_result_timeout: Duration::from_secs(300),
            }),
            replicas: None,
            debug: recorder,
            owned: Owned::default(),
            titles: crate::actors::chat::jobs::title::Underway::default(),
            drive,
            draining: stops,
        });
        let lines = Lines::default();
        let arbiter = Arbiter::new();
        let subscriber = lines.subscriber();
        // For as long as the thread lives.
        arbiter.spawn(async move {
            let _here = tracing::subscriber::set_default(subscriber);
            std::future::pending::<()>().await;
        });
        let chats = Chats::new(shared.clone(), std::slice::from_ref(&arbiter));
        let panics = counted();
        Self { db, person, shared, chats, draining, lines, arbiter, panics, _alone: alone }
    }

    async fn chat(&self) -> ChatId {
        self.person.create(&self.db.store, "chat").await.chat.head.id
    }

    /// Waits until a chat has failed for want of a model: the real job has run.
    async fn finishes(&self, chat: ChatId) {
        until("the turn ends", async || self.db.store.chat(chat).await.unwrap().head.status == Status::Error)
            .await;
        let chat = self.db.store.chat(chat).await.unwrap();
        assert!(chat.head.last_error.is_some());
        assert_eq!(chat.head.owner, None, "who ends a turn lets the chat go");
    }

    fn new_panics(&self) -> u64 {
        counted() - self.panics
    }

    fn end(self) {
        self.arbiter.stop();
        self.arbiter.join().unwrap();
    }
}

fn settings(lease: Duration) -> Settings {
    Settings {
        worker_enabled: true,
        acquire_interval: Duration::from_millis(50),
        max_chats_per_acquire: 10,
        heartbeat_interval: Duration::from_millis(100),
        lease,
        max_running_chats: 0,
        max_running_subagents: 0,
        workspaces_per_user: 0,
        subscriber_queue: 8,
        retain_grace: Duration::ZERO,
        janitor_interval: Duration::from_secs(30),
        sync_interval: Duration::from_secs(10),
        coalesce: Duration::ZERO,
        stream: StreamLimits::default(),
    }
}

/// The value of `chatd_task_panics_total`.
fn counted() -> u64 {
    let text = metrics::install().unwrap().render();
    let line = text.lines().find_map(|line| line.strip_prefix("chatd_task_panics_total "));
    line.map_or(0, |value| value.parse().unwrap())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

type Starts = Arc<Mutex<Vec<(ChatId, Job, Instant)>>>;

/// The real jobs, except that the first `times` of the first chat that is driven panic: inside of the
/// future, or (`at_once`) where it is made, which is in a handler of the actor.
fn panicking(times: usize, at_once: bool) -> (Drive, Starts) {
    let starts = Starts::default();
    let (seen, real) = (starts.clone(), jobs::drive());
    let drive: Drive = Arc::new(move |job, work, partial| {
        let nth = {
            let mut starts = seen.lock().unwrap();
            starts.push((work.chat, job, Instant::now()));
            let first = starts[0].0;
            starts.iter().filter(|(chat, ..)| *chat == first && work.chat == first).count()
        };
        if nth == 0 || nth > times {
            return real(job, work, partial);
        }
        assert!(!at_once, "boom {nth}");
        Box::pin(async move {
            tokio::task::yield_now().await;
            panic!("boom {nth}")
        })
    });
    (drive, starts)
}

#[actix::test]
async fn a_panic_fails_its_task_only_and_the_work_is_tried_again() {
    let (drive, starts) = panicking(2, false);
    let world = World::new(drive, LONG).await;
    let broken = world.chat().await;
    Acquisition::new(world.shared.clone(), world.chats.clone()).start();
    until("the first start", async || !starts.lock().unwrap().is_empty()).await;
    let healthy = world.chat().await;
    world.finishes(healthy).await;
    world.finishes(broken).await;
    assert_eq!(world.new_panics(), 2);
    let told = world.lines.with("panicked");
    assert_eq!(told.len(), 2, "{told:?}");
    for (n, line) in told.iter().enumerate() {
        let wanted = ["ERROR", &broken.to_string(), &format!("boom {}", n + 1)];
        assert!(wanted.iter().all(|text| line.contains(text)), "{line}");
    }
    let starts = starts.lock().unwrap().clone();
    let of = |id| starts.iter().filter(move |(chat, ..)| *chat == id).map(|(_, job, at)| (*job, *at));
    assert!(of(healthy).map(|(job, _)| job).eq([Job::Generate]));
    let tries: Vec<_> = of(broken).collect();
    assert!(tries.iter().map(|(job, _)| *job).eq([Job::Generate; 3]), "{tries:?}");
    // agent-loop.md §1: 100 ms, doubling.
    assert!(tries[1].1 - tries[0].1 >= Duration::from_millis(100), "{tries:?}");
    assert!(tries[2].1 - tries[1].1 >= Duration::from_millis(200), "{tries:?}");
    world.end();
}

#[actix::test]
async fn a_panic_of_the_actor_itself_costs_its_chat_one_lease() {
    let (drive, starts) = panicking(1, true);
    let world = World::new(drive, SHORT).await;
    let broken = world.chat().await;
    let mut reader = world.chats.subscribe(broken, None);
    until("the reader is taken on", async || world.chats.totals().subscribers == 1).await;
    Acquisition::new(world.shared.clone(), world.chats.clone()).start();
    // The queue of the reader ends, so that it comes back.
    while tokio::time::timeout(PATIENCE, reader.outgoing.recv()).await.unwrap().is_some() {}
    let healthy = world.chat().await;
    world.finishes(healthy).await;
    world.finishes(broken).await;
    assert_eq!(world.new_panics(), 1);
    let told = world.lines.with("actor panicked");
    assert!(told.len() == 1 && told[0].contains(&broken.to_string()), "{told:?}");
    let starts = starts.lock().unwrap().clone();
    let tries = starts.iter().filter(|(c, ..)| *c == broken).count();
    assert!(tries >= 2, "without a heartbeat a slow machine may cost another lease");
    assert!(world.shared.owned.is_empty());
    world.end();
}

#[actix::test]
async fn a_panic_in_a_sweep_is_retried_at_the_next_tick() {
    let world = World::new(jobs::drive(), LONG).await;
    // The janitor lives on this thread.
    let _logs = tracing::subscriber::set_default(world.lines.subscriber());
    let sweeps = Rc::new(Cell::new(0));
    let seen = sweeps.clone();
    let sweep = move || {
        seen.set(seen.get() + 1);
        let nth = seen.get();
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(nth != 1, "boom");
            Ok(())
        }) as futures_util::future::LocalBoxFuture<'static, _>
    };
    Janitor::with(Duration::from_millis(20), world.chats.clone(), Box::new(sweep)).start();
    until("sweeps go on", async || sweeps.get() >= 3).await;
    assert_eq!(world.new_panics(), 1);
    let told = world.lines.with("housekeeping panicked");
    assert!(told.len() == 1 && told[0].contains("boom"), "{told:?}");
    world.end();
}

#[actix::test]
async fn no_actor_is_started_for_a_reader_while_the_process_stops() {
    let world = World::new(jobs::drive(), LONG).await;
    let chat = world.chat().await;
    world.draining.send_replace(true);
    let mut reader = world.chats.subscribe(chat, None);
    assert_eq!(reader.outgoing.recv().await, Some(Outgoing::Close(CloseReason::Shutdown)));
    assert_eq!(world.chats.totals().actors, 0);
    let since = Instant::now();
    world.chats.drain(Duration::from_secs(30)).await;
    assert!(since.elapsed() < Duration::from_secs(25), "nothing is left to wait for");
    world.end();
}

#[actix::test]
async fn work_beside_a_chat_is_counted_when_it_panics() {
    let world = World::new(jobs::drive(), LONG).await;
    let _logs = tracing::subscriber::set_default(world.lines.subscriber());
    let chat = world.chat().await;
    supervise::aside(chat, "a look", async { panic!("boom") }).await;
    supervise::aside(chat, "a look", async {}).await;
    assert_eq!(world.new_panics(), 1);
    let told = world.lines.with("a look panicked");
    assert!(told.len() == 1 && told[0].contains("boom") && told[0].contains(&chat.to_string()), "{told:?}");
    world.end();
}
