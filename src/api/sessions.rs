//! Signing in and out: with a password, or with a link that works once.

use super::{
    auth::{self, Caller, SESSION},
    body,
    doc::{Doc, Message, Param, ParamKind},
    passwords,
    problem::{Problem, Result},
    query::Query,
    routes,
    state::ApiState,
    token::{self, Minted},
    users,
};
use crate::{clock::Timestamp, ids::UserId, store::records::LoginLink};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
    web,
};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, time::Duration};
use utoipa::ToSchema;

/// How long a login link works.
pub const LINK_TTL: Duration = Duration::from_secs(60 * 60);

/// Credentials (api.md §2.17).
#[derive(Deserialize, ToSchema)]
pub struct LoginBody {
    /// Mail address; a user name does too.
    email: Option<String>,
    password: Option<String>,
}

/// A session that has begun.
#[derive(Serialize, ToSchema)]
#[schema(as = LoginReply)]
pub struct LoginOut<'a> {
    session_token: &'a str,
}

/// What the OpenAPI document says of it.
pub const LOGIN: Doc = Doc::new("Sign in with a password; also sets the session cookie")
    .takes::<LoginBody>()
    .replies::<LoginOut<'static>>()
    .errors(&[400, 401, 403, 413, 429])
    .open();

/// Begins a session.
pub async fn login(
    request: HttpRequest,
    state: web::Data<ApiState>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    // Another site must not sign a browser in as somebody of its choice.
    auth::check_origin(&request, &state.settings.public_url)?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let LoginBody { email, password } = body::parse(&body)?;
    let given = |field: &str, value: Option<String>| {
        value.filter(|v| !v.is_empty()).ok_or_else(|| Problem::field(field, format!("{field} is required.")))
    };
    let (login, password) = (given("email", email)?, given("password", password)?);
    let from = client_address(&request);
    state.limits.login_from(from)?;
    let found = match login.contains('\0') {
        // PostgreSQL cannot even be asked for such a name.
        true => None,
        false => state.store.credentials(login.trim().to_owned()).await?,
    };
    // By whichever of its names an account is tried, it is one account.
    state.limits.login_to(found.as_ref().map_or(login.as_str(), |(user, _)| user.username.as_str()))?;
    let hash = found.as_ref().and_then(|(_, hash)| hash.clone());
    let right = passwords::verify(password, hash).await?;
    let Some((user, _)) = found.filter(|_| right) else {
        return Err(Problem::unauthorized("Incorrect email or password."));
    };
    if user.suspended {
        return Err(Problem::unauthorized("Your account is suspended."));
    }
    let now = state.clock.now();
    let Minted { text, record } = session(&state, user.id, from);
    let id = record.id.clone();
    state.store.create_token(record).await?;
    state.store.touch_token(id, user.id, now).await?;
    tracing::info!(user = %user.id, "signed in with a password");
    let mut answer = HttpResponse::build(StatusCode::CREATED);
    cookies(&mut answer, &state, Some(&text));
    let text = crate::chat::json::Json::of(&LoginOut { session_token: &text });
    Ok(answer
        .insert_header((header::CONTENT_TYPE, body::JSON))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(text.get().to_owned()))
}

/// What the OpenAPI document says of it.
pub const LOGOUT: Doc = Doc::new("End the session or token that the request came with").replies::<Message>();

/// Ends a session.
pub async fn logout(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    if let Some(token) = &caller.token {
        state.store.revoke_token(token.id.clone(), Some(caller.user.id)).await?;
        state.tokens.forget_user(caller.user.id);
    }
    let mut answer = HttpResponse::Ok();
    cookies(&mut answer, &state, None);
    let text = crate::chat::json::Json::of(&Message { message: "You are signed out." });
    Ok(answer.insert_header((header::CONTENT_TYPE, body::JSON)).body(text.get().to_owned()))
}

/// What the OpenAPI document says of it.
pub const ONCE: Doc = Doc::new("Sign in with a login link; it works once")
    .params(&[Param::query(
        "token",
        ParamKind::Text,
        "What `chatd user login-link` or the first start printed",
    )
    .required()])
    .errors(&[400, 401, 429])
    .open();

