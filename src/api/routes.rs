//! The whole URL table. Registration and the OpenAPI document are both made from it, so they cannot
//! differ.

use super::{
    chats, control, create, deployment, health, messages, models, parts, patch,
    problem::{Problem, Result},
    providers, queue, stream, tool_results, users, watch,
};
use actix_web::{
    HttpRequest, HttpResponse, Route as ActixRoute, Scope, guard,
    http::Method,
    web::{self, ServiceConfig},
};

/// The two places where chats live (api.md §1.1).
pub const CHAT_PREFIXES: [&str; 2] = ["/api/experimental/chats", "/api/v2/chats"];

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Method.
    pub method: &'static str,
    /// Path below its prefix.
    pub path: &'static str,
    /// Status of a success.
    pub success: u16,
    /// One line about it.
    pub summary: &'static str,
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
    ($($(#[$doc:meta])* $name:ident $mount:ident { $($method:ident $path:literal $success:literal $handler:path, $summary:literal;)* })*) => { $(
        $(#[$doc])*
        pub const $name: &[Route] = &[
            $(Route { method: stringify!($method), path: $path, success: $success, summary: $summary }),*
        ];
        fn $mount<M: Mount>(target: M) -> M {
            target $(.mount($path, on(Method::$method, $success).to($handler)))*
        }
    )* };
}

table! {
    /// Below both chat prefixes, before the reserved segments: the first match counts.
    FIXED fixed_routes {
        POST   ""                                  201 create::create,      "Create a chat and start its first turn";
        GET    ""                                  200 chats::list,         "List the caller's chats";
        GET    "/watch"                            101 watch::watch,        "Follow the caller's chats (WebSocket)";
    }
    /// Below both chat prefixes, after the reserved segments.
    CHATS chats_routes {
        GET    "/{chat}"                           200 chats::get,          "Get a chat";
        PATCH  "/{chat}"                           204 patch::patch,        "Rename, archive, pin, label a chat";
        GET    "/{chat}/messages"                  200 messages::page,      "Page through messages";
        POST   "/{chat}/messages"                  200 messages::send,      "Send a message";
        PATCH  "/{chat}/messages/{message}"        200 messages::edit,      "Replace a message and everything after it";
        DELETE "/{chat}/queue/{queued}"            204 queue::delete,       "Take a message out of the queue";
        POST   "/{chat}/queue/{queued}/promote"    202 queue::promote,      "Make a queued message the next one";
        POST   "/{chat}/interrupt"                 200 control::interrupt,  "Stop the turn";
        POST   "/{chat}/reconcile-invalid"         200 control::reconcile,  "Recover a chat from an inconsistent state";
        POST   "/{chat}/tool-results"              204 tool_results::submit, "Answer pending client-side tool calls";
        POST   "/{chat}/compact"                   200 control::compact,    "Compact the history";
        POST   "/{chat}/clear"                     200 control::clear,      "Hide the history from the model";
        GET    "/{chat}/stream"                    101 stream::stream,      "Stream a chat (WebSocket)";
        GET    "/{chat}/stream/parts"              101 parts::parts,        "Relay the parts of an attempt (WebSocket)";
    }
    /// Below the first chat prefix only.
    EXPERIMENTAL experimental_routes {
        GET    "/models"                           200 models::offer,       "What the caller could use now";
        GET    "/model-configs"                    200 models::configs,     "Declared models";
        POST   "/model-configs"                    201 models::create,      "Refused: models are declared in the configuration file";
        PATCH  "/model-configs/{model}"            200 models::change,      "Refused: models are declared in the configuration file";
        DELETE "/model-configs/{model}"            204 models::change,      "Refused: models are declared in the configuration file";
        GET    "/providers"                        200 providers::list,     "Declared and supported providers";
        POST   "/providers"                        201 providers::create,   "Refused: providers are declared in the configuration file";
        PATCH  "/providers/{provider}"             200 providers::change,   "Refused: providers are declared in the configuration file";
        DELETE "/providers/{provider}"             204 providers::change,   "Refused: providers are declared in the configuration file";
    }
    /// At their own paths.
    PLATFORM platform_routes {
        GET "/api/v2/users/{user}"                 200 users::get,          "Get a user; `me` is the caller";
        GET "/api/v2/users/{user}/organizations"   200 users::organizations_of, "Organizations of a user";
        GET "/api/v2/organizations"                200 users::organizations, "Organizations of the caller";
        GET "/api/v2/buildinfo"                    200 deployment::build_info, "Version and address";
        GET "/api/v2/entitlements"                 200 deployment::entitlements, "Licensed features";
        GET "/api/v2/experiments"                  200 deployment::experiments, "Enabled experiments";
        GET "/healthz"                             200 health::alive,       "The process answers";
        GET "/readyz"                              200 health::ready,       "The server can take requests";
        GET "/metrics"                             200 health::metrics,     "Figures for Prometheus";
        GET "/openapi.json"                        200 health::openapi,     "This document";
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
