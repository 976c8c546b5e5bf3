//! The token of a user for a server, refreshed before it is used (workspace-and-providers.md §4.4).

use super::{oauth::Client, outbound::Outbound};
use crate::{
    clock::{Clock, Timestamp},
    config::Secret,
    ids::UserId,
    store::{
        self, Store,
        records::mcp::{McpGrant, McpServerRecord, McpTokenRecord},
        sealing::Column,
    },
};
use std::time::Duration;

/// A token that ends within this time is refreshed first.
const MARGIN: Duration = Duration::from_secs(10);

/// A token that can be shown to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// `Bearer`, or what the authorization server called it.
    pub scheme: String,
    /// The token.
    pub token: Secret,
}

impl AccessToken {
    fn new(kind: &str, token: Secret) -> Self {
        let bearer = kind.trim().is_empty() || kind.trim().eq_ignore_ascii_case("bearer");
        Self { scheme: if bearer { "Bearer".to_owned() } else { kind.trim().to_owned() }, token }
    }
}

/// The client of a server with its secret in clear.
///
/// # Errors
/// [`store::Error::Sealed`]; `Ok(Err)` when the record is incomplete.
pub fn client(
    store: &Store,
    server: &McpServerRecord,
) -> store::Result<Result<Client, super::oauth::OauthError>> {
    let sealed = server.sealed.client_secret.as_deref();
    let secret = sealed.map(|s| store.keys().open(Column::McpClientSecret, server.id.0, s)).transpose()?;
    Ok(Client::of(server, secret))
}

/// The token of a user for a server; `None` when the user has none. One that is about to end is refreshed;
/// where that fails, the old one is answered: the server will say what it thinks of it.
///
/// # Errors
/// When the database fails, or a stored secret cannot be opened.
pub async fn current(
    store: &Store,
    out: &Outbound,
    clock: &Clock,
    server: &McpServerRecord,
    user: UserId,
) -> store::Result<Option<AccessToken>> {
    let Some(record) = store.mcp_token(server.id, user).await? else { return Ok(None) };
    let token = |record: &McpTokenRecord| -> store::Result<AccessToken> {
        let clear = store.keys().open(Column::McpAccessToken, record.id, &record.access_token)?;
        Ok(AccessToken::new(&record.token_type, clear))
    };
    let Some(refresh) = due(&record, clock.now()) else { return token(&record).map(Some) };
    let refresh = store.keys().open(Column::McpRefreshToken, record.id, refresh)?;
    let asked = match client(store, server)? {
        Ok(client) => client.refresh(out, &refresh, clock.now()).await,
        Err(e) => Err(e),
    };
    match asked {
        Ok(grant) => {
            let fresh = AccessToken::new(&grant.token_type, grant.access_token.clone());
            keep(store, record, grant, clock.now()).await;
            Ok(Some(fresh))
        }
        Err(e) => {
            // Another turn may have used the refresh token a moment ago; then its token is there now.
            let latest = store.mcp_token(server.id, user).await?;
            if let Some(latest) = latest.filter(|latest| latest.updated_at != record.updated_at) {
                return token(&latest).map(Some);
            }
            tracing::warn!(server = server.slug, error = %e, "a user's token could not be refreshed");
            token(&record).map(Some)
        }
    }
}

/// The refresh token, if it is time to use it.
fn due(record: &McpTokenRecord, now: Timestamp) -> Option<&[u8]> {
    let ends = record.expires_at?;
    record.refresh_token.as_deref().filter(|_| ends <= now + MARGIN)
}

/// Stores a refreshed token. Where that fails the token still serves once: the authorization server may
/// have made the old one worthless.
async fn keep(store: &Store, old: McpTokenRecord, grant: McpGrant, now: Timestamp) {
    let server = old.server_id;
    if let Err(e) = store.renew_mcp_token(old, grant, now).await {
        tracing::warn!(%server, error = %e, "a refreshed token could not be stored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{McpServerId, fresh_uuid};

    #[test]
    fn a_token_is_refreshed_ten_seconds_before_its_end() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let mut record = McpTokenRecord {
            id: fresh_uuid(),
            server_id: McpServerId::fresh(),
            user_id: UserId::fresh(),
            access_token: vec![1],
            refresh_token: Some(vec![2]),
            token_type: String::new(),
            expires_at: Some(at(100)),
            updated_at: at(0),
        };
        assert_eq!((due(&record, at(89)), due(&record, at(90))), (None, Some(&[2][..])));
        assert!(record.is_usable(at(200)));
        record.refresh_token = None;
        assert_eq!(due(&record, at(200)), None);
        assert!(record.is_usable(at(99)) && !record.is_usable(at(100)));
        record.expires_at = None;
        assert!(record.is_usable(at(100)));
        let scheme = |kind| AccessToken::new(kind, Secret::new("x")).scheme;
        assert_eq!(
            (scheme(""), scheme("bEaReR"), scheme("MAC")),
            ("Bearer".into(), "Bearer".into(), "MAC".into())
        );
    }
}
