//! Real sockets against a server that misbehaves in every known way.

use super::*;
use crate::llm::{
    failure::FailureKind,
    request::{PromptMessage, UserContent},
};
use std::{future::Future, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A server for one connection: reads a request, then does what it is told.
async fn fake<F, R>(
    then: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<(String, R)>)
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let request = read_request(&mut socket).await;
        (request, then(socket).await)
    });
    (address, task)
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "))
                .map_or(0, |l| l.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "the request is complete");
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const HI: &[u8] = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const END: &[u8] =
    b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const KEY: &str = "sk-secret-1234567890";

fn endpoint(address: SocketAddr) -> Endpoint {
    let base = format!("http://{address}/v1");
    let mut endpoint =
        providers::lookup("openai").unwrap().endpoint(Some(&base), Some(KEY.into()), false).unwrap();
    endpoint.headers.push(("x-extra".into(), "1".into()));
    endpoint
}

fn request() -> Request {
    Request {
        model: "m".into(),
        messages: vec![PromptMessage::User(vec![UserContent::Text("hi".into())])],
        ..Request::default()
    }
}

fn direct() -> reqwest::Client {
    client().unwrap()
}

async fn answer(address: SocketAddr) -> Vec<Result<Event, Failure>> {
    stream(&direct(), &endpoint(address), &request()).collect().await
}

/// The failure that ends the answer of a server which sends `bytes` and closes.
async fn failure_of(bytes: impl Future<Output = Vec<Vec<u8>>> + Send + 'static) -> Failure {
    let (address, _server) = fake(async move |mut socket: TcpStream| {
        for piece in bytes.await {
            if socket.write_all(&piece).await.is_err() {
                return; // the client has had enough
            }
        }
    })
    .await;
    answer(address).await.pop().expect("something").expect_err("a failure")
}

fn response(status: &str, headers: &str, body: &str) -> Vec<Vec<u8>> {
    let length = body.len();
    vec![format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes()]
}

#[tokio::test]
async fn an_answer_arrives_and_the_request_is_complete() {
    let (address, server) = fake(async |mut socket: TcpStream| {
        socket.write_all(&[OK, HI, END].concat()).await.unwrap();
    })
    .await;
    let events = answer(address).await;
    assert_eq!(events[1], Ok(Event::TextDelta("hi".into())));
    assert!(matches!(events.last(), Some(Ok(Event::Finish(_)))));
    let (head, ()) = server.await.unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("authorization: Bearer {KEY}\r\n")) && head.contains("x-extra: 1\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_status_is_kept_with_its_waiting_time_and_without_the_key() {
    let body = format!("{{\"error\":{{\"message\":\"slow down, {KEY}\"}}}}");
    let failure = failure_of(async move {
        response(
            "429 Too Many Requests",
            "content-type: application/json\r\nretry-after-ms: 1500\r\nretry-after: 9\r\n",
            &body,
        )
    })
    .await;
    assert_eq!(
        (failure.kind, failure.retryable, failure.status_code),
        (FailureKind::RateLimit, true, Some(429))
    );
    assert_eq!(failure.retry_after, Some(Duration::from_millis(1500)));
    assert_eq!(failure.detail.as_deref(), Some("slow down, [REDACTED]"));
    assert!(!format!("{failure:?}").contains(KEY));
}

#[tokio::test]
async fn an_endless_error_body_is_cut() {
    let failure = failure_of(async {
        let head = b"HTTP/1.1 500 No\r\nconnection: close\r\n\r\n".to_vec();
        std::iter::once(head).chain(std::iter::repeat_n(vec![b'x'; 1 << 16], 64)).collect()
    })
    .await;
    assert_eq!(
        (failure.kind, failure.retryable, failure.status_code),
        (FailureKind::Generic, true, Some(500))
    );
}

#[tokio::test]
async fn a_cut_stream_is_a_retryable_timeout() {
    let failure =
        failure_of(async { vec![OK.to_vec(), HI.to_vec(), b"data: {\"choices\":[{\"ind".to_vec()] }).await;
    assert_eq!((failure.kind, failure.retryable), (FailureKind::Timeout, true));
    let chunked =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nda";
    let failure = failure_of(async { vec![chunked.to_vec()] }).await;
    assert_eq!((failure.kind, failure.retryable), (FailureKind::Timeout, true));
}

#[tokio::test]
async fn a_missing_last_blank_line_or_done_is_forgiven() {
    let end = END.split(|b| *b == b'\n').next().unwrap();
    let bytes = [OK, HI, end, b"\n"].concat();
    let (address, _server) =
        fake(async move |mut socket: TcpStream| socket.write_all(&bytes).await.unwrap()).await;
    assert!(matches!(answer(address).await.last(), Some(Ok(Event::Finish(_)))));
}

