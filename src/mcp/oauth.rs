//! OAuth 2.1 as a client: the way to an authorization code with PKCE (RFC 7636), from the code to a token,
//! and from a refresh token to the next one (RFC 6749).

use super::outbound::{NamedBy, Outbound, OutboundError, place};
use crate::{
    clock::Timestamp,
    config::Secret,
    store::records::mcp::{McpGrant, McpServerRecord},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// Content type of token requests.
const FORM: &str = "application/x-www-form-urlencoded";
/// No token is believed to live longer: ten years.
const LONGEST_LIFE: u64 = 10 * 365 * 24 * 60 * 60;

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OauthError {
    /// The server's record lacks what is needed.
    #[error("the server has no {0}")]
    Incomplete(&'static str),
    /// No usable answer.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The authorization server refused.
    #[error("{host} refused: {code}")]
    Refused {
        /// Who.
        host: String,
        /// Its error code, such as `invalid_grant`.
        code: String,
    },
}

/// 32 random bytes, safe in URLs and cookies.
#[must_use]
pub fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// The S256 challenge of a verifier.
#[must_use]
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// An OAuth client that is complete.
#[derive(Debug, Clone)]
pub struct Client {
    /// Client id.
    pub id: String,
    /// Client secret, if it has one.
    pub secret: Option<Secret>,
    auth_url: Url,
    token_url: Url,
    resource: Url,
    scopes: Option<String>,
    discovered: bool,
}

impl Client {
    /// The client of a server.
    ///
    /// # Errors
    /// [`OauthError::Incomplete`].
    pub fn of(server: &McpServerRecord, secret: Option<Secret>) -> Result<Self, OauthError> {
        let url = |text: &Option<String>, what| -> Result<Url, OauthError> {
            let text = text.as_deref().ok_or(OauthError::Incomplete(what))?;
            Url::parse(text).map_err(|_| OauthError::Incomplete(what))
        };
        Ok(Self {
            id: server.oauth2_client_id.clone().ok_or(OauthError::Incomplete("OAuth client id"))?,
            secret,
            auth_url: url(&server.oauth2_auth_url, "OAuth authorization URL")?,
            token_url: url(&server.oauth2_token_url, "OAuth token URL")?,
            resource: Url::parse(&server.url).map_err(|_| OauthError::Incomplete("valid URL"))?,
            scopes: server.oauth2_scopes.clone().filter(|s| !s.trim().is_empty()),
            discovered: server.oauth2_discovered,
        })
    }

    fn named_by(&self) -> NamedBy<'_> {
        if self.discovered { NamedBy::Server(&self.resource) } else { NamedBy::Admin }
    }

    /// The server, as its audience is named (RFC 8707): without credentials and fragment.
    fn audience(&self) -> String {
        let mut url = self.resource.clone();
        url.set_fragment(None);
        // Both fail only for addresses without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.to_string()
    }

    /// Where the user agrees.
    #[must_use]
    pub fn authorization(&self, redirect: &str, state: &str, verifier: &str) -> Url {
        let mut url = self.auth_url.clone();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &self.id)
                .append_pair("redirect_uri", redirect)
                .append_pair("state", state)
                .append_pair("code_challenge", &challenge(verifier))
                .append_pair("code_challenge_method", "S256")
                .append_pair("resource", &self.audience());
            if let Some(scopes) = &self.scopes {
                query.append_pair("scope", scopes);
            }
        }
        url
    }

    /// A code becomes a token.
    ///
    /// # Errors
    /// See [`OauthError`].
    pub async fn exchange(
        &self,
        out: &Outbound,
        code: &str,
        redirect: &str,
        verifier: &str,
        now: Timestamp,
    ) -> Result<McpGrant, OauthError> {
        let audience = self.audience();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("code_verifier", verifier),
            ("resource", audience.as_str()),
        ];
        self.token(out, &form, now).await
    }

    /// A refresh token becomes the next token.
    ///
    /// # Errors
    /// See [`OauthError`].
    pub async fn refresh(
        &self,
        out: &Outbound,
        refresh_token: &Secret,
        now: Timestamp,
    ) -> Result<McpGrant, OauthError> {
        let audience = self.audience();
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose()),
            ("resource", audience.as_str()),
        ];
        self.token(out, &form, now).await
    }

    /// A confidential client shows its secret in the header, and to a server that does not know it there in
    /// the body: what servers take is not told reliably.
    async fn token(
        &self,
        out: &Outbound,
        form: &[(&str, &str)],
        now: Timestamp,
    ) -> Result<McpGrant, OauthError> {
        let encode = |secret: Option<&Secret>, with_id: bool| {
            let mut text = form_urlencoded::Serializer::new(String::new());
            text.extend_pairs(form);
            if with_id {
                text.append_pair("client_id", &self.id);
            }
            if let Some(secret) = secret {
                text.append_pair("client_secret", secret.expose());
            }
            text.finish()
        };
        let by = self.named_by();
        let Some(secret) = &self.secret else {
            let answer = out.post(&self.token_url, by, FORM, None, encode(None, true)).await?;
            return self.grant(answer.status, &answer.body, now);
        };
        // RFC 6749 §2.3.1: both are encoded before they become user and password.
        let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let (user, password) = (escape(&self.id), escape(secret.expose()));
        let answer =
            out.post(&self.token_url, by, FORM, Some((&user, &password)), encode(None, false)).await?;
        if !matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST)
            || is_about_the_grant(&answer.body)
        {
            return self.grant(answer.status, &answer.body, now);
        }
        let answer = out.post(&self.token_url, by, FORM, None, encode(Some(secret), true)).await?;
        self.grant(answer.status, &answer.body, now)
    }

    fn grant(&self, status: StatusCode, body: &[u8], now: Timestamp) -> Result<McpGrant, OauthError> {
        let host = || place(&self.token_url);
        let answer: TokenAnswer = match serde_json::from_slice(body) {
            Ok(answer) => answer,
            Err(_) if status.is_success() => return Err(OutboundError::Shape(host()).into()),
            Err(_) => return Err(OutboundError::Status { host: host(), status: status.as_u16() }.into()),
        };
        if let Some(code) = answer.error {
            return Err(OauthError::Refused { host: host(), code: code_text(&code) });
        }
        if !status.is_success() {
            return Err(OutboundError::Status { host: host(), status: status.as_u16() }.into());
        }
        let token = answer.access_token.filter(|token| is_token(token));
        let access_token = token.ok_or_else(|| OutboundError::Shape(host()))?;
        let life = answer.expires_in.and_then(Seconds::seconds).map(|s| s.min(LONGEST_LIFE));
        Ok(McpGrant {
            access_token: Secret::new(access_token),
            refresh_token: answer.refresh_token.filter(|t| is_token(t)).map(Secret::new),
            token_type: answer.token_type.unwrap_or_default(),
            expires_at: life.map(|seconds| now + Duration::from_secs(seconds)),
        })
    }
}

