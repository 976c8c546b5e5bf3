//! The agent's HTTP: which handler answers which request.

use super::{
    Agent,
    answer::{Answer, Body, Caller, Query, Refusal, parse},
    calls::{Digest, digest, failed},
    context, edit_files, files, git, process_calls,
};
use crate::workspace::{
    body::{Received, send},
    wire::{BASE, MAX_BODY, TOOLS_VERSION},
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::server::{Builder, SendResponse};
use http_body_util::{BodyExt as _, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Body as _, header::HeaderValue};
use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite};

/// Requests at once over one link. A chat makes few; a daemon that makes more waits.
const MAX_REQUESTS: u32 = 256;
/// Requests that may have been taken back before the agent has looked at them: chats are interrupted while it stands still.
/// Beyond that the other end is taken for one that wants to wear it out (CVE-2023-44487).
const MAX_TAKEN_BACK: usize = 4096;
/// Most bytes of a request's body, and of all bodies, that may be on their way and not read yet.
const WINDOW: u32 = 1 << 20;
/// Most bytes of the headers of a request.
const MAX_HEADERS: u32 = 16 << 10;

/// Serves HTTP/2 over a pipe of bytes until it ends. What requests have begun goes on where the
/// protocol says so: processes, and calls with an id.
///
/// # Errors
/// When the pipe fails, or what comes out of it is no HTTP/2.
pub async fn serve<I>(io: I, agent: Arc<Agent>) -> Result<(), h2::Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_REQUESTS)
        .max_pending_accept_reset_streams(MAX_TAKEN_BACK)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEADERS);
    let mut connection = builder.handshake(io).await?;
    while let Some(asked) = connection.accept().await {
        let (request, respond) = asked?;
        let mut carried = carry(agent.clone(), request.map(Received::request), respond).boxed();
        // Most is over at once, as a read of a file in the kernel's memory: without a task of its own it is answered two
        // looks of this task earlier. Whatever is not is asked again by the task it gets.
        if carried.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(carried);
        }
    }
    Ok(())
}

/// Answers a request, unless nobody waits for the answer any more.
async fn carry(agent: Arc<Agent>, request: Request<Received>, mut respond: SendResponse<Bytes>) {
    let path = request.uri().path().to_owned();
    let work = AssertUnwindSafe(answer(&agent, request)).catch_unwind();
    let answered = tokio::select! {
        biased;
        answered = work => answered,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let response = answered.unwrap_or_else(|_| {
        tracing::error!(%path, "a request failed");
        Answer::from(failed()).into()
    });
    let (head, body) = response.into_parts();
    let sent = match respond.send_response(Response::from_parts(head, ()), body.is_end_stream()) {
        Ok(mut into) if !body.is_end_stream() => send(body, &mut into).await,
        sent => sent.map(drop),
    };
    if let Err(error) = sent {
        tracing::debug!(%path, %error, "an answer was not taken");
    }
}

async fn answer(agent: &Arc<Agent>, request: Request<Received>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut response = route(agent, request, &path).await.unwrap_or_else(|refusal| {
        tracing::debug!(%path, status = %refusal.status, message = %refusal.body.message, "refused");
        Answer::from(refusal).into()
    });
    // The daemon keeps the list of tools, and nothing but an answer can tell it that there is another one.
    let version = HeaderValue::from(agent.servers.version());
    response.headers_mut().insert(TOOLS_VERSION, version);
    response
}

/// Paths and the methods they have, for telling an unknown path from a wrong method.
const PATHS: [(&str, Method); 13] = [
    ("read-file", Method::GET),
    ("read-file-lines", Method::GET),
    ("resolve-path", Method::GET),
    ("list-directory", Method::POST),
    ("write-file", Method::POST),
    ("edit-files", Method::POST),
    ("processes/start", Method::POST),
    ("processes/list", Method::GET),
    ("context-config", Method::GET),
    ("mcp/tools", Method::GET),
    ("mcp/call-tool", Method::POST),
    ("git/changes", Method::GET),
    ("reachable", Method::GET),
];

async fn route(
    agent: &Arc<Agent>,
    request: Request<Received>,
    path: &str,
) -> Result<Response<Body>, Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, format!("this agent knows no {path}"));
    let name = path.strip_prefix(BASE).ok_or_else(unknown)?;
    let process = name.strip_prefix("processes/").and_then(|rest| rest.split_once('/'));
    let wanted = match process {
        Some((_, "output")) => Method::GET,
        Some((_, "signal")) => Method::POST,
        Some(_) => return Err(unknown()),
        None => PATHS.iter().find(|(path, _)| *path == name).ok_or_else(unknown)?.1.clone(),
    };
    if request.method() != wanted {
        let message = format!("{path} is asked with {wanted}, not with {}", request.method());
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message));
    }
    let query = Query::parse(request.uri().query());
    let caller = Caller::of(request.headers());
    if wanted == Method::GET {
        return get(agent, name, process, &query, &caller).await;
    }
    let body = read(request).await?;
    Ok(post(agent, name, process, &query, caller, body).await?.into())
}

