//! Who is calling (api.md §1.2).
//!
//! A request that a browser may have sent on behalf of another site (it carries a cookie, or nothing
//! is asked for at all) must prove that it comes from this site before it changes anything or opens
//! a socket.

use super::{
    problem::{Problem, Result},
    query::Query,
    state::ApiState,
    token,
};
use crate::{
    clock::Timestamp,
    ids::UserId,
    store::records::{TokenRecord, UserRecord},
};
use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::{Method, header},
    web,
};
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq as _;

/// Cookie and query key of a session.
pub const SESSION: &str = "coder_session_token";
const SESSION_HEADER: &str = "Coder-Session-Token";
/// Cookie that scripts repeat in a header.
pub(super) const CSRF_COOKIE: &str = "csrf_token";
const CSRF_HEADER: &str = "X-CSRF-TOKEN";

/// How long a token is believed without looking: the longest a revocation that no hint announced
/// (made by the command line beside a SQLite daemon) can go unnoticed.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// How old the note of a token's last use may get before it is written anew.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// Tokens kept; more than anyone has at once.
const CACHE_CAPACITY: usize = 4096;

/// How a caller proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Via {
    Cookie,
    Explicit,
    Nothing,
}

/// Whoever sent the request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account.
    pub user: Arc<UserRecord>,
    /// What they proved it with; nothing where everybody is the first user.
    pub token: Option<Arc<TokenRecord>>,
    credential: Option<Arc<str>>,
}

impl Caller {
    /// Whether the credential still opens the door.
    ///
    /// # Errors
    /// 401 when it does not, or opens fewer doors than it did: whoever lost a role comes in anew and
    /// is asked anew. 503 when nobody can tell.
    pub async fn recheck(&self, state: &ApiState) -> Result<()> {
        let (now, _) = who(state, self.credential.as_deref()).await?;
        if now.role > self.user.role {
            Err(Problem::unauthorized("Your roles have changed."))
        } else {
            Ok(())
        }
    }

    /// 403 or 404 for those who are no administrators.
    ///
    /// # Errors
    /// The given problem.
    pub fn require_admin(&self, otherwise: impl FnOnce() -> Problem) -> Result<()> {
        if self.user.is_admin() { Ok(()) } else { Err(otherwise()) }
    }
}

#[derive(Debug, Clone)]
struct Known {
    token: Arc<TokenRecord>,
    user: Arc<UserRecord>,
    since: Instant,
    /// Its use was noted since it was read.
    noted: bool,
}

/// Tokens seen a moment ago, so that a busy client costs one read every few seconds.
#[derive(Debug, Default)]
pub struct TokenCache {
    known: Mutex<HashMap<String, Known>>,
    /// Counts what was forgotten: what was read before is not kept after.
    forgotten: AtomicU64,
    first_admin: Mutex<Option<(Arc<UserRecord>, Instant)>>,
}

impl TokenCache {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &str) -> Option<(Arc<TokenRecord>, Arc<UserRecord>)> {
        let known = self.lock();
        let entry = known.get(id).filter(|k| k.since.elapsed() < BELIEVED_FOR)?;
        Some((Arc::clone(&entry.token), Arc::clone(&entry.user)))
    }

    /// Keeps what was read at `since`, unless something was forgotten after `epoch`.
    fn put(&self, token: Arc<TokenRecord>, user: Arc<UserRecord>, since: Instant, epoch: u64) {
        let mut known = self.lock();
        if self.forgotten.load(Ordering::SeqCst) != epoch {
            return;
        }
        if known.len() >= CACHE_CAPACITY {
            known.retain(|_, k| k.since.elapsed() < BELIEVED_FOR);
        }
        if known.len() < CACHE_CAPACITY {
            known.insert(token.id.clone(), Known { token, user, since, noted: false });
        }
    }

    /// Whether the use of a token is still to be noted: once each time that it is read.
    fn to_note(&self, id: &str) -> bool {
        self.lock().get_mut(id).is_some_and(|known| !std::mem::replace(&mut known.noted, true))
    }

    /// Forgets the tokens of one user.
    pub fn forget_user(&self, user: UserId) {
        let mut known = self.lock();
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        known.retain(|_, k| k.user.id != user);
        drop(known);
        self.first_admin.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        let mut known = self.lock();
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        known.clear();
        drop(known);
        self.first_admin.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The value of a cookie.
pub(super) fn cookie<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    request
        .headers()
        .get_all(header::COOKIE)
        .filter_map(|v| v.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches('"'))
        .filter(|value| !value.is_empty())
}

fn header_value<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok().map(str::trim).filter(|v| !v.is_empty())
}

