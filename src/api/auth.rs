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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq as _;

/// Cookie and query key of a session.
pub const SESSION: &str = "coder_session_token";
const SESSION_HEADER: &str = "Coder-Session-Token";
const CSRF_COOKIE: &str = "csrf_token";
const CSRF_HEADER: &str = "X-CSRF-TOKEN";

/// How long a token is believed without looking: the longest a revocation that no hint announced
/// (made by the command line beside a SQLite daemon) can go unnoticed.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
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
    credential: Option<Arc<str>>,
}

impl Caller {
    /// Whether the credential still opens the door.
    ///
    /// # Errors
    /// 401 when it does not, 503 when nobody can tell.
    pub async fn recheck(&self, state: &ApiState) -> Result<()> {
        who(state, self.credential.as_deref()).await.map(|_| ())
    }

    /// 403 or 404 for those who are no administrators.
    ///
    /// # Errors
    /// The given problem.
    pub fn require_admin(&self, otherwise: impl FnOnce() -> Problem) -> Result<()> {
        if self.user.is_admin { Ok(()) } else { Err(otherwise()) }
    }
}

#[derive(Debug, Clone)]
struct Known {
    token: Arc<TokenRecord>,
    user: Arc<UserRecord>,
    since: Instant,
}

/// Tokens seen a moment ago, so that a busy client costs one read every few seconds.
#[derive(Debug, Default)]
pub struct TokenCache {
    known: Mutex<HashMap<String, Known>>,
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

    fn put(&self, token: Arc<TokenRecord>, user: Arc<UserRecord>, since: Instant) {
        let mut known = self.lock();
        if known.len() >= CACHE_CAPACITY {
            known.retain(|_, k| k.since.elapsed() < BELIEVED_FOR);
        }
        if known.len() < CACHE_CAPACITY {
            known.insert(token.id.clone(), Known { token, user, since });
        }
    }

    /// Forgets the tokens of one user.
    pub fn forget_user(&self, user: UserId) {
        self.lock().retain(|_, k| k.user.id != user);
        self.first_admin.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        self.lock().clear();
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

/// The credential and where it was, in the order of api.md §1.2: the first one found counts.
fn credential(request: &HttpRequest) -> (Option<String>, Via) {
    if let Some(token) = cookie(request, SESSION) {
        return (Some(token.to_owned()), Via::Cookie);
    }
    let query = Query::parse(request.query_string()).unwrap_or_default();
    let explicit = query
        .get(SESSION)
        .map(str::to_owned)
        .or_else(|| header_value(request, SESSION_HEADER).map(str::to_owned))
        .or_else(|| {
            let (scheme, token) = header_value(request, "Authorization")?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        });
    let via = if explicit.is_some() { Via::Explicit } else { Via::Nothing };
    (explicit, via)
}

/// The account behind a credential.
async fn who(state: &ApiState, credential: Option<&str>) -> Result<Arc<UserRecord>> {
    let Some(text) = credential else {
        return if state.settings.open_to_all { first_admin(state).await } else { Err(no_session()) };
    };
    let Some((id, secret)) = token::split(text) else {
        // With auth.mode "none" nobody is turned away for a stale cookie.
        return if state.settings.open_to_all { first_admin(state).await } else { Err(no_session()) };
    };
    let (record, user) = match state.tokens.get(id) {
        Some(known) => known,
        None => {
            let asked = Instant::now();
            match state.store.token(id.to_owned()).await? {
                Some((record, user)) => {
                    let (record, user) = (Arc::new(record), Arc::new(user));
                    state.tokens.put(Arc::clone(&record), Arc::clone(&user), asked);
                    (record, user)
                }
                None if state.settings.open_to_all => return first_admin(state).await,
                None => return Err(no_session()),
            }
        }
    };
    if !token::matches(secret, &record.hash) || expired(&record, state.clock.now()) {
        return Err(no_session());
    }
    if user.suspended {
        return Err(Problem::unauthorized("Your account is suspended."));
    }
    Ok(user)
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
    let first = users.into_iter().filter(|u| u.is_admin && !u.suspended).min_by_key(|u| (u.created_at, u.id));
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
    if let Some(origin) = header_value(request, "Origin") {
        let host = header_value(request, "Host").unwrap_or_default();
        // A proxy may have put another host in place of the one the browser knows.
        let same = origin.split_once("://").is_some_and(|(_, o)| o.eq_ignore_ascii_case(host))
            || origin.eq_ignore_ascii_case(public_url.trim_end_matches('/'));
        if !same {
            return Err(Problem::forbidden("Requests from other sites are refused."));
        }
    }
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
            let user = who(state, credential.as_deref()).await?;
            check_site(&request, via, &state.settings.public_url)?;
            Ok(Self { user, credential: credential.map(Arc::from) })
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