/// A token that a header can carry.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

/// Whether the refusal is about the code or token, so that another way of naming the client is no help.
fn is_about_the_grant(body: &[u8]) -> bool {
    let error = serde_json::from_slice::<TokenAnswer>(body).ok().and_then(|a| a.error);
    matches!(error.as_deref(), Some("invalid_grant" | "invalid_scope" | "invalid_target"))
}

/// Error codes are short words; anything else was not meant to be shown.
fn code_text(code: &str) -> String {
    let sound = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if sound { code.to_owned() } else { "no reason that can be shown".to_owned() }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Seconds>,
    refresh_token: Option<String>,
    error: Option<String>,
}

/// Some servers send the number as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    fn seconds(self) -> Option<u64> {
        let seconds = match self {
            Self::Number(n) => n,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        // Saturating, which is what is wanted of nonsense.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = seconds.max(0.0) as u64;
        seconds.is_finite().then_some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        // Appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let (a, b) = (random_text(), random_text());
        assert!(
            a != b && a.len() == 43 && a.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        );
    }

    #[test]
    fn lives_are_read_from_numbers_and_texts() {
        let of = |text: &str| serde_json::from_str::<Seconds>(text).unwrap().seconds();
        assert_eq!(
            (of("3600"), of("\"60\""), of("-5"), of("\"soon\"")),
            (Some(3600), Some(60), Some(0), None)
        );
        assert_eq!(code_text("invalid_grant"), "invalid_grant");
        assert_eq!(code_text("token abc def"), "no reason that can be shown");
    }
}
