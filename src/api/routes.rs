//! The whole URL table. Registration and the OpenAPI document are both made from it, so they cannot
//! differ.

use super::{
    chats, control, create, debug, deployment,
    doc::Doc,
    files, health, mcp_oauth, mcp_servers, messages, models, parts, patch,
    problem::{Problem, Result},
    providers, queue, skills, stream, tool_results, users, watch,
};
use actix_web::{
    HttpRequest, HttpResponse, Route as ActixRoute, Scope, guard,
    http::Method,
    web::{self, ServiceConfig},
};

/// The two places where chats live (api.md §1.1).
pub const CHAT_PREFIXES: [&str; 2] = ["/api/experimental/chats", "/api/v2/chats"];

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Method.
    pub method: &'static str,
    /// Path below its prefix.
    pub path: &'static str,
    /// Status of a success.
    pub success: u16,
    /// What the OpenAPI document says of it.
    pub doc: Doc,
}

/// Takes routes on.
trait Mount: Sized {
    fn mount(self, path: &str, route: ActixRoute) -> Self;
}

impl Mount for Scope {
    fn mount(self, path: &str, route: ActixRoute) -> Self {
        self.route(path, route)
    }
}

impl Mount for &mut ServiceConfig {
    fn mount(self, path: &str, route: ActixRoute) -> Self {
        self.route(path, route)
    }
}

/// Whoever answers GET answers HEAD, with the same headers and no body (RFC 9110 §9.3.2): probes send it.
fn on(method: Method, success: u16) -> ActixRoute {
    if method == Method::GET && success != 101 {
        web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
    } else {
        web::method(method)
    }
}

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident $mount:ident { $($method:ident $path:literal $success:literal $handler:path, $said:path;)* })*) => { $(
        $(#[$doc])*
        pub const $name: &[Route] = &[
            $(Route { method: stringify!($method), path: $path, success: $success, doc: $said }),*
        ];
        fn $mount<M: Mount>(target: M) -> M {
            target $(.mount($path, on(Method::$method, $success).to($handler)))*
        }
    )* };
}

