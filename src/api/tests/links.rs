//! Links of agents over real sockets, with an agent that is a small HTTP/2 server.

use super::support::{Engine, NOW, World, on_both, world};
use crate::{
    api::serve,
    chat::json::Json,
    ids::{AgentId, BuildId, OrganizationId, TemplateId, WorkerId, WorkspaceId},
    store::records::{
        models::Source,
        workspaces::{
            AgentFacts, AgentRecord, BuildReason, NewBuild, TemplateKind, TemplateRecord, Transition,
            WorkspaceRecord,
        },
    },
    workspace::{link::AgentClient, token},
};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    header::{HeaderMap, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

on_both![
    requests_go_through_the_link,
    a_newer_link_replaces_the_older,
    a_new_token_ends_the_link_of_the_old_one,
    only_the_newest_builds_agent_may_link
];

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const PATIENCE: Duration = Duration::from_secs(20);

fn listen(world: &World) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (server, _) = serve(world.state.clone(), listener, 1, Duration::from_secs(1)).unwrap();
    actix_web::rt::spawn(server);
    address
}

/// A workspace that was started, with the token of its agent.
async fn workspace(world: &World) -> (WorkspaceId, AgentId, String) {
    let store = &world.state.store;
    let template = TemplateRecord {
        id: TemplateId::fresh(),
        name: "t".into(),
        display_name: "t".into(),
        description: String::new(),
        kind: TemplateKind::External,
        directory: String::new(),
        start_command: None,
        stop_command: None,
        status_command: None,
        parameters: Json::of(&[(); 0]),
        presets: Json::of(&[(); 0]),
        default_ttl_ms: 0,
        activity_bump_ms: 0,
        deprecated: false,
        source: Source::Api,
        deleted: false,
        created_at: NOW,
        updated_at: NOW,
    };
    let template = store.create_template(template).await.unwrap();
    let (id, build) = (WorkspaceId::fresh(), BuildId::fresh());
    let record = WorkspaceRecord {
        id,
        name: "w".into(),
        owner_id: world.owner_id,
        organization_id: world.organization.parse::<OrganizationId>().unwrap(),
        template_id: template.id,
        parameters: Json::of(&serde_json::Map::new()),
        ttl_ms: None,
        deadline: None,
        last_used_at: NOW,
        latest_build_id: build,
        created_at: NOW,
        updated_at: NOW,
    };
    store.create_workspace(record, start(id, build), 0, NOW).await.unwrap();
    let worker = WorkerId::fresh();
    let lease = Duration::from_secs(30);
    assert!(store.claim_build(worker, lease, NOW).await.unwrap().is_some());
    let text = token::mint();
    let agent = AgentRecord {
        id: AgentId::fresh(),
        build_id: build,
        parent_id: None,
        name: "main".into(),
        display_order: 0,
        token_hash: Some(token::hash(&text)),
        external: true,
        operating_system: String::new(),
        architecture: String::new(),
        version: String::new(),
        directory: String::new(),
        connection_timeout_seconds: 0,
        first_connected_at: None,
        last_connected_at: None,
        disconnected_at: None,
        worker_id: None,
        link_id: None,
        created_at: NOW,
    };
    let agent_id = agent.id;
    store.enter_agent(worker, agent).await.unwrap();
    let end = crate::store::records::workspaces::BuildEnd { build, worker, error: None, ttl: Duration::ZERO };
    store.finish_build(end, NOW).await.unwrap();
    (id, agent_id, text)
}

fn start(workspace_id: WorkspaceId, id: BuildId) -> NewBuild {
    NewBuild {
        id,
        workspace_id,
        transition: Transition::Start,
        reason: BuildReason::Initiator,
        initiator_id: None,
    }
}

async fn dial(address: SocketAddr, token: &str) -> Result<Socket, u16> {
    let url =
        format!("ws://{address}/api/v2/workspaceagents/me/link?os=plan9&arch=mips&version=1&directory=/d");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().unwrap());
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(e) => panic!("{e}"),
    }
}

/// Says what was asked, with the body doubled.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let header =
        |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
    let said = format!("{} {} {} {}\n", request.method(), request.uri(), header("x-chat"), header("x-call"));
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok(Response::new(Full::new(Bytes::from([said.as_bytes(), &body, &body].concat()))))
}

/// Serves HTTP/2 over the socket. Ends with the code that the socket was closed with.
fn serve_agent(mut socket: Socket) -> JoinHandle<u16> {
    tokio::spawn(async move {
        let (near, far) = tokio::io::duplex(64 << 10);
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(near), service_fn(echo));
        tokio::spawn(server);
        let (mut from, mut into) = tokio::io::split(far);
        let mut buffer = vec![0; 64 << 10];
        loop {
            tokio::select! {
                read = from.read(&mut buffer) => {
                    let bytes = buffer[..read.unwrap_or(0)].to_vec();
                    if bytes.is_empty() || socket.send(Message::Binary(bytes.into())).await.is_err() {
                        return 1006;
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => into.write_all(&bytes).await.unwrap(),
                    Some(Ok(Message::Close(frame))) => return frame.map_or(1005, |f| f.code.into()),
                    Some(Ok(_)) => {}
                    None | Some(Err(_)) => return 1006,
                },
            }
        }
    })
}

