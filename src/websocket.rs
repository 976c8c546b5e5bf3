//! Opening a WebSocket with the HTTP client: an address may be https, and its certificates, proxies and time limits are
//! those of every other request.

use reqwest::{RequestBuilder, Response, StatusCode, Upgraded, header};
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// The answer is another one; its body may say why.
    #[error("the answer has status {}", .0.status())]
    Refused(Box<Response>),
    /// The answer is not that of a WebSocket's server.
    #[error("what answers knows no WebSockets, or a proxy before it does not let them through")]
    NoWebSocket,
}

/// Sends a request of a client that speaks HTTP/1.1 only, and returns the bytes behind the handshake.
///
/// # Errors
/// When the other end does not agree.
pub async fn open(request: RequestBuilder) -> Result<Upgraded, NotOpened> {
    let key = generate_key();
    let response = request
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .send()
        .await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(NotOpened::Refused(Box::new(response)));
    }
    let proof = derive_accept_key(key.as_bytes());
    let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    if accepted.is_none_or(|value| value.as_bytes() != proof.as_bytes()) {
        return Err(NotOpened::NoWebSocket);
    }
    Ok(response.upgrade().await?)
}

/// Why a request failed, by its deepest cause: that says more than "error sending request". Without the address, which may
/// hold a password.
#[must_use]
pub fn cause(error: reqwest::Error) -> String {
    use std::error::Error as _;
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}