/// The credential and where it was, in the order of api.md §1.2: the first one found counts. A cookie that
/// the request says in words as well is no mere cookie: clients that are no browsers keep the one of their
/// sign-in, and no other site can make a browser say it.
fn credential(request: &HttpRequest) -> (Option<String>, Via) {
    let query = Query::parse(request.query_string()).unwrap_or_default();
    let explicit = query
        .get(SESSION)
        .map(str::to_owned)
        .or_else(|| header_value(request, SESSION_HEADER).map(str::to_owned))
        .or_else(|| {
            let (scheme, token) = header_value(request, "Authorization")?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        });
    match cookie(request, SESSION) {
        Some(token) if explicit.as_deref() != Some(token) => (Some(token.to_owned()), Via::Cookie),
        _ if explicit.is_some() => (explicit, Via::Explicit),
        _ => (None, Via::Nothing),
    }
}

/// Somebody, and the token that says so.
type Identity = (Arc<UserRecord>, Option<Arc<TokenRecord>>);

/// Whoever comes without a token that is known.
async fn anybody(state: &ApiState) -> Result<Identity> {
    if state.settings.open_to_all { Ok((first_admin(state).await?, None)) } else { Err(no_session()) }
}

/// The account behind a credential.
async fn who(state: &ApiState, credential: Option<&str>) -> Result<Identity> {
    let Some(text) = credential else { return anybody(state).await };
    let Some((id, secret)) = token::split(text) else {
        // With auth.mode "none" nobody is turned away for a stale cookie.
        return anybody(state).await;
    };
    let (record, user) = match state.tokens.get(id) {
        Some(known) => known,
        None => {
            let (asked, epoch) = (Instant::now(), state.tokens.forgotten.load(Ordering::SeqCst));
            match state.store.token(id.to_owned()).await? {
                Some((record, user)) => {
                    let (record, user) = (Arc::new(record), Arc::new(user));
                    state.tokens.put(Arc::clone(&record), Arc::clone(&user), asked, epoch);
                    (record, user)
                }
                None => return anybody(state).await,
            }
        }
    };
    if !token::matches(secret, &record.hash) || expired(&record, state.clock.now()) {
        return Err(no_session());
    }
    if user.suspended {
        return Err(Problem::unauthorized("Your account is suspended."));
    }
    note_use(state, &record);
    Ok((user, Some(record)))
}

/// Notes, now and then, that a token is in use. Nobody waits for it.
fn note_use(state: &ApiState, token: &TokenRecord) {
    let now = state.clock.now();
    let fresh = token.last_used_at.is_some_and(|last| now.since(last) < TOUCH_EVERY);
    if fresh || !state.tokens.to_note(&token.id) {
        return;
    }
    let (store, id, user) = (state.store.clone(), token.id.clone(), token.user_id);
    actix_web::rt::spawn(async move {
        if let Err(e) = store.touch_token(id, user, now).await {
            tracing::debug!(error = %e, "the last use of a token could not be noted");
        }
    });
}

fn expired(token: &TokenRecord, now: Timestamp) -> bool {
    token.expires_at.is_some_and(|end| end <= now)
}

fn no_session() -> Problem {
    Problem::unauthorized("You are not signed in.").detail("Send a valid session token.")
}

async fn first_admin(state: &ApiState) -> Result<Arc<UserRecord>> {
    let known = state.tokens.first_admin.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((user, since)) = known
        && since.elapsed() < BELIEVED_FOR
    {
        return Ok(user);
    }
    let asked = Instant::now();
    let users = state.store.list_users().await?;
    let first = users
        .into_iter()
        .filter(|u| u.is_admin() && !u.suspended)
        .min_by_key(|u| (u.role, u.created_at, u.id));
    let user = Arc::new(first.ok_or_else(|| Problem::unauthorized("There is no administrator account."))?);
    *state.tokens.first_admin.lock().unwrap_or_else(PoisonError::into_inner) =
        Some((Arc::clone(&user), asked));
    Ok(user)
}

/// Refuses what another site may have made the browser send.
fn check_site(request: &HttpRequest, via: Via, public_url: &str) -> Result<()> {
    if via == Via::Explicit {
        return Ok(());
    }
    // Without tokens the only thing that keeps a page of another site out is its name: one that
    // resolves to the loopback (DNS rebinding) is its own origin.
    if via == Via::Nothing && !is_own_host(header_value(request, "Host").unwrap_or_default(), public_url) {
        return Err(Problem::forbidden("Use a loopback address or the server's public_url to reach it."));
    }
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let upgrade = request.headers().contains_key(header::UPGRADE);
    if safe && !upgrade {
        return Ok(());
    }
    check_origin(request, public_url)?;
    if via == Via::Cookie && !safe {
        let (sent, own) = (header_value(request, CSRF_HEADER), cookie(request, CSRF_COOKIE));
        let equal = match (sent, own) {
            (Some(sent), Some(own)) => bool::from(sent.as_bytes().ct_eq(own.as_bytes())),
            _ => false,
        };
        if !equal {
            return Err(Problem::forbidden("The X-CSRF-TOKEN header does not match the csrf_token cookie."));
        }
    }
    Ok(())
}

