//! HTTP/1.1, as little of it as a client of one route needs: `Content-Length` in, keep-alive, and chunks
//! out. Not for the open network: the listener is on 127.0.0.1.

use super::{
    reply::{Answer, Player, Step},
    validate::validate,
};
use serde_json::{Value, json};
use std::io;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

/// Most bytes of a request's head and body.
const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;

struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
    keep_alive: bool,
}

enum Read {
    Request(Request),
    /// Answer with this status, then close.
    Refuse(u16, &'static str),
    Closed,
}

/// Serves a connection until one side closes it.
pub(super) async fn serve(mut socket: TcpStream, player: &Player) {
    // Without it small chunks wait for acknowledgements. A socket that refuses is merely slower.
    let _nagle = socket.set_nodelay(true);
    let mut buffer = Vec::new();
    // An error means that the client is gone; nobody is left to tell.
    while let Ok(read) = read_request(&mut socket, &mut buffer).await {
        let kept = match read {
            Read::Closed => return,
            Read::Refuse(status, why) => {
                respond(&mut socket, status, None, &error(why), false).await.and(Ok(false))
            }
            Read::Request(request) => handle(&mut socket, &request, player).await,
        };
        if !matches!(kept, Ok(true)) {
            return;
        }
    }
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Read> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > MAX_HEAD {
            return Ok(Read::Refuse(431, "the request head is too large"));
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(Read::Closed);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let header = |name: &str| {
        head.split("\r\n")
            .skip(1)
            .filter_map(|l| l.split_once(':'))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    };
    if header("transfer-encoding").is_some() {
        return Ok(Read::Refuse(411, "send the body with a content-length"));
    }
    let Ok(length) = header("content-length").map_or(Ok(0), str::parse::<usize>) else {
        return Ok(Read::Refuse(400, "content-length is no number"));
    };
    if length > MAX_BODY {
        return Ok(Read::Refuse(413, "the request body is too large"));
    }
    if header("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
        socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let keep_alive = !header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let end = head_end + 4 + length;
    while buffer.len() < end {
        if socket.read_buf(buffer).await? == 0 {
            return Ok(Read::Closed);
        }
    }
    let request =
        Request { method: method.to_owned(), path, body: buffer[head_end + 4..end].to_vec(), keep_alive };
    buffer.drain(..end);
    Ok(Read::Request(request))
}

/// Answers; true when the connection stays.
async fn handle(socket: &mut TcpStream, request: &Request, player: &Player) -> io::Result<bool> {
    let keep = request.keep_alive;
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", path) if path.ends_with("/chat/completions") => match validate(&request.body) {
            Err(why) => respond(socket, 400, None, &invalid(&why), keep).await?,
            Ok(asked) => match player.answer(&asked) {
                Answer::Status(status, retry_after, body) => {
                    respond(socket, status, retry_after.as_deref(), &body, keep).await?;
                }
                Answer::Stream(steps) => return stream(socket, steps, keep).await,
            },
        },
        ("GET", path) if path.ends_with("/models") => {
            let models = json!({ "object": "list", "data": [{ "id": "scripted", "object": "model", "owned_by": "chatd" }] });
            respond(socket, 200, None, &models, keep).await?;
        }
        _ => {
            let why = "there is only POST /v1/chat/completions and GET /v1/models";
            respond(socket, 404, None, &error(why), keep).await?;
        }
    }
    Ok(keep)
}

async fn stream(socket: &mut TcpStream, steps: Vec<Step>, keep: bool) -> io::Result<bool> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    for step in steps {
        match step {
            Step::Cut => return Ok(false),
            Step::Data(delay, data) => {
                if !delay.is_zero() {
                    sleep(delay).await;
                }
                let event = format!("data: {data}\n\n");
                socket.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
            }
        }
    }
    socket.write_all(b"0\r\n\r\n").await?;
    Ok(keep)
}

async fn respond(
    socket: &mut TcpStream,
    status: u16,
    retry_after: Option<&str>,
    body: &Value,
    keep: bool,
) -> io::Result<()> {
    let body = body.to_string();
    // A header value ends at a line break, whatever the script says.
    let retry =
        retry_after.map(|v| format!("retry-after: {}\r\n", v.replace(['\r', '\n'], " "))).unwrap_or_default();
    let connection = if keep { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{retry}connection: {connection}\r\n\r\n",
        body.len()
    );
    socket.write_all((head + &body).as_bytes()).await
}

fn error(why: &str) -> Value {
    json!({ "error": { "message": why, "type": "invalid_request_error" } })
}

fn invalid(why: &str) -> Value {
    json!({ "error": { "message": format!("Invalid request: {why}."), "type": "invalid_request_error" } })
}