async fn get(
    agent: &Arc<Agent>,
    name: &str,
    process: Option<(&str, &str)>,
    query: &Query,
    caller: &Caller,
) -> Result<Response<Body>, Refusal> {
    if let Some((id, _)) = process {
        return Ok(process_calls::output(agent, caller, id, query).await?.into());
    }
    let answer = match name {
        "read-file" => return files::read_file(query).await,
        "read-file-lines" => files::read_lines(agent, query).await?,
        "resolve-path" => files::resolve_path(query).await?,
        "processes/list" => process_calls::list(agent, &caller.chat),
        "context-config" => context::context(agent.settings()).await?,
        "mcp/tools" => agent.servers.tools(agent.settings()).await,
        "git/changes" => git::changes(agent.settings(), &agent.clock, query).await?,
        // `reachable`: that there is an answer is the answer.
        _ => Answer::ok(&agent.settings().link_query()),
    };
    Ok(answer.into())
}

async fn post(
    agent: &Arc<Agent>,
    name: &str,
    process: Option<(&str, &str)>,
    query: &Query,
    caller: Caller,
    body: Bytes,
) -> Result<Answer, Refusal> {
    if let Some((id, _)) = process {
        return process_calls::signal(agent, &caller, id, &parse(&body)?);
    }
    match name {
        "list-directory" => {
            return files::list_directory(agent.settings(), parse(&body)?).await;
        }
        "write-file" => {
            query.only(&["path", "resolved"])?;
            let path = query.required("path")?.to_owned();
            let resolved = query.get("resolved").map(str::to_owned);
            let request = digest(&[name.as_bytes(), path.as_bytes(), &body]);
            let work = files::write_file(agent.clone(), caller.chat.clone(), path, resolved, body);
            return once(agent, &caller, request, work).await;
        }
        _ => {}
    }
    let request = digest(&[name.as_bytes(), &body]);
    let held = agent.clone();
    match name {
        "edit-files" => {
            let work = edit_files::edit_files(held, caller.chat.clone(), parse(&body)?);
            once(agent, &caller, request, work).await
        }
        "mcp/call-tool" => {
            let call = parse(&body)?;
            let work = async move { held.servers.call(&held.settings, call).await };
            once(agent, &caller, request, work).await
        }
        _ => {
            let (chat, start) = (caller.chat.clone(), parse(&body)?);
            let work = async move { process_calls::start(&held, chat, start).await };
            once(agent, &caller, request, work).await
        }
    }
}

/// Carries a request with an effect out at most once for its tool call.
async fn once(
    agent: &Agent,
    caller: &Caller,
    request: Digest,
    work: impl Future<Output = Result<Answer, Refusal>> + Send + 'static,
) -> Result<Answer, Refusal> {
    if caller.repeated && !caller.tool_call.as_deref().is_some_and(|id| agent.calls.knows(&caller.chat, id)) {
        return Err(Refusal::new(
            StatusCode::GONE,
            "this agent knows nothing of that call: it may have been restarted since",
        ));
    }
    let work = async { work.await.unwrap_or_else(Answer::from) };
    Ok(agent.calls.once(&caller.chat, caller.tool_call.as_deref(), request, work).await)
}

/// Reads a body that fits.
async fn read(request: Request<Received>) -> Result<Bytes, Refusal> {
    match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body has more than {MAX_BODY} bytes; send less at once");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(error) => Err(Refusal::bad(format!("the body did not arrive: {error}"))),
    }
}
