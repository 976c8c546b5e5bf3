//! The connection over which a replica follows a chat that another one drives (worker-and-stream.md
//! §6): one task a chat, whatever the number of subscribers. It only carries parts; what they mean
//! is decided by the chat's actor, which starts and aborts it.

use super::Shared;
use crate::{
    ids::{ChatId, WorkerId},
    metrics, store,
    stream::{
        episode::{EpisodeKey, SharedPart},
        relay::{self, BadFrame},
    },
    websocket::{self, NotOpened},
};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{StatusCode, Upgraded};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{Role, WebSocketConfig},
    },
};

/// First and longest wait before a lost connection is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Time to connect and to answer the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// An owner that sends nothing for so long, not even its ping of every 15 s, is gone: three pings.
const SILENCE: Duration = Duration::from_secs(45);
/// Time for a selection to be taken by the socket.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// For so long a relay may fail unnoticed: longer than it takes to replace an owner that died.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names the replica that is meant: what answers at its address may be another one.
pub const MEANT: &str = "x-chatd-replica";
/// Most frames handed to the actor at once.
const MAX_BATCH: usize = 256;
/// Largest frame of an owner. A frame is one part; parts are far smaller.
const MAX_FRAME_BYTES: usize = 32 << 20;

/// What became of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// They were used, or were there already.
    Yes,
    /// One is missing before them: the episode has to be replayed.
    Gap,
    /// Nobody wants them any more.
    No,
}

