//! One conversation with an open WebSocket, on the proxy or on chatd.

use crate::{
    PATIENCE, Result,
    clock::mono,
    http::Client,
    mock_model::{ARRIVAL, DELTAS},
    proxy,
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use std::{borrow::Cow, net::SocketAddr};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue},
};

/// What a person says in each turn.
const TEXT: &str = "Say fifty words about nothing in particular.";

/// Where to talk to.
#[derive(Clone)]
pub enum Target {
    Proxy { address: SocketAddr },
    Chatd { address: SocketAddr, token: String, organization: String },
}

/// Times of one turn, in nanoseconds of the monotonic clock.
pub struct Turn {
    /// Before the message was written.
    pub sent: u64,
    /// When the answer to the request had been read.
    pub accepted: u64,
    /// When the model had read its request.
    pub arrived: u64,
    /// When the first delta had been received.
    pub first: u64,
    /// Model's write to subscriber's read, a delta each. chatd may skip those that the stored message
    /// overtakes.
    pub delays: Vec<u64>,
}

pub struct Session {
    socket: WebSocketStream<TcpStream>,
    /// `None` on the proxy.
    chat: Option<Chat>,
}

struct Chat {
    id: String,
    waiting: bool,
    /// Newest assistant message.
    assistant: i64,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message_part: Option<MessagePart<'a>>,
    #[serde(borrow)]
    message: Option<Stored<'a>>,
    #[serde(borrow)]
    status: Option<Status<'a>>,
}

#[derive(Deserialize)]
struct MessagePart<'a> {
    #[serde(borrow)]
    part: Part<'a>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Stored<'a> {
    id: i64,
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Vec<Part<'a>>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Created {
    id: String,
}

impl Target {
    pub fn proxy(address: SocketAddr) -> Self {
        Self::Proxy { address }
    }

    /// chatd, with the organization that this token's user is in.
    pub async fn chatd(address: SocketAddr, token: &str) -> Result<Self> {
        let mut http = Client::connect(address, token).await?;
        let list = http.expect(200, "GET", "/api/v2/users/me/organizations", "").await?;
        let list: Vec<Created> = serde_json::from_slice(&list)?;
        let organization = list.into_iter().next().ok_or("the user is in no organization")?.id;
        Ok(Self::Chatd { address, token: token.to_owned(), organization })
    }

    /// A connection for requests, which the proxy does not need.
    pub async fn http(&self) -> Result<Option<Client>> {
        match self {
            Self::Proxy { .. } => Ok(None),
            Self::Chatd { address, token, .. } => Ok(Some(Client::connect(*address, token).await?)),
        }
    }

    /// Makes a chat, whose first turn begins at once, and returns its id.
    pub async fn create(&self, http: &mut Client) -> Result<String> {
        let Self::Chatd { organization, .. } = self else { return Err("the proxy has no chats".into()) };
        let body = format!(
            r#"{{"organization_id":"{organization}","content":[{{"type":"text","text":"{TEXT}"}}]}}"#
        );
        let answer = http.expect(201, "POST", "/api/experimental/chats", &body).await?;
        Ok(serde_json::from_slice::<Created>(&answer)?.id)
    }

    /// A conversation that has had its first turn.
    pub async fn open(&self, http: Option<&mut Client>) -> Result<Session> {
        match (self, http) {
            (Self::Chatd { .. }, Some(http)) => {
                let id = self.create(http).await?;
                self.subscribe(id).await
            }
            (Self::Chatd { .. }, None) => Err("chatd needs a connection for requests".into()),
            (Self::Proxy { .. }, _) => {
                let mut session = self.connect_proxy().await?;
                session.turn(None).await?;
                Ok(session)
            }
        }
    }

    /// A socket to the proxy.
    pub async fn connect_proxy(&self) -> Result<Session> {
        let address = self.address();
        let (socket, _) = client_async(format!("ws://{address}/"), stream(address).await?).await?;
        Ok(Session { socket, chat: None })
    }

    /// Subscribes to a chat and waits until its turn is over.
    pub async fn subscribe(&self, id: String) -> Result<Session> {
        let Self::Chatd { address, token, .. } = self else { return Err("the proxy has no chats".into()) };
        let url = format!("ws://{address}/api/experimental/chats/{id}/stream");
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("Coder-Session-Token", HeaderValue::from_str(token)?);
        let (mut socket, _) = client_async(request, stream(*address).await?).await?;
        let mut chat = Chat { id, waiting: false, assistant: 0 };
        timeout(PATIENCE, read_turn(&mut socket, &mut chat))
            .await
            .map_err(|_| "no end of a first turn")??;
        Ok(Session { socket, chat: Some(chat) })
    }

    fn address(&self) -> SocketAddr {
        let (Self::Proxy { address } | Self::Chatd { address, .. }) = self;
        *address
    }
}