table! {
    /// Below both chat prefixes, before the reserved segments: the first match counts.
    FIXED fixed_routes {
        POST   ""                                  201 create::create, create::CREATE;
        GET    ""                                  200 chats::list, chats::LIST;
        POST   "/files"                            201 files::upload, files::UPLOAD;
        GET    "/files/{file}"                     200 files::get, files::GET;
        GET    "/watch"                            101 watch::watch, watch::WATCH;
    }
    /// Below both chat prefixes, after the reserved segments.
    CHATS chats_routes {
        GET    "/{chat}"                           200 chats::get, chats::GET;
        PATCH  "/{chat}"                           204 patch::patch, patch::PATCH;
        GET    "/{chat}/messages"                  200 messages::page, messages::PAGE;
        POST   "/{chat}/messages"                  200 messages::send, messages::SEND;
        PATCH  "/{chat}/messages/{message}"        200 messages::edit, messages::EDIT;
        DELETE "/{chat}/queue/{queued}"            204 queue::delete, queue::DELETE;
        POST   "/{chat}/queue/{queued}/promote"    202 queue::promote, queue::PROMOTE;
        POST   "/{chat}/interrupt"                 200 control::interrupt, control::INTERRUPT;
        POST   "/{chat}/reconcile-invalid"         200 control::reconcile, control::RECONCILE;
        POST   "/{chat}/tool-results"              204 tool_results::submit, tool_results::SUBMIT;
        POST   "/{chat}/compact"                   200 control::compact, control::COMPACT;
        POST   "/{chat}/clear"                     200 control::clear, control::CLEAR;
        GET    "/{chat}/stream"                    101 stream::stream, stream::STREAM;
        GET    "/{chat}/stream/parts"              101 parts::parts, parts::PARTS;
    }
    /// Below the first chat prefix only.
    EXPERIMENTAL experimental_routes {
        GET    "/{chat}/debug/runs"                200 debug::runs, debug::RUNS;
        GET    "/{chat}/debug/runs/{run}"          200 debug::run, debug::RUN;
        GET    "/models"                           200 models::offer, models::OFFER;
        GET    "/model-configs"                    200 models::configs, models::CONFIGS;
        POST   "/model-configs"                    201 models::create, models::CREATE;
        PATCH  "/model-configs/{model}"            200 models::change, models::CHANGE;
        DELETE "/model-configs/{model}"            204 models::change, models::CHANGE;
        GET    "/providers"                        200 providers::list, providers::LIST;
        POST   "/providers"                        201 providers::create, providers::CREATE;
        PATCH  "/providers/{provider}"             200 providers::change, providers::CHANGE;
        DELETE "/providers/{provider}"             204 providers::change, providers::CHANGE;
    }
    /// At their own paths.
    PLATFORM platform_routes {
        GET "/api/v2/users/{user}"                 200 users::get, users::GET;
        GET "/api/v2/users/{user}/organizations"   200 users::organizations_of, users::ORGANIZATIONS_OF;
        GET "/api/v2/organizations"                200 users::organizations, users::ORGANIZATIONS;
        GET "/api/v2/buildinfo"                    200 deployment::build_info, deployment::BUILD_INFO;
        GET "/api/v2/entitlements"                 200 deployment::entitlements, deployment::ENTITLEMENTS;
        GET "/api/v2/experiments"                  200 deployment::experiments, deployment::EXPERIMENTS;
        GET    "/api/experimental/mcp/servers"                200 mcp_servers::list, mcp_servers::LIST;
        POST   "/api/experimental/mcp/servers"                201 mcp_servers::create, mcp_servers::CREATE;
        GET    "/api/experimental/mcp/servers/{mcpServer}"    200 mcp_servers::get, mcp_servers::GET;
        PATCH  "/api/experimental/mcp/servers/{mcpServer}"    200 mcp_servers::change, mcp_servers::CHANGE;
        DELETE "/api/experimental/mcp/servers/{mcpServer}"    204 mcp_servers::delete, mcp_servers::DELETE;
        GET    "/api/experimental/mcp/servers/{mcpServer}/oauth2/connect"    307 mcp_oauth::connect, mcp_oauth::CONNECT;
        GET    "/api/experimental/mcp/servers/{mcpServer}/oauth2/callback"   200 mcp_oauth::callback, mcp_oauth::CALLBACK;
        DELETE "/api/experimental/mcp/servers/{mcpServer}/oauth2/disconnect" 204 mcp_oauth::disconnect, mcp_oauth::DISCONNECT;
        GET    "/api/experimental/users/{user}/skills"        200 skills::list, skills::LIST;
        POST   "/api/experimental/users/{user}/skills"        201 skills::create, skills::CREATE;
        GET    "/api/experimental/users/{user}/skills/{name}" 200 skills::get, skills::GET;
        PATCH  "/api/experimental/users/{user}/skills/{name}" 200 skills::change, skills::CHANGE;
        DELETE "/api/experimental/users/{user}/skills/{name}" 204 skills::delete, skills::DELETE;
        GET "/healthz"                             200 health::alive, health::ALIVE;
        GET "/readyz"                              200 health::ready, health::READY;
        GET "/metrics"                             200 health::metrics, health::METRICS;
        GET "/openapi.json"                        200 health::openapi, health::OPENAPI;
    }
}

/// First segments below the chat prefixes that are no chat ids, whether they are served or not
/// (api.md §1.1).
const RESERVED: &str = "watch|by-workspace|files|config|models|model-configs|providers|user-provider-configs\
                        |usage-limits|cost|insights";

/// Registers every route.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.app_data(
        web::PathConfig::default()
            .error_handler(|e, _| Problem::bad_request("Invalid path.").detail(e.to_string()).into()),
    );
    for (at, prefix) in CHAT_PREFIXES.into_iter().enumerate() {
        let mut scope = web::scope(prefix);
        if at == 0 {
            scope = experimental_routes(scope);
        }
        scope = fixed_routes(scope);
        scope = scope.route(&format!("/{{reserved:{RESERVED}}}"), web::route().to(unknown));
        scope = scope.route(&format!("/{{reserved:{RESERVED}}}/{{rest:.*}}"), web::route().to(unknown));
        cfg.service(chats_routes(scope));
    }
    platform_routes(&mut *cfg);
    cfg.default_service(web::route().to(unknown));
}

/// 404 for a URL nobody serves.
pub(super) async fn unknown(_: HttpRequest) -> Result<HttpResponse> {
    Err(Problem::unknown_route())
}

/// Every line of the table with its full path.
pub fn all() -> impl Iterator<Item = (String, Route)> {
    let both = CHAT_PREFIXES
        .into_iter()
        .flat_map(|p| FIXED.iter().chain(CHATS).map(move |r| (format!("{p}{}", r.path), *r)));
    let experimental = EXPERIMENTAL.iter().map(|r| (format!("{}{}", CHAT_PREFIXES[0], r.path), *r));
    let platform = PLATFORM.iter().map(|r| (r.path.to_owned(), *r));
    both.chain(experimental).chain(platform)
}
