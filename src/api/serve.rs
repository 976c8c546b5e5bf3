//! The HTTP server.

use super::{
    health, notices,
    observe::observe,
    routes,
    sockets::stopping,
    state::{ApiState, Scrape},
};
use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
    middleware::from_fn,
    rt, web,
};
use std::{any::Any, io, net::TcpListener, sync::Arc, time::Duration};

/// Time for a request line and its headers; longer ones are half-open or hostile.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a closing connection to go. Long enough for an answer that was given before all of a request was read; no longer,
/// since a WebSocket whose close was exchanged keeps its connection for so long too.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an idle connection is kept. Above the 60 s that load balancers commonly keep theirs, so
/// that they never send into one that is just being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may leave what was sent to it unread or unacknowledged. Above the 10 s after which
/// a slow reader is told to reconnect, so that only those are cut who do not even take that.
#[cfg(target_os = "linux")]
const SOCKET_TIMEOUT: Duration = Duration::from_secs(15);

/// Has the kernel give up a connection whose other side takes nothing: actix would wait for it for ever.
#[cfg(target_os = "linux")]
fn limit_silence(connection: &dyn Any) {
    use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
    let Some(socket) = connection.downcast_ref::<rt::net::TcpStream>() else { return };
    let millis = u32::try_from(SOCKET_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    if let Err(e) = setsockopt(socket, TcpUserTimeout, &millis) {
        tracing::debug!(error = %e, "a connection has no time limit");
    }
}

/// Other systems drop dead connections by their own rules.
#[cfg(not(target_os = "linux"))]
fn limit_silence(_: &dyn Any) {}

/// Starts to serve on a bound listener: HTTP/1.1 only. The future must be awaited; the handle stops
/// it. `stop_grace` is how long requests may go on after that.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(
    state: ApiState,
    listener: TcpListener,
    workers: usize,
    stop_grace: Duration,
) -> io::Result<(Server, ServerHandle)> {
    let follower = notices::follow(
        state.store.bus(),
        Arc::clone(&state.notices),
        Arc::clone(&state.tokens),
        Arc::clone(&state.mcp_servers),
    );
    let poll =
        notices::poll_access(state.store.clone(), Arc::clone(&state.notices), Arc::clone(&state.tokens));
    let mut draining = state.draining.clone();
    rt::spawn(async move {
        tokio::select! {
            () = follower => {}
            () = poll => {}
            () = stopping(&mut draining) => {}
        }
    });
    let state = web::Data::new(state);
    let server = HttpServer::new(move || {
        App::new().app_data(state.clone()).wrap(from_fn(observe)).configure(routes::configure)
    })
    .on_connect(|connection, _| limit_silence(connection))
    .workers(workers.max(1))
    .tcp_nodelay(true)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(REQUEST_TIMEOUT)
    .client_disconnect_timeout(DISCONNECT_TIMEOUT)
    .shutdown_timeout(stop_grace.as_secs())
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    Ok((server, handle))
}

/// Serves `GET /metrics`, and nothing else, on a listener of its own.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve_metrics(figures: Scrape, listener: TcpListener) -> io::Result<Server> {
    let figures = web::Data::new(figures);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(figures.clone())
            .service(
                web::resource("/metrics")
                    .route(web::get().to(health::own_metrics))
                    .route(web::head().to(health::own_metrics)),
            )
            .default_service(web::route().to(routes::unknown))
    });
    let server = server.workers(1).client_request_timeout(REQUEST_TIMEOUT).disable_signals();
    Ok(server.listen(listener)?.run())
}
