//! The link: dials the daemon, serves its requests, and dials again when it is lost, for ever.

use super::{Agent, serve};
use crate::{
    websocket::{self, NotOpened},
    workspace::{
        socket::{Lost, Socket},
        wire::LINK_PATH,
    },
};
use reqwest::{StatusCode, Upgraded};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::Role;

/// First and longest wait before the daemon is dialled again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(20));
/// A link that lasted this long was a good one: the next is dialled without a longer wait.
const LASTED: Duration = Duration::from_secs(5);
/// An agent that a daemon has started on its own host ends when its token was refused for so long. Nobody else would end it
/// when the workspace was stopped by a replica with another data folder, or its template is of another kind by now.
const REFUSED_FOR: Duration = Duration::from_secs(20);
/// Time to connect and to answer the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Where the daemon is, and what the agent shows it.
#[derive(Clone)]
pub struct Daemon {
    /// As in `https://chatd.example.org`.
    url: String,
    /// Where the address stands, if it may change.
    url_file: Option<PathBuf>,
    token: String,
    client: reqwest::Client,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The daemon cannot be dialled, whatever it does.
#[derive(Debug, thiserror::Error)]
pub enum BadDaemon {
    /// The address has another form.
    #[error("{0:?} is no address of a daemon; it reads http://HOST:PORT or https://HOST")]
    Url(String),
    /// The token cannot be sent.
    #[error("the token has characters that no token has; copy it again")]
    Token,
    /// The system has no usable TLS configuration.
    #[error("TLS cannot be set up: {0}")]
    Tls(reqwest::Error),
}

#[derive(Debug, thiserror::Error)]
enum NoLink {
    #[error("{0}")]
    Http(String),
    #[error("the daemon does not accept the token; take the one of this workspace's current build")]
    Token,
    #[error("{0}")]
    Refused(String),
    #[error("what answers is no chatd, or a proxy before it does not let WebSockets through")]
    NoWebSocket,
    #[error("no answer within {HANDSHAKE_TIMEOUT:?}")]
    Timeout,
}

impl From<reqwest::Error> for NoLink {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(websocket::cause(error))
    }
}

impl Daemon {
    /// The daemon at an address, with or without a path prefix.
    ///
    /// # Errors
    /// When address or token cannot be meant.
    pub fn new(url: &str, token: &str) -> Result<Self, BadDaemon> {
        let parsed = reqwest::Url::parse(url).map_err(|_| BadDaemon::Url(url.to_owned()))?;
        let plain = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
        if !plain || parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(BadDaemon::Url(url.to_owned()));
        }
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(BadDaemon::Token);
        }
        // Fails when there is one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .connect_timeout(HANDSHAKE_TIMEOUT)
            .build()
            .map_err(BadDaemon::Tls)?;
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            url_file: None,
            token: token.to_owned(),
            client,
        })
    }

    /// The same, with its address read from a file before each link.
    #[must_use]
    pub fn read_from(mut self, file: Option<PathBuf>) -> Self {
        self.url_file = file;
        self
    }

    /// Reads where the daemon is now. False: the file is gone, and with it the data of the daemon.
    fn look(&mut self) -> bool {
        let Some(file) = &self.url_file else { return true };
        match std::fs::read_to_string(file) {
            Ok(url) if !url.trim().is_empty() => self.url = url.trim().trim_end_matches('/').to_owned(),
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return false,
            Err(e) => {
                tracing::warn!(file = %file.display(), error = %e, "the daemon's address cannot be read");
            }
        }
        true
    }

    /// Opens a link. The handshake is made by the HTTP client, so that an address may be https too.
    async fn dial(&self, agent: &Agent) -> Result<Socket<Upgraded>, NoLink> {
        let query = agent.settings().link_query();
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("name", &query.name)
            .append_pair("version", &query.version)
            .append_pair("os", &query.os)
            .append_pair("arch", &query.arch)
            .append_pair("directory", &query.directory)
            .finish();
        let request = self.client.get(format!("{}{LINK_PATH}?{query}", self.url)).bearer_auth(&self.token);
        let upgraded = websocket::open(request).await.map_err(|error| match error {
            NotOpened::Http(error) => error.into(),
            NotOpened::NoWebSocket => NoLink::NoWebSocket,
            NotOpened::Refused(response) => match response.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => NoLink::Token,
                StatusCode::NOT_FOUND => NoLink::Refused(
                    "the daemon knows no links for agents at this address; check --url and its version"
                        .into(),
                ),
                status => NoLink::Refused(format!("the daemon answers {status}")),
            },
        })?;
        Ok(Socket::new(upgraded, Role::Client).await)
    }
}

/// Keeps a link open until it is dropped, or nothing is left for which the daemon of this host has started the agent: its
/// data are gone, or the token is one of an earlier build. Processes and outcomes of the agent
/// outlive its links.
pub async fn run(agent: Arc<Agent>, mut daemon: Daemon) {
    let mut wait = BACKOFF.0;
    let mut refused_since = None;
    while daemon.look() {
        let dialled = timeout(HANDSHAKE_TIMEOUT, daemon.dial(&agent)).await.unwrap_or(Err(NoLink::Timeout));
        match &dialled {
            Err(NoLink::Token) if daemon.url_file.is_some() => {
                if refused_since.get_or_insert_with(Instant::now).elapsed() >= REFUSED_FOR {
                    tracing::warn!(url = %daemon.url, "the workspace was built anew or stopped; this agent ends");
                    return;
                }
            }
            _ => refused_since = None,
        }
        match dialled {
            Ok(socket) => {
                tracing::info!(url = %daemon.url, "linked to the daemon");
                let since = Instant::now();
                let lost = serve_link(&agent, socket).await;
                tracing::warn!(url = %daemon.url, error = %lost, "link lost; dialling again");
                // One that is closed at once, as by a newer agent with this token, is no good one.
                if since.elapsed() > LASTED {
                    wait = BACKOFF.0;
                }
            }
            Err(error) => tracing::warn!(url = %daemon.url, %error, "no link to the daemon; trying again"),
        }
        // Half to whole: the agents of a restarted daemon do not come back in step.
        sleep(wait.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
        wait = (wait * 2).min(BACKOFF.1);
    }
    tracing::warn!("the data of the daemon on this host are gone; there is nothing to come back to");
}

async fn serve_link(agent: &Arc<Agent>, socket: Socket<Upgraded>) -> Lost {
    if let Err(error) = serve(socket.clone(), agent.clone()).await {
        tracing::debug!(%error, "the connection inside of the link failed");
    }
    socket.lost()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_tokens_are_checked() {
        for url in ["http://127.0.0.1:7777", "https://chatd.example.org/base/"] {
            assert!(Daemon::new(url, "token").is_ok(), "{url}");
        }
        for url in ["chatd:7777", "ws://h", "http://", "http://h?x=1", ""] {
            assert!(matches!(Daemon::new(url, "token"), Err(BadDaemon::Url(_))), "{url}");
        }
        for token in ["", "a b", "a\n", "ü"] {
            assert!(matches!(Daemon::new("http://h", token), Err(BadDaemon::Token)), "{token:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        let mut moved = Daemon::new("http://h", "t").unwrap().read_from(Some(file.clone()));
        assert!(!moved.look());
        std::fs::write(&file, "http://other/\n").unwrap();
        assert!(moved.look() && moved.url == "http://other");
        let daemon = Daemon::new("http://h/", "very-secret").unwrap();
        assert_eq!(daemon.url, "http://h");
        assert!(!format!("{daemon:?}").contains("very-secret"));
    }
}
