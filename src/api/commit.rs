//! Commits on behalf of a request, and their repeatability: with an `Idempotency-Key` the answer is
//! stored in the same transaction, and a repetition gets exactly that answer.

use super::{
    auth::Caller,
    body,
    problem::{Problem, Result},
    state::ApiState,
};
use crate::{
    chat::json::Json,
    ids::UserId,
    store::{
        self,
        commit::{Accepted, Commit, Committed, Idempotency},
    },
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, rt};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use tracing::Instrument as _;

/// Renders status and body of the answer from what was done.
pub type Render<T> = Arc<dyn Fn(&T) -> (u16, Json) + Send + Sync>;

/// An `Idempotency-Key` with the request it came with.
#[derive(Debug, Clone)]
pub struct Key {
    user: UserId,
    key: String,
    hash: Vec<u8>,
}

/// Longest key in bytes.
const MAX_KEY_BYTES: usize = 255;

impl Key {
    /// The key of a request, if it has one.
    ///
    /// # Errors
    /// 400 when it is empty, too long or not ASCII.
    pub fn of(request: &HttpRequest, caller: &Caller, body: &[u8]) -> Result<Option<Self>> {
        let Some(value) = request.headers().get("Idempotency-Key") else { return Ok(None) };
        let key = value.to_str().map(str::trim).unwrap_or_default();
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            let rule = format!("It must have 1 to {MAX_KEY_BYTES} printable ASCII characters.");
            return Err(Problem::bad_request("Invalid Idempotency-Key.").detail(rule));
        }
        let mut hash = Sha256::new();
        hash.update(request.method().as_str());
        hash.update(b"\n");
        hash.update(request.path());
        hash.update(b"\n");
        hash.update(body);
        Ok(Some(Self { user: caller.user.id, key: key.to_owned(), hash: hash.finalize().to_vec() }))
    }

    /// What the store needs.
    #[must_use]
    pub fn with<T>(self, render: &Render<T>) -> Idempotency<T> {
        Idempotency { user: self.user, key: self.key, request_hash: self.hash, render: Arc::clone(render) }
    }
}

/// The answer: rendered now, or as it was stored.
pub fn answer<T>(accepted: Accepted<T>, render: &Render<T>) -> Result<HttpResponse> {
    let (status, text) = match accepted {
        Accepted::Fresh(done) => render(&done),
        Accepted::Replayed { status, answer } => (status, answer),
    };
    stored(status, &text)
}

fn stored(status: u16, text: &Json) -> Result<HttpResponse> {
    let status = StatusCode::from_u16(status).map_err(Problem::internal)?;
    Ok(if status == StatusCode::NO_CONTENT { body::no_content() } else { body::raw(status, text) })
}

/// What is answered when a request cannot be made into a commit: the problem, unless it repeats one that was accepted. What
/// it names may have changed since, even by its own success.
///
/// # Errors
/// The problem, and 409 when the key was used for another request.
pub async fn unless_done(state: &ApiState, key: Option<Key>, problem: Problem) -> Result<HttpResponse> {
    let Some(key) = key else { return Err(problem) };
    match state.store.replayed(key.user, key.key, key.hash).await? {
        Some((status, text)) => stored(status, &text),
        None => Err(problem),
    }
}

/// Does to its end what commits and then announces it. Actix drops a request whose client goes away; work that was
/// committed would be known to the database alone then, until somebody looks.
///
/// # Errors
/// Those of the work.
pub async fn to_its_end<T: 'static>(
    work: impl Future<Output = store::Result<T>> + 'static,
) -> store::Result<T> {
    // What it logs belongs to the request.
    match rt::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        // The worker of this request ends, and whoever waits for it.
        Err(e) => Err(store::Error::Unavailable(e.to_string())),
    }
}

/// Commits and answers.
///
/// # Errors
/// As [`Problem::of_chat`] has it; nothing was written then.
pub async fn run(
    state: &ApiState,
    mut commit: Commit,
    key: Option<Key>,
    render: impl Fn(&Committed) -> (u16, Json) + Send + Sync + 'static,
) -> Result<HttpResponse> {
    let render: Render<Committed> = Arc::new(render);
    commit.idempotency = key.map(|key| key.with(&render));
    let store = state.store.clone();
    let done = to_its_end(async move { store.commit(commit).await }).await.map_err(Problem::of_chat)?;
    answer(done, &render)
}

/// What a 204 stores as its body.
#[must_use]
pub fn nothing() -> Json {
    Json::of(&())
}
