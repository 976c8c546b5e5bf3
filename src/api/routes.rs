//! The whole URL table. Registration and the OpenAPI document are both made from it, so they cannot
//! differ.

use super::{
    agent_link, agent_relay, ai_providers, authcheck, builds, chats, control, costs, create, debug,
    deployment, diff,
    doc::Doc,
    docs_page, files, groups, health, insights, mcp_oauth, mcp_servers, messages, models, organizations,
    parts, patch,
    problem::{Problem, Result},
    providers, queue, sessions,
    settings::{self, Exposed as _},
    sharing, skills, stream, templates, titles, tokens, tool_results, usage_limits, user_keys, users, watch,
    workspace_streams, workspaces,
};
use crate::store::settings as set;
use actix_web::{
    HttpRequest, HttpResponse, ResponseError as _, Route as ActixRoute, Scope, guard,
    http::{Method, header},
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
/// Not sockets, and not what a GET uses up: who only looks at a login link must not end it.
fn on(method: Method, success: u16) -> ActixRoute {
    if on_head(method.as_str(), success) {
        web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
    } else {
        web::method(method)
    }
}

fn on_head(method: &str, success: u16) -> bool {
    method == "GET" && !matches!(success, 101 | 303)
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
        GET    "/usage-limits"                     200 usage_limits::list, usage_limits::LIST;
        PUT    "/usage-limits"                     200 usage_limits::set, usage_limits::SET;
        GET    "/usage-limits/status"              200 usage_limits::status, usage_limits::STATUS;
        PUT    "/usage-limits/overrides/{user}"    200 usage_limits::set_user, usage_limits::SET_USER;
        DELETE "/usage-limits/overrides/{user}"    204 usage_limits::delete_user, usage_limits::DELETE_USER;
        PUT    "/usage-limits/group-overrides/{group}" 200 usage_limits::set_group, usage_limits::SET_GROUP;
        DELETE "/usage-limits/group-overrides/{group}" 204 usage_limits::delete_group, usage_limits::DELETE_GROUP;
        GET    "/cost/users"                       200 costs::users, costs::USERS;
        GET    "/cost/{user}/summary"              200 costs::summary, costs::SUMMARY;
        GET    "/insights/pull-requests"           200 insights::pull_requests, insights::PULL_REQUESTS;
        GET    "/watch"                            101 watch::watch, watch::WATCH;
        GET    "/by-workspace"                     200 chats::by_workspace, chats::BY_WORKSPACE;
        GET    "/config/system-prompt"             200 settings::get::<set::SystemPrompt>, set::SystemPrompt::GET;
        PUT    "/config/system-prompt"             204 settings::put::<set::SystemPrompt>, set::SystemPrompt::PUT;
        GET    "/config/plan-mode-instructions"    200 settings::get::<set::PlanModeInstructions>, set::PlanModeInstructions::GET;
        PUT    "/config/plan-mode-instructions"    204 settings::put::<set::PlanModeInstructions>, set::PlanModeInstructions::PUT;
        GET    "/config/user-prompt"               200 settings::own::get_prompt, settings::own::GET_PROMPT;
        PUT    "/config/user-prompt"               200 settings::own::put_prompt, settings::own::PUT_PROMPT;
        GET    "/config/user-compaction-thresholds" 200 settings::own::list_thresholds, settings::own::LIST_THRESHOLDS;
        PUT    "/config/user-compaction-thresholds/{modelConfig}" 200 settings::own::put_threshold, settings::own::PUT_THRESHOLD;
        DELETE "/config/user-compaction-thresholds/{modelConfig}" 204 settings::own::delete_threshold, settings::own::DELETE_THRESHOLD;
        GET    "/config/template-allowlist"        200 settings::get::<set::TemplateAllowlist>, set::TemplateAllowlist::GET;
        PUT    "/config/template-allowlist"        204 settings::put::<set::TemplateAllowlist>, set::TemplateAllowlist::PUT;
        GET    "/config/model-override/{context}"  200 settings::models::get, settings::models::GET;
        PUT    "/config/model-override/{context}"  204 settings::models::put, settings::models::PUT;
        GET    "/config/personal-model-overrides"  200 settings::get::<set::PersonalModelOverrides>, set::PersonalModelOverrides::GET;
        PUT    "/config/personal-model-overrides"  204 settings::put::<set::PersonalModelOverrides>, set::PersonalModelOverrides::PUT;
        GET    "/config/user-personal-model-overrides" 200 settings::personal::get, settings::personal::GET;
        PUT    "/config/user-personal-model-overrides/{context}" 204 settings::personal::put, settings::personal::PUT;
        GET    "/config/desktop-enabled"           200 settings::get::<set::DesktopEnabled>, set::DesktopEnabled::GET;
        PUT    "/config/desktop-enabled"           204 settings::put::<set::DesktopEnabled>, set::DesktopEnabled::PUT;
        GET    "/config/debug-logging"             200 settings::get::<set::DebugLogging>, set::DebugLogging::GET;
        PUT    "/config/debug-logging"             204 settings::put::<set::DebugLogging>, set::DebugLogging::PUT;
        GET    "/config/user-debug-logging"        200 settings::own::get_debug, settings::own::GET_DEBUG;
        PUT    "/config/user-debug-logging"        204 settings::own::put_debug, settings::own::PUT_DEBUG;
        GET    "/config/workspace-ttl"             200 settings::get::<set::WorkspaceTtl>, set::WorkspaceTtl::GET;
        PUT    "/config/workspace-ttl"             204 settings::put::<set::WorkspaceTtl>, set::WorkspaceTtl::PUT;
        GET    "/config/retention-days"            200 settings::get::<set::RetentionDays>, set::RetentionDays::GET;
        PUT    "/config/retention-days"            204 settings::put::<set::RetentionDays>, set::RetentionDays::PUT;
        GET    "/config/debug-retention-days"      200 settings::get::<set::DebugRetentionDays>, set::DebugRetentionDays::GET;
        PUT    "/config/debug-retention-days"      204 settings::put::<set::DebugRetentionDays>, set::DebugRetentionDays::PUT;
        GET    "/config/auto-archive-days"         200 settings::get::<set::AutoArchiveDays>, set::AutoArchiveDays::GET;
        PUT    "/config/auto-archive-days"         204 settings::put::<set::AutoArchiveDays>, set::AutoArchiveDays::PUT;
    }
    /// Below both chat prefixes, after the reserved segments.
    CHATS chats_routes {
        GET    "/{chat}"                           200 chats::get, chats::GET;
        PATCH  "/{chat}"                           204 patch::patch, patch::PATCH;
        GET    "/{chat}/messages"                  200 messages::page, messages::PAGE;
        POST   "/{chat}/messages"                  200 messages::send, messages::SEND;
        PATCH  "/{chat}/messages/{message}"        200 messages::edit, messages::EDIT;
        GET    "/{chat}/prompts"                   200 messages::prompts, messages::PROMPTS;
        GET    "/{chat}/diff"                      200 diff::get, diff::GET;
        GET    "/{chat}/acl"                       200 sharing::get, sharing::GET;
        PATCH  "/{chat}/acl"                       204 sharing::patch, sharing::PATCH;
        POST   "/{chat}/title/regenerate"          200 titles::regenerate, titles::REGENERATE;
        POST   "/{chat}/title/propose"             200 titles::propose, titles::PROPOSE;
        DELETE "/{chat}/queue/{queued}"            204 queue::delete, queue::DELETE;
        POST   "/{chat}/queue/{queued}/promote"    202 queue::promote, queue::PROMOTE;
        POST   "/{chat}/interrupt"                 200 control::interrupt, control::INTERRUPT;
        POST   "/{chat}/reconcile-invalid"         200 control::reconcile, control::RECONCILE;
        POST   "/{chat}/tool-results"              204 tool_results::submit, tool_results::SUBMIT;
        POST   "/{chat}/compact"                   200 control::compact, control::COMPACT;
        POST   "/{chat}/clear"                     200 control::clear, control::CLEAR;
        GET    "/{chat}/cost"                      200 costs::of_chat, costs::OF_CHAT;
        GET    "/{chat}/stream"                    101 stream::stream, stream::STREAM;
        GET    "/{chat}/stream/parts"              101 parts::parts, parts::PARTS;
        GET    "/{chat}/stream/git"                101 workspace_streams::git, workspace_streams::GIT;
    }
    /// Below the first chat prefix only.
    EXPERIMENTAL experimental_routes {
        GET    "/{chat}/stream/desktop"            101 workspace_streams::desktop, workspace_streams::DESKTOP;
        GET    "/{chat}/debug/runs"                200 debug::runs, debug::RUNS;
        GET    "/{chat}/debug/runs/{run}"          200 debug::run, debug::RUN;
        GET    "/models"                           200 models::offer, models::OFFER;
        GET    "/model-configs"                    200 models::configs, models::CONFIGS;
        POST   "/model-configs"                    201 models::create, models::CREATE;
        PATCH  "/model-configs/{model}"            200 models::change, models::CHANGE;
        DELETE "/model-configs/{model}"            204 models::delete, models::DELETE;
        GET    "/providers"                        200 providers::list, providers::LIST;
        POST   "/providers"                        201 providers::create, providers::CREATE;
        PATCH  "/providers/{provider}"             200 providers::change, providers::CHANGE;
        DELETE "/providers/{provider}"             204 providers::delete, providers::DELETE;
        GET    "/user-provider-configs"            200 user_keys::legacy_list, user_keys::LEGACY_LIST;
        PUT    "/user-provider-configs/{provider}" 200 user_keys::legacy_put, user_keys::LEGACY_PUT;
        DELETE "/user-provider-configs/{provider}" 204 user_keys::legacy_delete, user_keys::LEGACY_DELETE;
        GET    "/config/advisor"                   200 settings::get::<set::Advisor>, set::Advisor::GET;
        PUT    "/config/advisor"                   204 settings::put::<set::Advisor>, set::Advisor::PUT;
        GET    "/config/computer-use-provider"     200 settings::get::<set::ComputerUseProvider>, set::ComputerUseProvider::GET;
        PUT    "/config/computer-use-provider"     204 settings::put::<set::ComputerUseProvider>, set::ComputerUseProvider::PUT;
    }
    /// At their own paths.
    PLATFORM platform_routes {
        POST   "/api/v2/users/login"                  201 sessions::login, sessions::LOGIN;
        POST   "/api/v2/users/logout"                 200 sessions::logout, sessions::LOGOUT;
        GET    "/login/once"                          303 sessions::once, sessions::ONCE;
        GET    "/api/v2/users"                        200 users::list, users::LIST;
        POST   "/api/v2/users"                        201 users::create, users::CREATE;
        GET    "/api/v2/users/{user}"                 200 users::get, users::GET;
        DELETE "/api/v2/users/{user}"                 204 users::delete, users::DELETE;
        PATCH  "/api/v2/users/{user}/profile"         200 users::profile, users::PROFILE;
        PUT    "/api/v2/users/{user}/profile"         200 users::profile, users::PROFILE;
        PUT    "/api/v2/users/{user}/password"        204 sessions::password, sessions::PASSWORD;
        PUT    "/api/v2/users/{user}/status/suspend"  200 users::suspend, users::SUSPEND;
        PUT    "/api/v2/users/{user}/status/activate" 200 users::activate, users::ACTIVATE;
        PUT    "/api/v2/users/{user}/roles"           200 users::roles, users::ROLES;
        GET    "/api/v2/users/{user}/organizations"   200 organizations::of_user, organizations::OF_USER;
        GET    "/api/v2/users/{user}/keys/tokens"     200 tokens::list, tokens::LIST;
        POST   "/api/v2/users/{user}/keys/tokens"     201 tokens::create, tokens::CREATE;
        DELETE "/api/v2/users/{user}/keys/{key}"      204 tokens::delete, tokens::DELETE;
        GET    "/api/v2/organizations"                200 organizations::list, organizations::LIST;
        POST   "/api/v2/organizations"                201 organizations::create, organizations::CREATE;
        GET    "/api/v2/organizations/{organization}" 200 organizations::get, organizations::GET;
        PATCH  "/api/v2/organizations/{organization}" 200 organizations::patch, organizations::PATCH;
        DELETE "/api/v2/organizations/{organization}" 204 organizations::delete, organizations::DELETE;
        GET    "/api/v2/organizations/{organization}/members" 200 organizations::members, organizations::MEMBERS;
        POST   "/api/v2/organizations/{organization}/members/{user}" 201 organizations::add_member, organizations::ADD_MEMBER;
        DELETE "/api/v2/organizations/{organization}/members/{user}" 204 organizations::remove_member, organizations::REMOVE_MEMBER;
        PUT    "/api/v2/organizations/{organization}/members/{user}/roles" 200 organizations::member_roles, organizations::MEMBER_ROLES;
        GET    "/api/v2/organizations/{organization}/groups" 200 groups::list, groups::LIST;
        POST   "/api/v2/organizations/{organization}/groups" 201 groups::create, groups::CREATE;
        GET    "/api/v2/organizations/{organization}/groups/{group}" 200 groups::get, groups::GET;
        PATCH  "/api/v2/organizations/{organization}/groups/{group}" 200 groups::patch, groups::PATCH;
        DELETE "/api/v2/organizations/{organization}/groups/{group}" 204 groups::delete, groups::DELETE;
        GET    "/api/v2/organizations/{organization}/groups/{group}/members" 200 groups::members, groups::MEMBERS;
        PUT    "/api/v2/organizations/{organization}/groups/{group}/members/{user}" 204 groups::add_member, groups::ADD_MEMBER;
        DELETE "/api/v2/organizations/{organization}/groups/{group}/members/{user}" 204 groups::remove_member, groups::REMOVE_MEMBER;
        POST   "/api/v2/authcheck"                    200 authcheck::check, authcheck::CHECK;
        GET    "/api/v2/users/{user}/ai-provider-keys"            200 user_keys::list, user_keys::LIST;
        PUT    "/api/v2/users/{user}/ai-provider-keys/{provider}" 200 user_keys::put, user_keys::PUT;
        DELETE "/api/v2/users/{user}/ai-provider-keys/{provider}" 204 user_keys::delete, user_keys::DELETE;
        GET    "/api/v2/ai/providers"              200 ai_providers::list, ai_providers::LIST;
        POST   "/api/v2/ai/providers"              201 ai_providers::create, ai_providers::CREATE;
        GET    "/api/v2/ai/providers/{provider}"   200 ai_providers::get, ai_providers::GET;
        PATCH  "/api/v2/ai/providers/{provider}"   200 ai_providers::change, ai_providers::CHANGE;
        DELETE "/api/v2/ai/providers/{provider}"   204 ai_providers::delete, ai_providers::DELETE;
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
        GET    "/api/v2/templates"                            200 templates::list, templates::LIST;
        POST   "/api/v2/templates"                            201 templates::create, templates::CREATE;
        GET    "/api/v2/templates/{template}"                 200 templates::get, templates::GET;
        PATCH  "/api/v2/templates/{template}"                 200 templates::patch, templates::PATCH;
        DELETE "/api/v2/templates/{template}"                 204 templates::delete, templates::DELETE;
        GET    "/api/v2/workspaces"                           200 workspaces::list, workspaces::LIST;
        POST   "/api/v2/workspaces"                           201 workspaces::create, workspaces::CREATE;
        GET    "/api/v2/workspaces/{workspace}"               200 workspaces::get, workspaces::GET;
        PATCH  "/api/v2/workspaces/{workspace}"               200 workspaces::patch, workspaces::PATCH;
        GET    "/api/v2/workspaces/{workspace}/builds"        200 builds::list, builds::LIST;
        POST   "/api/v2/workspaces/{workspace}/builds"        201 builds::create, builds::CREATE;
        GET    "/api/v2/workspacebuilds/{build}"              200 builds::get, builds::GET;
        GET    "/api/v2/workspacebuilds/{build}/logs"         200 builds::logs, builds::LOGS;
        GET    "/api/v2/workspacebuilds/{build}/logs/follow"  101 builds::follow, builds::FOLLOW;
        GET    "/api/v2/workspaceagents/me/link"              101 agent_link::link, agent_link::LINK;
        POST   "/api/v2/workspaceagents/{agent}/relay"        200 agent_relay::relay, agent_relay::RELAY;
        POST   "/api/v2/workspaceagents/{agent}/token"        201 workspaces::token, workspaces::TOKEN;
        GET "/healthz"                             200 health::alive, health::ALIVE;
        GET "/readyz"                              200 health::ready, health::READY;
        GET "/metrics"                             200 health::metrics, health::METRICS;
        GET "/docs"                                200 docs_page::docs, docs_page::DOCS;
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
        scope = scope.route(&format!("/{{reserved:{RESERVED}}}"), web::route().to(unmatched));
        scope = scope.route(&format!("/{{reserved:{RESERVED}}}/{{rest:.*}}"), web::route().to(unmatched));
        cfg.service(chats_routes(scope));
    }
    platform_routes(&mut *cfg);
    cfg.default_service(web::route().to(unmatched));
}