/// The way to an agent, once its link is there.
async fn client(world: &World, agent: AgentId) -> AgentClient {
    let look = async {
        loop {
            let row = world.state.store.agent(agent).await.unwrap();
            match world.state.dialer.links.client(agent) {
                Some(client) if row.link_id.is_some() => return client,
                _ => sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(PATIENCE, look).await.unwrap()
}

async fn ask(client: &AgentClient, path: &str, body: Vec<u8>) -> Vec<u8> {
    let call = HeaderMap::from_iter([("x-call".parse().unwrap(), HeaderValue::from_static("7"))]);
    let answer = client.request(Method::POST, path, call, body.into()).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn requests_go_through_the_link(on: Engine) {
    let world = world(on).await;
    let address = listen(&world);
    let (_, agent, token) = workspace(&world).await;
    assert!(world.state.dialer.links.client(agent).is_none());
    let served = serve_agent(dial(address, &token).await.unwrap());
    let chat = HeaderMap::from_iter([("x-chat".parse().unwrap(), HeaderValue::from_static("c"))]);
    let client = client(&world, agent).await.with_headers(chat);
    assert_eq!(ask(&client, "/a?b=c", b"xy".to_vec()).await, b"POST http://agent/a?b=c c 7\nxyxy");
    // More than any window or buffer, several at once.
    let large = || ask(&client, "/large", vec![b'z'; 3 << 20]);
    let answers = futures_util::future::join_all([large(), large(), large()]).await;
    assert!(answers.iter().all(|a| a.len() > 6 << 20 && a.ends_with(b"zzz")), "an answer was cut");
    let row = world.state.store.agent(agent).await.unwrap();
    assert_eq!(
        (row.operating_system.as_str(), row.architecture.as_str(), row.directory.as_str()),
        ("plan9", "mips", "/d")
    );
    assert_eq!((row.worker_id, row.first_connected_at), (Some(world.state.worker), Some(NOW)));
    served.abort();
    let ended = async {
        while world.state.store.agent(agent).await.unwrap().disconnected_at.is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
    assert!(world.state.dialer.links.is_empty());
    assert!(client.request(Method::GET, "/", HeaderMap::new(), Bytes::new()).await.is_err());
}

async fn a_newer_link_replaces_the_older(on: Engine) {
    let world = world(on).await;
    let address = listen(&world);
    let (_, agent, token) = workspace(&world).await;
    let first = serve_agent(dial(address, &token).await.unwrap());
    client(&world, agent).await;
    let earlier = world.state.store.agent(agent).await.unwrap().link_id;
    let second = serve_agent(dial(address, &token).await.unwrap());
    assert_eq!(timeout(PATIENCE, first).await.unwrap().unwrap(), 4001);
    let now = client(&world, agent).await;
    assert_eq!(ask(&now, "/", b"!".to_vec()).await, b"POST http://agent/ - 7\n!!");
    let row = world.state.store.agent(agent).await.unwrap();
    assert!(row.link_id != earlier && row.disconnected_at.is_none(), "{row:?}");
    world.draining.send_replace(true);
    assert_eq!(timeout(PATIENCE, second).await.unwrap().unwrap(), 1001);
    assert_eq!(dial(address, &token).await.err(), Some(503));
}

async fn a_new_token_ends_the_link_of_the_old_one(on: Engine) {
    let world = world(on).await;
    let address = listen(&world);
    let (_, agent, token) = workspace(&world).await;
    let first = serve_agent(dial(address, &token).await.unwrap());
    let earlier = client(&world, agent).await;
    assert_eq!(ask(&earlier, "/", b"!".to_vec()).await, b"POST http://agent/ - 7\n!!");
    let path = format!("/api/v2/workspaceagents/{agent}/token");
    let answer = world.own("POST", &path, serde_json::json!({})).await;
    assert_eq!(answer.status, 201);
    let new = answer.body["token"].as_str().unwrap().to_owned();
    assert_eq!(timeout(PATIENCE, first).await.unwrap().unwrap(), 4001);
    let row = world.state.store.agent(agent).await.unwrap();
    assert!(row.disconnected_at.is_some() && row.link_id.is_none(), "{row:?}");
    assert!(world.state.dialer.links.client(agent).is_none());
    assert_eq!(dial(address, &token).await.err(), Some(401));
    // A dial that had shown the old token before it ended is refused as well.
    let (link, worker) = (uuid::Uuid::from_u128(1), world.state.worker);
    let late = world.state.store.agent_connected(
        agent,
        worker,
        link,
        token::hash(&token),
        AgentFacts::default(),
        NOW,
    );
    assert!(matches!(late.await, Err(crate::store::Error::Stale)));
    let second = serve_agent(dial(address, &new).await.unwrap());
    client(&world, agent).await;
    second.abort();
}

async fn only_the_newest_builds_agent_may_link(on: Engine) {
    let world = world(on).await;
    let address = listen(&world);
    let (id, agent, token) = workspace(&world).await;
    for wrong in ["", "nonsense", &world.owner, &token[1..]] {
        assert_eq!(dial(address, wrong).await.err(), Some(401), "{wrong:?}");
    }
    let store = &world.state.store;
    let (link, worker) = (uuid::Uuid::from_u128(1), world.state.worker);
    store
        .agent_connected(agent, worker, link, token::hash(&token), AgentFacts::default(), NOW)
        .await
        .unwrap();
    assert!(store.agent_beat(agent, link, NOW).await.unwrap());
    assert!(!store.agent_beat(agent, uuid::Uuid::from_u128(2), NOW).await.unwrap());
    store.begin_build(start(id, BuildId::fresh()), NOW).await.unwrap();
    assert!(!store.agent_beat(agent, link, NOW).await.unwrap(), "its time is over");
    assert_eq!(dial(address, &token).await.err(), Some(401));
}
