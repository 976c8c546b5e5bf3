//! Tokens and sessions of a user: `/users/{user}/keys`.

use super::{
    auth::Caller,
    body,
    doc::Doc,
    names,
    problem::{Problem, Result},
    state::ApiState,
    token::{self, Minted},
    users,
};
use crate::{clock::Timestamp, ids::UserId, store::records::TokenRecord};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// A token or session. Its secret is shown once, when it is made.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenOut<'a> {
    id: &'a str,
    user_id: UserId,
    /// `token` or `session`.
    kind: &'static str,
    name: &'a str,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
    /// `null`: it does not end by itself.
    expires_at: Option<Timestamp>,
    /// Where a session was begun.
    created_from: Option<&'a str>,
    /// This request came with it.
    current: bool,
}

impl<'a> TokenOut<'a> {
    fn new(t: &'a TokenRecord, caller: &Caller) -> Self {
        Self {
            id: &t.id,
            user_id: t.user_id,
            kind: t.kind.as_str(),
            name: &t.name,
            created_at: t.created_at,
            last_used_at: t.last_used_at,
            expires_at: t.expires_at,
            created_from: t.created_from.as_deref(),
            current: caller.token.as_ref().is_some_and(|own| own.id == t.id),
        }
    }
}

/// What the OpenAPI document says of it.
pub const LIST: Doc =
    Doc::new("Tokens and sessions of a user").replies::<Vec<TokenOut<'static>>>().errors(&[400, 404]);

/// Tokens and sessions of a user, oldest first.
pub async fn list(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let user = users::user(&state, &caller, &path).await?;
    let tokens = state.store.tokens(Some(user.id)).await?;
    Ok(body::ok(&tokens.iter().map(|(t, _)| TokenOut::new(t, &caller)).collect::<Vec<_>>()))
}

/// A token that is to be made. Without an end it goes on until it is revoked.
#[derive(Default, Deserialize, ToSchema)]
pub struct TokenBody {
    /// What to call it.
    #[serde(alias = "token_name")]
    name: Option<String>,
    /// How long it is valid, in nanoseconds.
    lifetime: Option<i64>,
    /// When it ends.
    expires_at: Option<Timestamp>,
}

/// A new token.
#[derive(Serialize, ToSchema)]
#[schema(as = NewToken)]
pub struct NewTokenOut<'a> {
    /// The token itself; it is not shown again.
    key: &'a str,
    #[serde(flatten)]
    token: TokenOut<'a>,
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Make a token; the answer is the only place that shows it")
    .may_take::<TokenBody>()
    .replies::<NewTokenOut<'static>>()
    .errors(&[400, 404, 413]);

/// Makes a token.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let user = users::changeable(&state, &caller, &path).await?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let body: TokenBody = if body.is_empty() { TokenBody::default() } else { body::parse(&body)? };
    let now = state.clock.now();
    let name = body.name.unwrap_or_default();
    if !names::is_text(&name) {
        return Err(Problem::field("name", "name must be one line of at most 256 bytes."));
    }
    let expires_at = match (body.lifetime.filter(|n| *n != 0), body.expires_at) {
        (Some(_), Some(_)) => {
            return Err(Problem::field("expires_at", "Give lifetime or expires_at, not both."));
        }
        (Some(nanos), None) => {
            let nanos = u64::try_from(nanos)
                .map_err(|_| Problem::field("lifetime", "lifetime must not be negative."))?;
            Some(now + Duration::from_nanos(nanos))
        }
        (None, end) => end,
    };
    if expires_at.is_some_and(|end| end <= now) {
        return Err(Problem::field("expires_at", "expires_at must lie in the future."));
    }
    let Minted { text, mut record } = token::mint(user.id, now, expires_at);
    record.name = name;
    state.store.create_token(record.clone()).await?;
    tracing::info!(user = %user.id, by = %caller.user.id, token = record.id, "a token was made");
    let out = NewTokenOut { key: &text, token: TokenOut::new(&record, &caller) };
    Ok(body::json(StatusCode::CREATED, &out))
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc = Doc::new("Revoke a token or session; its open connections end").errors(&[400, 404]);

/// Revokes a token.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let (user, id) = path.into_inner();
    let user = users::changeable(&state, &caller, &user).await?;
    if id.contains('\0') || state.store.revoke_token(id.clone(), Some(user.id)).await?.is_none() {
        return Err(Problem::not_found("Token"));
    }
    state.tokens.forget_user(user.id);
    tracing::info!(user = %user.id, by = %caller.user.id, token = id, "a token was revoked");
    Ok(body::no_content())
}
