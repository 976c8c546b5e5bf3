//! A cable between two replicas that can be cut.

use std::net::SocketAddr;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

#[derive(Debug, Clone, Copy, Default)]
struct State {
    upstream: Option<SocketAddr>,
    cut: bool,
    accepted: usize,
}

/// Forwards connections to an address that is set later. Ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    server: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Proxy {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = watch::Sender::new(State::default());
        let server = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leads to this URL from now on.
    pub fn lead_to(&self, url: &str) {
        let address = url.trim_start_matches("http://").parse().expect("http://ADDRESS");
        self.state.send_modify(|s| s.upstream = Some(address));
    }

    /// Ends every connection; new ones end at once.
    pub fn cut(&self) {
        self.state.send_modify(|s| s.cut = true);
    }

    pub fn restore(&self) {
        self.state.send_modify(|s| s.cut = false);
    }

    /// Waits until so many connections have been asked for since the start.
    pub async fn accepted(&self, count: usize) {
        let mut state = self.state.subscribe();
        let wait =
            tokio::time::timeout(std::time::Duration::from_secs(20), state.wait_for(|s| s.accepted >= count));
        assert!(wait.await.is_ok(), "{count} connections were not asked for");
    }

    /// Connections asked for since the start.
    pub fn count(&self) -> usize {
        self.state.borrow().accepted
    }
}

async fn accept(listener: TcpListener, state: watch::Sender<State>) {
    while let Ok((near, _)) = listener.accept().await {
        state.send_modify(|s| s.accepted += 1);
        let now = *state.borrow();
        let Some(upstream) = now.upstream.filter(|_| !now.cut) else { continue };
        let mut watching = state.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = forward(near, upstream) => {}
                _ = watching.wait_for(|s| s.cut) => {}
            }
        });
    }
}

async fn forward(mut near: TcpStream, upstream: SocketAddr) {
    if let Ok(mut far) = TcpStream::connect(upstream).await {
        // Either side may go at any time; that is what the test is about.
        drop(copy_bidirectional(&mut near, &mut far).await);
    }
}