async fn stream(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Session {
    /// Says something and waits for the end of the turn.
    pub async fn turn(&mut self, http: Option<&mut Client>) -> Result<Turn> {
        let sent = mono();
        let mut accepted = sent;
        let turn = async {
            match (&mut self.chat, http) {
                (None, _) => {
                    self.socket.send(Message::text(TEXT)).await?;
                    read_proxied(&mut self.socket).await
                }
                (Some(chat), Some(http)) => {
                    let path = format!("/api/experimental/chats/{}/messages", chat.id);
                    let body = format!(r#"{{"content":[{{"type":"text","text":"{TEXT}"}}]}}"#);
                    // Together: a delta must not wait in the socket for the answer to the request.
                    let post = async {
                        http.expect(200, "POST", &path, &body).await?;
                        accepted = mono();
                        Ok(())
                    };
                    let ((), marks) = tokio::try_join!(post, read_turn(&mut self.socket, chat))?;
                    Ok(marks)
                }
                (Some(_), None) => Err("chatd needs a connection for requests".into()),
            }
        };
        let marks = timeout(PATIENCE, turn).await.map_err(|_| "no end of a turn")??;
        if marks.words != DELTAS {
            return Err(format!("{} deltas arrived instead of {DELTAS}", marks.words).into());
        }
        Ok(Turn { sent, accepted, arrived: marks.arrived, first: marks.first, delays: marks.delays })
    }

    /// Reads whatever comes and looks at none of it, until the server ends the stream.
    pub async fn listen(mut self) -> Result<()> {
        while let Some(frame) = self.socket.next().await {
            frame?;
        }
        Ok(())
    }

    /// Says goodbye.
    pub async fn close(mut self) -> Result<()> {
        Ok(self.socket.close(None).await?)
    }
}

/// What the deltas of a turn say.
#[derive(Default)]
struct Marks {
    arrived: u64,
    first: u64,
    /// The newest delta: after a resynchronisation the ones before come again.
    newest: u64,
    delays: Vec<u64>,
    /// Deltas whose text has come, live or in the stored message.
    words: usize,
}

impl Marks {
    fn text(&mut self, text: &str, now: u64) -> Result<()> {
        for word in text.split_ascii_whitespace() {
            if let Some(arrived) = word.strip_prefix(ARRIVAL) {
                self.arrived = arrived.parse()?;
                continue;
            }
            let stamp: u64 = word.parse()?;
            if stamp <= self.newest {
                continue;
            }
            self.newest = stamp;
            if self.first == 0 {
                self.first = now;
            }
            self.delays.push(now.saturating_sub(stamp));
            self.words += 1;
        }
        Ok(())
    }

    /// The stored message is the whole truth: it may be there before any delta has been sent on.
    fn stored(&mut self, text: &str, now: u64) -> Result<()> {
        let live = std::mem::take(&mut self.delays);
        (self.newest, self.words) = (0, 0);
        self.text(text, now)?;
        self.delays = live;
        Ok(())
    }
}

async fn read_proxied(socket: &mut WebSocketStream<TcpStream>) -> Result<Marks> {
    let mut marks = Marks::default();
    loop {
        let frame = socket.next().await.ok_or("the proxy closed the socket")??;
        let now = mono();
        match frame {
            Message::Text(text) if text.as_str() == proxy::END => return Ok(marks),
            Message::Text(text) => marks.text(&text, now)?,
            Message::Close(_) => return Err("the proxy closed the socket".into()),
            _ => {}
        }
    }
}

/// Reads until a newer assistant message is stored and the chat waits.
async fn read_turn(socket: &mut WebSocketStream<TcpStream>, chat: &mut Chat) -> Result<Marks> {
    let before = chat.assistant;
    let mut marks = Marks::default();
    loop {
        let frame = socket.next().await.ok_or("chatd closed the stream")??;
        let now = mono();
        let text = match frame {
            Message::Text(text) => text,
            Message::Close(frame) => return Err(format!("chatd closed the stream: {frame:?}").into()),
            _ => continue,
        };
        let events: Vec<Event<'_>> = serde_json::from_str(&text)?;
        for event in events {
            match (event.message_part, event.message, event.status) {
                (Some(MessagePart { part }), _, _) if part.kind == "text" => {
                    marks.text(part.text.as_deref().unwrap_or_default(), now)?;
                }
                (_, Some(message), _) if message.role == "assistant" => {
                    if message.id > before {
                        let text: String = message.content.iter().filter_map(|p| p.text.as_deref()).collect();
                        marks.stored(&text, now)?;
                    }
                    chat.assistant = chat.assistant.max(message.id);
                }
                (_, _, Some(status)) => chat.waiting = status.status == "waiting",
                _ if event.kind == "error" || event.kind == "retry" => {
                    return Err(format!("the turn failed: {}", text.as_str()).into());
                }
                _ => {}
            }
        }
        // One frame may bring a whole turn: what counts is how it leaves things.
        if chat.assistant > before && chat.waiting {
            return Ok(marks);
        }
    }
}