/// Refuses what a browser says that another site's page has sent.
///
/// # Errors
/// 403.
pub(super) fn check_origin(request: &HttpRequest, public_url: &str) -> Result<()> {
    let Some(origin) = header_value(request, "Origin") else { return Ok(()) };
    let host = header_value(request, "Host").unwrap_or_default();
    // A proxy may have put another host in place of the one the browser knows.
    let same = origin.split_once("://").is_some_and(|(_, o)| o.eq_ignore_ascii_case(host))
        || origin.eq_ignore_ascii_case(public_url.trim_end_matches('/'));
    if same { Ok(()) } else { Err(Problem::forbidden("Requests from other sites are refused.")) }
}

/// Whether a `Host` header names the loopback or the server's public address.
fn is_own_host(host: &str, public_url: &str) -> bool {
    let name = |authority: &str| -> String {
        let end = match authority.strip_prefix('[') {
            Some(rest) => rest.find(']').map_or(authority.len(), |at| at + 2),
            None => authority.find(':').unwrap_or(authority.len()),
        };
        authority[..end].to_ascii_lowercase()
    };
    let host = name(host);
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let public = public_url.split_once("://").map_or(public_url, |(_, rest)| rest);
    host.is_empty()
        || host == "localhost"
        || address.is_ok_and(|a| a.is_loopback())
        || host == name(public.split('/').next().unwrap_or_default())
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let state = request
                .app_data::<web::Data<ApiState>>()
                .ok_or_else(|| Problem::internal("the API was started without its state"))?;
            let (credential, via) = credential(&request);
            let (user, token) = who(state, credential.as_deref()).await?;
            check_site(&request, via, &state.settings.public_url)?;
            state.limits.requests.check(&user.id)?;
            Ok(Self { user, token, credential: credential.map(Arc::from) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn the_first_credential_counts() {
        let all = || {
            TestRequest::with_uri("/x?coder_session_token=q")
                .insert_header(("Coder-Session-Token", "h"))
                .insert_header(("Authorization", "bearer b"))
        };
        let of = |r: TestRequest| credential(&r.to_http_request());
        assert_eq!(
            of(all().insert_header(("Cookie", "a=b; coder_session_token=c"))),
            (Some("c".into()), Via::Cookie)
        );
        let kept = TestRequest::default()
            .insert_header(("Coder-Session-Token", "h"))
            .insert_header(("Cookie", "coder_session_token=h"));
        assert_eq!(of(kept), (Some("h".into()), Via::Explicit));
        assert_eq!(of(all()), (Some("q".into()), Via::Explicit));
        let bearer = TestRequest::default().insert_header(("Authorization", "Bearer b"));
        assert_eq!(of(bearer), (Some("b".into()), Via::Explicit));
        assert_eq!(of(TestRequest::default()), (None, Via::Nothing));
    }

    #[test]
    fn only_own_names_are_served_without_a_token() {
        for host in ["", "localhost:7777", "127.0.0.1:7777", "127.9.9.9", "[::1]:7777", "Chat.test:80"] {
            assert!(is_own_host(host, "https://chat.test/x"), "{host}");
        }
        for host in ["evil.test:7777", "127.0.0.1.evil.test", "10.0.0.1", "localhost.evil.test", "["] {
            assert!(!is_own_host(host, "https://chat.test/x"), "{host}");
        }
    }

    #[test]
    fn cookies_need_the_csrf_header_and_their_own_site() {
        let check = |headers: &[(&'static str, &'static str)], method: Method, via| {
            let host = if via == Via::Nothing { "localhost:7777" } else { "a.test:7777" };
            let mut r = TestRequest::with_uri("/x").method(method).insert_header(("Host", host));
            for h in headers {
                r = r.insert_header(*h);
            }
            check_site(&r.to_http_request(), via, "https://chat.test/").is_ok()
        };
        let csrf = [("Cookie", "csrf_token=t"), ("X-CSRF-TOKEN", "t")];
        assert!(check(&[], Method::GET, Via::Cookie));
        assert!(!check(&[], Method::POST, Via::Cookie));
        assert!(!check(&[("Cookie", "csrf_token=t"), ("X-CSRF-TOKEN", "u")], Method::POST, Via::Cookie));
        assert!(check(&csrf, Method::POST, Via::Cookie));
        assert!(check(&[], Method::POST, Via::Explicit));
        assert!(check(&[], Method::POST, Via::Nothing));
        assert!(!check(&[("Origin", "https://evil.test")], Method::POST, Via::Nothing));
        assert!(check(&[("Origin", "http://localhost:7777")], Method::POST, Via::Nothing));
        assert!(check(&[("Origin", "https://chat.test")], Method::POST, Via::Nothing));
        assert!(!check(&[("Origin", "null"), ("Upgrade", "websocket")], Method::GET, Via::Cookie));
    }
}
