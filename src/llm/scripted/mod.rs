//! A model that plays a script: an HTTP server on the loopback interface that speaks Chat Completions.
//!
//! The demo, the documentation and the default configuration use it, so that chatd works without any
//! account. It is as strict as the strictest real provider: a history with an unanswered call, an answer
//! without a call, or two messages of one role in a row gets a 400 that says what is wrong.

mod http;
mod reply;
mod script;
#[cfg(test)]
mod tests;
mod validate;

pub use script::{Failing, Piece, Rule, Say, Script, ScriptError, Spoken, ToolUse, When};

use std::{io, net::SocketAddr, sync::Arc};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};

/// Most connections at a time; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 64;

/// A running scripted model. It stops when this is dropped.
#[derive(Debug)]
pub struct ScriptedServer {
    address: SocketAddr,
    task: AbortHandle,
}

impl ScriptedServer {
    /// The base URL for a provider of type `scripted` or `openai-compat`. Any key will do.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort(); // and with it the set of its connections
    }
}

/// Starts a scripted model on a free port of 127.0.0.1.
///
/// # Errors
/// When no port can be bound.
pub async fn start(script: Script) -> io::Result<ScriptedServer> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(accept(listener, Arc::new(reply::Player::new(script)))).abort_handle();
    Ok(ScriptedServer { address, task })
}

async fn accept(listener: TcpListener, player: Arc<reply::Player>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {} // forget the finished ones
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let player = Arc::clone(&player);
                connections.spawn(async move {
                    http::serve(socket, &player).await;
                    drop(permit);
                });
            }
            // Out of file descriptors, or a client that gave up: let others run first.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Whether this server would take a request body.
#[cfg(test)]
pub(super) fn check(body: &[u8]) -> Result<(), String> {
    validate::validate(body).map(|_| ())
}