/// 404 for a URL nobody serves.
pub(super) async fn unknown(_: HttpRequest) -> Result<HttpResponse> {
    Err(Problem::unknown_route())
}

/// The same, and 405 for a URL that is served to other methods.
async fn unmatched(request: HttpRequest) -> Result<HttpResponse> {
    let methods = methods_of(request.path()).join(", ");
    if methods.is_empty() {
        return Err(Problem::unknown_route());
    }
    let mut response = Problem::wrong_method(&methods).error_response();
    // RFC 9110 §10.2.1: who is refused for the method is told which are right.
    if let Ok(methods) = methods.parse() {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    Ok(response)
}

/// The methods that a path is served to, in the order of the alphabet.
fn methods_of(path: &str) -> Vec<&'static str> {
    let mut methods = Vec::new();
    for (template, route) in all() {
        if !matches(&template, path) {
            continue;
        }
        methods.push(route.method);
        if on_head(route.method, route.success) {
            methods.push("HEAD");
        }
    }
    methods.sort_unstable();
    methods.dedup();
    methods
}

/// Whether a path is one of a template's. A reserved word is no chat.
fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("{chat}"), Some(word)) if word.is_empty() || RESERVED.split('|').any(|r| r == word) => {
                return false;
            }
            (Some(name), Some(word)) if name.starts_with('{') && !word.is_empty() => {}
            (Some(name), Some(word)) if name == word => {}
            _ => return false,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_knows_its_methods() {
        let chat = "/api/v2/chats/11111111-1111-4111-8111-111111111111";
        for (path, methods) in [
            ("/api/v2/chats", &["GET", "HEAD", "POST"][..]),
            (chat, &["GET", "HEAD", "PATCH"]),
            (&format!("{chat}/stream"), &["GET"]),
            (&format!("{chat}/messages/7"), &["PATCH"]),
            ("/api/v2/chats/watch", &["GET"]),
            ("/api/v2/chats/config/retention-days", &["GET", "HEAD", "PUT"]),
            ("/api/experimental/chats/models", &["GET", "HEAD"]),
            ("/healthz", &["GET", "HEAD"]),
            ("/login/once", &["GET"]),
            // Not served at all: reserved words are no chats, and an empty segment is none.
            ("/api/v2/chats/models", &[]),
            ("/api/v2/chats/files", &["POST"]),
            ("/api/v2/chats/usage-limits/stream", &[]),
            ("/api/v2/chats/", &[]),
            ("/api/v2/chats//messages", &[]),
            ("/nothing", &[]),
        ] {
            assert_eq!(methods_of(path), methods, "{path}");
        }
    }
}
