//! What goes over the wire of one attempt, kept for debugging. Nothing is cleaned here except what the
//! transport knows to be secret; see [`super::redact`].

use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One request with its answer.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// Whole address.
    pub url: String,
    /// Names and values.
    pub request_headers: Vec<(String, String)>,
    /// What was sent.
    pub request_body: Bytes,
    /// Status.
    pub response_status: Option<u16>,
    /// Names and values.
    pub response_headers: Vec<(String, String)>,
    /// The body of an error; a stream is counted only.
    pub response_body: Option<String>,
    /// Bytes of the answer.
    pub response_bytes: usize,
}

/// The transport writes into it while the attempt runs. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Tap(Arc<Mutex<Exchange>>);

impl Tap {
    /// For the transport.
    pub(super) fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has gone over the wire so far.
    #[must_use]
    pub fn exchange(&self) -> Exchange {
        self.lock().clone()
    }
}

/// Names and values; what the transport marked as secret is masked.
pub(super) fn headers(map: &reqwest::header::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &reqwest::header::HeaderValue| {
        if value.is_sensitive() {
            super::redact::MASK.to_owned()
        } else {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        }
    };
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
