//! The agent's HTTP: which handler answers which request.

use super::{
    Agent,
    answer::{Answer, Body, Caller, Query, Refusal, parse},
    calls::{Digest, digest},
    context, edit_files, files, git, process_calls,
};
use crate::workspace::wire::{BASE, MAX_BODY, TOOLS_VERSION};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header::HeaderValue, service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

/// Requests at once over one link. A chat makes few; a daemon that makes more waits.
const MAX_REQUESTS: u32 = 256;
/// How often the daemon is asked whether it is there, within HTTP/2, and how long it may take: a pipe
/// whose other end is gone is found within 18 s.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(8));

/// Serves HTTP/2 over a pipe of bytes until it ends. What requests have begun goes on where the
/// protocol says so: processes, and calls with an id.
///
/// # Errors
/// When the pipe fails, or what comes out of it is no HTTP/2.
pub async fn serve<I>(io: I, agent: Arc<Agent>) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let agent = agent.clone();
        async move { Ok::<_, Infallible>(answer(&agent, request).await) }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_REQUESTS)
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .serve_connection(TokioIo::new(io), service)
        .await
}

async fn answer(agent: &Arc<Agent>, request: Request<Incoming>) -> Response<Body> {
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
    request: Request<Incoming>,
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
async fn read(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body has more than {MAX_BODY} bytes; send less at once");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(error) => Err(Refusal::bad(format!("the body did not arrive: {error}"))),
    }
}