#[tokio::test]
async fn silence_is_noticed_even_between_keep_alives() {
    let (address, server) = fake(async |mut socket: TcpStream| {
        socket.write_all(&[OK, HI].concat()).await.unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            tick.tick().await;
            let nothing = b": alive\n\nevent: ping\ndata: {}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}}]}\n\n";
            if socket.write_all(nothing).await.is_err() {
                return;
            }
        }
    })
    .await;
    let mut endpoint = endpoint(address);
    endpoint.idle_timeout = Duration::from_millis(400);
    let mut events = stream(&direct(), &endpoint, &request());
    assert_eq!(events.next().await, Some(Ok(Event::TextStart)));
    assert_eq!(events.next().await, Some(Ok(Event::TextDelta("hi".into()))));
    let last = timeout(Duration::from_secs(20), events.next()).await.expect("silence is noticed");
    let failure = last.unwrap().unwrap_err();
    assert_eq!((failure.kind, failure.retryable), (FailureKind::StreamSilenceTimeout, true));
    assert!(events.next().await.is_none());
    drop(events);
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_that_keeps_the_connection_after_its_reason_is_not_waited_for() {
    let (address, _server) = fake(async |mut socket: TcpStream| {
        let end = END.split(|b| *b == b'\n').next().unwrap();
        socket.write_all(&[OK, HI, end, b"\n\n"].concat()).await.unwrap();
        socket.read_to_end(&mut Vec::new()).await
    })
    .await;
    let mut endpoint = endpoint(address);
    endpoint.idle_timeout = Duration::from_mins(1);
    let events = stream(&direct(), &endpoint, &request()).collect::<Vec<_>>();
    let events = timeout(Duration::from_secs(30), events).await.expect("less than the longest silence");
    assert!(matches!(events.last(), Some(Ok(Event::Finish(_)))), "{events:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_silent_too() {
    let (address, _server) =
        fake(async |mut socket: TcpStream| socket.read_to_end(&mut Vec::new()).await).await;
    let mut endpoint = endpoint(address);
    endpoint.idle_timeout = Duration::from_millis(50);
    let failure = stream(&direct(), &endpoint, &request()).next().await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::StreamSilenceTimeout);
}

#[tokio::test]
async fn a_line_without_end_is_refused() {
    let failure = failure_of(async {
        std::iter::once(OK.to_vec()).chain(std::iter::repeat_n(vec![b'x'; 1 << 20], 24)).collect()
    })
    .await;
    assert_eq!((failure.kind, failure.retryable), (FailureKind::Config, false));
}

#[tokio::test]
async fn bytes_that_are_no_text_kill_nothing() {
    let odd = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\xff\xfeb\"}}]}\n\n";
    let bytes = [OK, odd, END].concat();
    let (address, _server) =
        fake(async move |mut socket: TcpStream| socket.write_all(&bytes).await.unwrap()).await;
    let events = answer(address).await;
    assert_eq!(events[1], Ok(Event::TextDelta("a\u{fffd}\u{fffd}b".into())));
    let failure = failure_of(async { vec![OK.to_vec(), b"data: \xff\xfe\n\n".to_vec()] }).await;
    assert_eq!(failure.kind, FailureKind::Generic);
}

#[tokio::test]
async fn dropping_the_stream_closes_the_socket() {
    let (address, server) = fake(async |mut socket: TcpStream| {
        socket.write_all(&[OK, HI].concat()).await.unwrap();
        let mut rest = Vec::new();
        // Ends when the client closes; a reset is as good.
        let _ = socket.read_to_end(&mut rest).await;
        rest.len()
    })
    .await;
    let mut events = stream(&direct(), &endpoint(address), &request());
    assert_eq!(events.next().await, Some(Ok(Event::TextStart)));
    drop(events);
    let (_, rest) = timeout(Duration::from_secs(5), server).await.expect("the server sees the end").unwrap();
    assert_eq!(rest, 0);
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_explained() {
    let json = "content-type: application/json\r\n";
    let failure = failure_of(async move { response("200 OK", json, "{\"choices\":[]}") }).await;
    assert_eq!((failure.kind, failure.retryable), (FailureKind::Config, false));
    assert!(failure.detail.unwrap().contains("event stream"));
    let failure =
        failure_of(async move { response("200 OK", json, "{\"error\":{\"message\":\"rate limit\"}}") }).await;
    assert_eq!(failure.kind, FailureKind::RateLimit);
}

#[tokio::test]
async fn redirects_are_not_followed_with_the_key() {
    let failure = failure_of(async { response("307 Go", "location: http://127.0.0.1:1/\r\n", "") }).await;
    assert_eq!((failure.kind, failure.status_code), (FailureKind::Config, Some(307)));
}

#[tokio::test]
async fn a_refused_connection_is_retryable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = answer(address).await.pop().unwrap().unwrap_err();
    assert_eq!((failure.kind, failure.retryable), (FailureKind::Timeout, true));
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reused, mut was_reused) = tokio::sync::mpsc::channel(1);
    let taken = std::sync::Arc::new(tokio::sync::Notify::new());
    let client_has_it = taken.clone();
    let server = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (reused, client_has_it) = (reused.clone(), client_has_it.clone());
            tokio::spawn(async move {
                for served in 0.. {
                    if socket.readable().await.is_err() || socket.peek(&mut [0]).await.unwrap_or(0) == 0 {
                        return;
                    }
                    read_request(&mut socket).await;
                    if served > 0 {
                        let _ = reused.try_send(()); // full: it is known already
                    }
                    let body = [HI, END].concat();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
                        body.len() + 2
                    );
                    socket.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
                    // As with a terminating chunk, two bytes come after the end of the answer.
                    client_has_it.notified().await;
                    if socket.write_all(b"\n\n").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let client = direct();
    // The rest of an answer is read by a task of its own, so the very next call may come too early.
    for _ in 0..100 {
        let events: Vec<_> = stream(&client, &endpoint(address), &request()).collect().await;
        assert!(events.iter().all(Result::is_ok), "{events:?}");
        taken.notify_one();
        tokio::task::yield_now().await;
        if was_reused.try_recv().is_ok() {
            server.abort();
            return;
        }
    }
    panic!("every call opened a connection");
}

#[tokio::test]
async fn secrets_are_not_printed() {
    let endpoint = endpoint(([127, 0, 0, 1], 1).into());
    assert!(!format!("{endpoint:?}").contains(KEY));
}