/// Begins a session by a link and leads on to a page.
pub async fn once(request: HttpRequest, state: web::Data<ApiState>) -> Result<HttpResponse> {
    let query = Query::parse(request.query_string())?;
    let text = query.get("token").ok_or_else(|| Problem::field("token", "token is required."))?;
    let from = client_address(&request);
    state.limits.login_from(from)?;
    let ended = || {
        Problem::unauthorized("This login link has been used already or is too old.")
            .detail("`chatd user login-link NAME` makes another one.")
    };
    let (id, secret) = token::split(text).ok_or_else(ended)?;
    let Minted { text, record } = session(&state, UserId(uuid::Uuid::nil()), from);
    let (id, hash, now) = (id.to_owned(), token::hash(secret), state.clock.now());
    let user = state.store.redeem_login_link(id, hash, record, now).await?.ok_or_else(ended)?;
    tracing::info!(user = %user.id, "signed in with a login link");
    let mut answer = HttpResponse::build(StatusCode::SEE_OTHER);
    cookies(&mut answer, &state, Some(&text));
    Ok(answer
        .insert_header((header::LOCATION, landing()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // The link must not travel on in a Referer.
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .finish())
}

/// The first page there is for somebody who has just come in.
fn landing() -> &'static str {
    let served = |page: &str| routes::all().any(|(path, route)| route.method == "GET" && path == page);
    ["/", "/docs"].into_iter().find(|page| served(page)).unwrap_or("/api/v2/users/me")
}

/// A new password.
#[derive(Deserialize, ToSchema)]
pub struct PasswordBody {
    /// The new one.
    password: Option<String>,
    /// The present one, where there is one and it is one's own.
    old_password: Option<String>,
}

/// What the OpenAPI document says of it.
pub const PASSWORD: Doc = Doc::new("Set a password; the user's other sessions end")
    .takes::<PasswordBody>()
    .errors(&[400, 404, 413]);

/// Sets a password.
pub async fn password(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let user = users::changeable(&state, &caller, &path).await?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let PasswordBody { password, old_password } = body::parse(&body)?;
    let password = password
        .filter(|p| passwords::is_good(p))
        .ok_or_else(|| Problem::field("password", passwords::RULE))?;
    let own = user.id == caller.user.id;
    if own {
        // A stolen session must not become a stolen account, nor an oracle for the password.
        state.limits.login_to(&user.username)?;
        let known = state.store.credentials(user.username.clone()).await?.and_then(|(_, hash)| hash);
        if known.is_some() && !passwords::verify(old_password.unwrap_or_default(), known).await? {
            return Err(Problem::field("old_password", "This is not your present password."));
        }
    }
    let hash = passwords::hash(password).await?;
    let keep = caller.token.as_ref().filter(|_| own).map(|t| t.id.clone());
    state.store.set_password(user.id, hash, keep, state.clock.now()).await?;
    state.tokens.forget_user(user.id);
    tracing::info!(user = %user.id, by = %caller.user.id, "a password was set");
    Ok(body::no_content())
}

fn session(state: &ApiState, user: UserId, from: Option<IpAddr>) -> Minted {
    let now = state.clock.now();
    let mut minted = token::mint(user, now, Some(now + state.settings.session_ttl));
    minted.record.kind = crate::store::records::TokenKind::Session;
    minted.record.created_from = from.map(|ip| ip.to_string());
    minted
}

/// A login link for a user: its secret text, and what is stored.
#[must_use]
pub fn link(user: UserId, now: Timestamp) -> (String, LoginLink) {
    let Minted { text, record } = token::mint(user, now, None);
    let expires_at = now + LINK_TTL;
    (text, LoginLink { id: record.id, user_id: user, hash: record.hash, created_at: now, expires_at })
}

/// Where a login link leads.
#[must_use]
pub fn link_url(public_url: &str, text: &str) -> String {
    format!("{}/login/once?token={text}", public_url.trim_end_matches('/'))
}

/// Sets the cookies of a session, or takes them away: one that no script can read, and the one that
/// scripts repeat in a header to prove that they come from this site.
fn cookies(answer: &mut HttpResponseBuilder, state: &ApiState, session: Option<&str>) {
    let secure = if state.settings.public_url.starts_with("https://") { "; Secure" } else { "" };
    let (value, csrf, seconds) = match session {
        Some(text) => (text, token::alphanumeric::<32>(), state.settings.session_ttl.as_secs()),
        None => ("", String::new(), 0),
    };
    let rest = format!("Path=/; SameSite=Lax; Max-Age={seconds}{secure}");
    answer.append_header((header::SET_COOKIE, format!("{SESSION}={value}; HttpOnly; {rest}")));
    answer.append_header((header::SET_COOKIE, format!("{}={csrf}; {rest}", auth::CSRF_COOKIE)));
}

/// Where a request comes from. A proxy on this machine is believed to say for whom it asks.
fn client_address(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let said = || {
        let lines = request.headers().get_all("X-Forwarded-For").last()?;
        lines.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
    };
    Some(peer.is_loopback().then(said).flatten().unwrap_or(peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn only_a_proxy_of_this_machine_is_believed() {
        let of = |peer: &str| {
            let request = TestRequest::default()
                .peer_addr(peer.parse().unwrap())
                .insert_header(("X-Forwarded-For", "6.6.6.6, 10.1.2.3"));
            client_address(&request.to_http_request()).unwrap().to_string()
        };
        assert_eq!(of("127.0.0.1:80"), "10.1.2.3");
        assert_eq!(of("10.0.0.9:80"), "10.0.0.9");
    }

    #[test]
    fn a_link_is_a_token_with_an_end() {
        let now = Timestamp::from_micros(0);
        let (text, link) = link(UserId::fresh(), now);
        let (id, secret) = token::split(&text).unwrap();
        assert_eq!((id, link.expires_at), (link.id.as_str(), now + LINK_TTL));
        assert!(token::matches(secret, &link.hash));
        assert_eq!(link_url("https://chat.test/", "a-b"), "https://chat.test/login/once?token=a-b");
    }
}
