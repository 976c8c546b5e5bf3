//! Just enough HTTP/1.1 for a fake server: requests with a length or chunks, answers in chunks.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Head and body may not be larger; a prompt with images is a few megabytes.
const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: usize = 256 << 20;

/// One request as it arrived. Header names are lower-case.
#[derive(Debug)]
pub struct HttpRequest {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The client is gone.
#[derive(Debug)]
pub struct ClientClosed;

/// One keep-alive connection.
pub struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn new(socket: TcpStream) -> Self {
        // A delta must leave at once; an error only means that the client is gone, as the next read shows.
        drop(socket.set_nodelay(true));
        Self { socket, buffer: Vec::new() }
    }

    /// Reads more bytes; false at the end of the stream.
    async fn fill(&mut self) -> bool {
        matches!(self.socket.read_buf(&mut self.buffer).await, Ok(n) if n > 0)
    }

    async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line =
                    String::from_utf8(self.buffer[..at].to_vec()).map_err(|_| "a head that is no text")?;
                self.buffer.drain(..at + 2);
                return Ok(line);
            }
            if self.buffer.len() > MAX_HEAD || !self.fill().await {
                return Err("a request that was cut in its head".to_owned());
            }
        }
    }

    async fn take(&mut self, count: usize) -> Result<Vec<u8>, String> {
        if count > MAX_BODY {
            return Err(format!("a body of {count} bytes"));
        }
        while self.buffer.len() < count {
            if !self.fill().await {
                return Err("a request that was cut in its body".to_owned());
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// The next request; `None` when the client closed the connection between two.
    pub async fn read_request(&mut self) -> Result<Option<HttpRequest>, String> {
        if self.buffer.is_empty() && !self.fill().await {
            return Ok(None);
        }
        let first = self.line().await?;
        let mut words = first.split(' ');
        let (Some(method), Some(path), Some("HTTP/1.1")) = (words.next(), words.next(), words.next()) else {
            return Err(format!("not a request line: {first:?}"));
        };
        let (method, path) = (method.to_owned(), path.to_owned());
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| format!("not a header: {line:?}"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        let body = if header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            self.chunks().await?
        } else {
            let length = header("content-length").unwrap_or_else(|| "0".to_owned());
            self.take(length.parse().map_err(|_| format!("not a length: {length:?}"))?).await?
        };
        Ok(Some(HttpRequest { method, path, headers, body }))
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| format!("not a chunk size: {line:?}"))?;
            body.extend(self.take(size).await?);
            if body.len() > MAX_BODY {
                return Err("a body without end".to_owned());
            }
            self.line().await?; // after the data, or the empty trailer
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientClosed> {
        self.socket.write_all(bytes).await.map_err(|_| ClientClosed)
    }

    /// Sends a whole answer.
    pub async fn send(
        &mut self,
        status: u16,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<(), ClientClosed> {
        let mut head = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes()).await?;
        self.write(body).await
    }

    /// Begins an event stream.
    pub async fn begin_stream(&mut self, headers: &[(String, String)]) -> Result<(), ClientClosed> {
        let mut head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n".to_owned();
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes()).await
    }

    /// Sends bytes of the stream as one chunk.
    pub async fn chunk(&mut self, bytes: &[u8]) -> Result<(), ClientClosed> {
        if bytes.is_empty() {
            return Ok(()); // an empty chunk would end the stream
        }
        let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
        framed.extend_from_slice(bytes);
        framed.extend_from_slice(b"\r\n");
        self.write(&framed).await
    }

    /// Ends the stream in order.
    pub async fn end_stream(&mut self) -> Result<(), ClientClosed> {
        self.write(b"0\r\n\r\n").await
    }

    /// Returns once the client has closed the connection.
    pub async fn client_closes(&mut self) {
        while self.fill().await {}
    }
}

/// Headers and bytes of a scripted failure.
pub fn body_bytes(body: &Value) -> (&'static str, Vec<u8>) {
    match body {
        Value::String(text) => ("text/plain", text.clone().into_bytes()),
        other => ("application/json", other.to_string().into_bytes()),
    }
}