/// Whom to follow.
pub struct Follow {
    /// What all actors share.
    pub shared: Arc<Shared>,
    /// The chat.
    pub chat: ChatId,
    /// Who drives it.
    pub owner: WorkerId,
    /// The episode whose parts are wanted; `None` while none has begun.
    pub episode: watch::Receiver<Option<EpisodeKey>>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the owner is not registered")]
    Unknown,
    #[error("no other replicas here")]
    Alone,
    #[error("{0}")]
    Store(#[from] store::Error),
    #[error("{0}")]
    Http(String),
    #[error("the owner's address leads to another replica")]
    Misled,
    #[error("the owner answered with status {0}")]
    Refused(StatusCode),
    #[error("the owner's handshake is not that of a WebSocket")]
    NoWebSocket,
    #[error("{0}")]
    Socket(#[from] tungstenite::Error),
    #[error("the owner closed the connection")]
    Closed,
    #[error("the owner did not answer in time")]
    Timeout,
    #[error("{0}")]
    Frame(#[from] BadFrame),
    #[error("a part is missing")]
    Gap,
    /// Not a loss: nobody wants more.
    #[error("not needed any more")]
    Unwanted,
}

impl From<reqwest::Error> for Lost {
    fn from(e: reqwest::Error) -> Self {
        // The address may hold a password.
        Self::Http(e.without_url().to_string())
    }
}

/// Follows until it is aborted or nobody wants more. `take` hands parts to the chat's actor and
/// waits until it has taken them, which is all the memory a slow actor can cost.
pub async fn run<F: Future<Output = Taken>>(mut follow: Follow, take: impl Fn(Vec<SharedPart>) -> F) {
    let gauge = ::metrics::gauge!(metrics::RELAYS);
    gauge.increment(1.0);
    let _count = scopeguard(move || gauge.decrement(1.0));
    let mut wait = BACKOFF.0;
    let (mut failing_since, mut told) = (None, false);
    loop {
        let started = Instant::now();
        let mut accepted = false;
        let lost = match once(&mut follow, &take, &mut accepted).await {
            Lost::Unwanted => return,
            lost => lost,
        };
        ::metrics::counter!(metrics::RELAY_FAILURES_TOTAL).increment(1);
        tracing::debug!(chat = %follow.chat, owner = %follow.owner, error = %lost, "relay lost; connecting again");
        // A connection that did its work was a good one; one that leads to gaps was not.
        if !matches!(lost, Lost::Gap) && (accepted || started.elapsed() > BACKOFF.1) {
            wait = BACKOFF.0;
        }
        // These come of a connection that stood.
        if accepted || matches!(lost, Lost::Closed | Lost::Socket(_)) {
            failing_since = None;
        } else if failing_since.get_or_insert(started).elapsed() > PATIENCE && !told {
            told = true;
            tracing::warn!(chat = %follow.chat, owner = %follow.owner, error = %lost,
                "the live output of a chat cannot be had from the replica that drives it, its messages only; \
                 see whether server.relay_url there leads to it from here");
        }
        // Half to whole: the followers of a lost owner do not come back in step.
        sleep(wait.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
        wait = (wait * 2).min(BACKOFF.1);
    }
}

/// Runs something when it is dropped: an abort ends a task at any point.
fn scopeguard(f: impl FnOnce()) -> impl Drop {
    struct Guard<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for Guard<F> {
        fn drop(&mut self) {
            if let Some(f) = self.0.take() {
                f();
            }
        }
    }
    Guard(Some(f))
}

async fn once<F: Future<Output = Taken>>(
    follow: &mut Follow,
    take: &impl Fn(Vec<SharedPart>) -> F,
    accepted: &mut bool,
) -> Lost {
    let socket = match timeout(HANDSHAKE_TIMEOUT, connect(follow)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(e)) => return e,
        Err(_) => return Lost::Timeout,
    };
    tracing::debug!(chat = %follow.chat, owner = %follow.owner, "relay connected");
    match pump(follow, socket, take, accepted).await {
        Ok(never) => match never {},
        Err(e) => e,
    }
}

enum Never {}

async fn pump<F: Future<Output = Taken>>(
    follow: &mut Follow,
    socket: WebSocketStream<Upgraded>,
    take: &impl Fn(Vec<SharedPart>) -> F,
    accepted: &mut bool,
) -> Result<Never, Lost> {
    let (mut sink, frames) = socket.split();
    let mut frames = frames.ready_chunks(MAX_BATCH);
    let mut selected = None;
    loop {
        let wanted = *follow.episode.borrow_and_update();
        if let Some(key) = wanted.filter(|_| wanted != selected) {
            let frame = Message::text(relay::selection(key));
            timeout(WRITE_TIMEOUT, sink.send(frame)).await.map_err(|_| Lost::Timeout)??;
            selected = wanted;
        }
        let batch = tokio::select! {
            changed = follow.episode.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Err(Lost::Unwanted),
            },
            batch = timeout(SILENCE, frames.next()) => batch.map_err(|_| Lost::Timeout)?.ok_or(Lost::Closed)?,
        };
        let mut parts = Vec::new();
        let mut end = None;
        for message in batch {
            match message {
                Ok(Message::Text(text)) => parts.extend(relay::parts(&text)?),
                Ok(Message::Close(_)) => end = Some(Lost::Closed),
                // Pings are answered by the library.
                Ok(_) => {}
                Err(e) => end = Some(e.into()),
            }
        }
        if !parts.is_empty() {
            match take(parts).await {
                Taken::Yes => *accepted = true,
                Taken::Gap => return Err(Lost::Gap),
                Taken::No => return Err(Lost::Unwanted),
            }
        }
        if let Some(end) = end {
            return Err(end);
        }
    }
}

/// Opens the owner's parts endpoint. The handshake is made by the HTTP client, so that an address
/// may be https too.
async fn connect(follow: &Follow) -> Result<WebSocketStream<Upgraded>, Lost> {
    let replicas = follow.shared.replicas.as_ref().ok_or(Lost::Alone)?;
    let address = replicas.address(&follow.shared.store, follow.owner).await?.ok_or(Lost::Unknown)?;
    let request = replicas
        .client
        .get(format!("{address}/api/v2/chats/{}/stream/parts", follow.chat))
        .bearer_auth(replicas.secret.credential())
        .header(MEANT, follow.owner.to_string());
    let upgraded = websocket::open(request).await.map_err(|error| match error {
        NotOpened::Http(error) => error.into(),
        NotOpened::NoWebSocket => Lost::NoWebSocket,
        NotOpened::Refused(response) => match response.status() {
            StatusCode::MISDIRECTED_REQUEST => Lost::Misled,
            status => Lost::Refused(status),
        },
    })?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
}
