//! A daemon's end of the link, and real `chatd agent` processes that dial it.

use super::Client;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::StatusCode;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

const PATIENCE: Duration = Duration::from_secs(30);
/// The user without rights of every Linux.
const NOBODY: u32 = 65534;
pub const TOKEN: &str = "agent-token-canary";
const PROGRAM: &str = env!("CARGO_BIN_EXE_chatd");

/// Waits for agents.
pub struct FarEnd {
    listener: TcpListener,
}

/// A link that an agent has opened.
pub struct Link {
    pub client: Client,
    /// Path and query it dialled.
    pub target: String,
    carrier: JoinHandle<()>,
}

impl Link {
    /// Breaks the connection, without a word.
    pub fn cut(self) {
        self.carrier.abort();
    }
}

impl FarEnd {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().expect("it is bound"))
    }

    async fn connection(&self) -> TcpStream {
        let dialled = timeout(PATIENCE, self.listener.accept()).await.expect("an agent dials");
        dialled.expect("accept").0
    }

    /// Refuses the next dial with this status.
    pub async fn refuse(&self, status: StatusCode) {
        #[allow(clippy::result_large_err, reason = "the type is the library's")]
        let refuse = |_: &Request, _: Response| -> Result<Response, ErrorResponse> {
            let mut refused = ErrorResponse::new(None);
            *refused.status_mut() = status;
            Err(refused)
        };
        let refused = accept_hdr_async(self.connection().await, refuse).await;
        assert!(refused.is_err());
    }

    /// Takes the next dial, which has to bring the token.
    pub async fn link(&self) -> Link {
        let (socket, target) = self.socket().await;
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let carrier = tokio::spawn(carry(socket, theirs));
        Link { client: Client::over(ours).await, target, carrier }
    }

    /// Takes the next dial and says nothing any more: the link is half open.
    pub async fn half_open(&self) -> WebSocketStream<TcpStream> {
        self.socket().await.0
    }

    async fn socket(&self) -> (WebSocketStream<TcpStream>, String) {
        let mut target = String::new();
        #[allow(clippy::result_large_err, reason = "the type is the library's")]
        let look = |request: &Request, response: Response| {
            let bearer = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            assert_eq!(bearer, Some(format!("Bearer {TOKEN}").as_str()));
            target = request.uri().to_string();
            Ok(response)
        };
        let socket = accept_hdr_async(self.connection().await, look).await.expect("a WebSocket handshake");
        (socket, target)
    }
}

async fn carry(socket: WebSocketStream<TcpStream>, pipe: tokio::io::DuplexStream) {
    let (mut sink, mut messages) = socket.split();
    let (mut from, mut into) = tokio::io::split(pipe);
    let outwards = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if sink.send(Message::binary(buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let inwards = async {
        while let Some(Ok(message)) = messages.next().await {
            if let Message::Binary(bytes) = message
                && into.write_all(&bytes).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = outwards => {}
        () = inwards => {}
    }
}

/// A running `chatd agent`.
pub struct AgentProcess {
    child: Child,
    pub folder: tempfile::TempDir,
    /// Where the program itself lies, if not where it was built.
    _program: Option<tempfile::TempDir>,
}

impl AgentProcess {
    pub fn start(url: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("chatd-agent-").tempdir().expect("make a folder");
        let child = command(Path::new(PROGRAM), url, folder.path()).spawn().expect("start chatd agent");
        Self { child, folder, _program: None }
    }

    /// Under a user who may do nothing, in a folder of that user's.
    pub fn start_as_nobody(url: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("chatd-agent-").tempdir().expect("make a folder");
        std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("give the folder away");
        // What was built may lie in a home that only its owner may enter, as root's does.
        let bin = tempfile::Builder::new().prefix("chatd-bin-").tempdir().expect("make a folder");
        fs::set_permissions(bin.path(), fs::Permissions::from_mode(0o755)).expect("open the folder");
        let program = bin.path().join("chatd");
        fs::copy(PROGRAM, &program).expect("copy the program");
        let mut command = command(&program, url, folder.path());
        let child = command.uid(NOBODY).gid(NOBODY).spawn().expect("start chatd agent");
        Self { child, folder, _program: Some(bin) }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().expect("not waited for")).expect("a process id"))
    }

    /// Sends a signal and waits for the end.
    pub async fn end(mut self, signal: Signal) -> Option<i32> {
        kill(self.pid(), signal).expect("signal the agent");
        self.ended().await
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> Option<i32> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the agent ends").expect("wait for a child").code()
    }
}

fn command(program: &Path, url: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["agent", "--url", url, "--name", "test agent", "--dir"]).arg(folder);
    command.args(["--log-filter", "info,chatd=debug"]);
    command.env_clear().env("HOME", folder).env("CHATD_AGENT_TOKEN", TOKEN);
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}
