//! HTTP/1.1 by hand, for both ends of the load: a general client would cost more than what it measures.

use crate::Result;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Largest message head.
const MAX_HEAD: usize = 16 << 10;
/// Largest body: a request with the history of a benchmark's chat is far smaller.
const MAX_BODY: usize = 16 << 20;
/// Header fields of one message.
const MAX_FIELDS: usize = 64;

/// A connection that is kept, and what was read ahead.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A request as the mock model sees it.
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
}

/// How the end of a body is found.
enum Length {
    Bytes(usize),
    Chunked,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// More bytes; `false` at the end of the connection.
    pub async fn fill(&mut self) -> Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// Length of the head in the buffer, read as far as needed; `None` when the peer closed instead.
    async fn head(&mut self) -> Result<Option<usize>> {
        let mut seen = 0;
        loop {
            let from = seen.min(self.buffer.len());
            if let Some(at) = self.buffer[from..].windows(4).position(|w| w == b"\r\n\r\n") {
                return Ok(Some(from + at + 4));
            }
            seen = self.buffer.len().saturating_sub(3);
            if self.buffer.len() > MAX_HEAD {
                return Err("the head of a message is too long".into());
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err("closed inside a head".into()) };
            }
        }
    }

    async fn body(&mut self, length: Length) -> Result<Vec<u8>> {
        match length {
            Length::Bytes(length) => self.take(length).await,
            Length::Chunked => {
                let mut body = Vec::new();
                loop {
                    let line = self.line().await?;
                    let size = usize::from_str_radix(std::str::from_utf8(&line)?.trim(), 16)?;
                    let chunk = self.take(size.saturating_add(2)).await?;
                    if size == 0 {
                        return Ok(body);
                    }
                    body.extend_from_slice(&chunk[..size]);
                }
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        if length > MAX_BODY {
            return Err("a body is too long".into());
        }
        while self.buffer.len() < length {
            if !self.fill().await? {
                return Err("closed inside a body".into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn line(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.iter().position(|b| *b == b'\n') {
                return Ok(self.buffer.drain(..=at).collect());
            }
            if self.buffer.len() > MAX_HEAD || !self.fill().await? {
                return Err("closed inside a chunk's size".into());
            }
        }
    }

    /// The next request; `None` when the client is done.
    pub async fn request(&mut self) -> Result<Option<Request>> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        parsed.parse(&self.buffer[..head])?;
        let method = parsed.method.unwrap_or_default().to_owned();
        let path = parsed.path.unwrap_or_default().to_owned();
        let length = length(parsed.headers)?.unwrap_or(Length::Bytes(0));
        self.buffer.drain(..head);
        let body = self.body(length).await?;
        Ok(Some(Request { method, path, body }))
    }

    async fn response(&mut self) -> Result<(u16, Vec<u8>)> {
        let head = self.head().await?.ok_or("the server closed the connection")?;
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        parsed.parse(&self.buffer[..head])?;
        let status = parsed.code.unwrap_or_default();
        let length = match length(parsed.headers)? {
            Some(length) => length,
            None if status == 204 => Length::Bytes(0),
            None => return Err("a response without a length".into()),
        };
        self.buffer.drain(..head);
        Ok((status, self.body(length).await?))
    }
}

fn length(fields: &[httparse::Header<'_>]) -> Result<Option<Length>> {
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-length") {
            return Ok(Some(Length::Bytes(std::str::from_utf8(field.value)?.trim().parse()?)));
        }
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Some(Length::Chunked));
        }
    }
    Ok(None)
}

/// A client with one kept connection.
pub struct Client {
    connection: Connection,
    address: SocketAddr,
    token: String,
}

impl Client {
    /// Connects; an empty `token` sends none.
    pub async fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        let connection = Connection::new(TcpStream::connect(address).await?)?;
        Ok(Self { connection, address, token: token.to_owned() })
    }

    /// Sends a request and reads the whole answer.
    pub async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        let Self { address, token, .. } = self;
        let session =
            if token.is_empty() { String::new() } else { format!("Coder-Session-Token: {token}\r\n") };
        let message = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{session}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let exchange = async {
            self.connection.write(message.as_bytes()).await?;
            self.connection.response().await
        };
        timeout(crate::PATIENCE, exchange).await.map_err(|_| format!("{method} {path}: no answer"))?
    }

    /// As [`Self::call`], where only this status will do.
    pub async fn expect(&mut self, status: u16, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
        let (got, answer) = self.call(method, path, body).await?;
        if got != status {
            return Err(format!("{method} {path}: {got} {}", String::from_utf8_lossy(&answer)).into());
        }
        Ok(answer)
    }
}
