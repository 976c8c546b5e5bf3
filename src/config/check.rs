//! What no single key can tell: rules between keys, references, and ranges.

use super::{
    Config, DatabaseUrl,
    auth::AuthMode,
    mcp_servers::{McpAuth, McpServer},
    models::{Model, REASONING_EFFORTS},
    postgres::PostgresAddress,
    providers::{Provider, ProviderKind},
    resolve::Report,
    templates::{ParameterKind, Template, TemplateKind},
};
use std::{collections::BTreeMap, time::Duration};

/// Checks everything whose sections are sound in themselves; `broken` names the others, about
/// which a second complaint would only mislead.
pub(super) fn check(config: &Config, broken: &[String], report: &mut Report) {
    let sound = |sections: &[&str]| !sections.iter().any(|s| broken.iter().any(|b| b == s));
    if sound(&["server", "auth"]) {
        auth(config, report);
        nonzero(report, "auth.session_ttl", config.auth.session_ttl);
    }
    if sound(&["server"]) {
        positive(report, "server.max_body", config.server.max_body);
    }
    if sound(&["database"]) {
        positive(report, "database.pool_size", config.database.pool_size.into());
        if let DatabaseUrl::Postgres(url) = &config.database.url
            && let Err(why) = PostgresAddress::read(url.expose())
        {
            report.fault("database.url", why);
        }
    }
    if sound(&["worker"]) {
        worker(config, report);
    }
    if sound(&["stream"]) {
        stream(config, report);
    }
    if sound(&["chat"]) {
        positive(report, "chat.max_queue", config.chat.max_queue.into());
        percent(report, "chat.compaction_threshold_percent", config.chat.compaction_threshold_percent);
        days(report, "chat.auto_archive_days", config.chat.auto_archive_days);
        days(report, "chat.debug_retention_days", config.chat.debug_retention_days);
    }
    let filter = &config.log.filter;
    if sound(&["log"]) && tracing_subscriber::EnvFilter::builder().parse(filter).is_err() {
        report.fault(
            "log.filter",
            format!("expected levels such as \"info,chatd::turn=debug\", found {filter:?}"),
        );
    }
    if let Some((word, level)) = mistyped_level(filter).filter(|_| sound(&["log"])) {
        report.fault("log.filter", format!("{word:?} is no level; did you mean \"{level}\"?"));
    }
    if sound(&["providers"]) {
        unique(report, "providers", config.providers.iter().map(|p| p.name.as_str()));
        for (i, provider) in config.providers.iter().enumerate() {
            self::provider(provider, &format!("providers[{i}]"), report);
        }
    }
    if sound(&["models"]) {
        unique(report, "models", config.models.iter().map(|m| m.name.as_str()));
        one_default(config, report);
        for (i, model) in config.models.iter().enumerate() {
            self::model(model, &format!("models[{i}]"), report);
            if sound(&["providers"]) {
                reference(config, model, &format!("models[{i}].provider"), report);
            }
        }
    }
    if sound(&["templates"]) {
        unique(report, "templates", config.templates.iter().map(|t| t.name.as_str()));
        for (i, template) in config.templates.iter().enumerate() {
            self::template(template, &format!("templates[{i}]"), report);
        }
    }
    if sound(&["mcp_servers"]) {
        unique(report, "mcp_servers", config.mcp_servers.iter().map(|s| s.name.as_str()));
        for (i, server) in config.mcp_servers.iter().enumerate() {
            mcp_server(server, &format!("mcp_servers[{i}]"), report);
        }
    }
    without_effect(config, report);
}

/// Warns of keys that are known and that nothing reads so far: silence would look like consent.
fn without_effect(config: &Config, report: &mut Report) {
    let mut warn = |key: &str, set: bool, why: &str| {
        if set {
            report.warn(key, format!("has no effect in this version: {why}"));
        }
    };
    warn("auth.oidc", config.auth.oidc.is_some(), "people sign in with tokens only");
    warn("worker.max_running_subagents", config.worker.max_running_subagents != 0, "there are no subagents");
    warn("telemetry.otlp_endpoint", config.telemetry.otlp_endpoint.is_some(), "no traces are sent");
    for i in 0..config.mcp_servers.len() {
        warn(
            &format!("mcp_servers[{i}]"),
            true,
            "it can be picked and connected, but its tools are not called",
        );
    }
}

/// A lone word of a filter that is nearly a level. It would be taken for the name of a module, and nothing else
/// be logged.
fn mistyped_level(filter: &str) -> Option<(&str, &'static str)> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let lone = filter.split(',').map(str::trim).filter(|word| word.chars().all(|c| c.is_ascii_alphabetic()));
    lone.filter(|word| word.len() > 2 && !is_level(word))
        .find_map(|word| Some((word, super::keys::nearest(word, LEVELS.into_iter())?)))
}

fn auth(config: &Config, report: &mut Report) {
    let listen = config.server.listen;
    if config.auth.mode == AuthMode::None && !listen.ip().is_loopback() {
        let what = format!(
            "\"none\" is only allowed on the loopback, and server.listen is {listen}; \
             use \"token\", or listen on 127.0.0.1"
        );
        report.fault("auth.mode", what);
    }
    if let Some(oidc) = &config.auth.oidc {
        required(report, "auth.oidc.issuer", oidc.issuer.is_some());
        required(report, "auth.oidc.client_id", !oidc.client_id.is_empty());
    }
}

fn worker(config: &Config, report: &mut Report) {
    let worker = &config.worker;
    nonzero(report, "worker.acquire_interval", worker.acquire_interval);
    nonzero(report, "worker.heartbeat_interval", worker.heartbeat_interval);
    nonzero(report, "worker.tool_result_timeout", worker.tool_result_timeout);
    positive(report, "worker.max_chats_per_acquire", worker.max_chats_per_acquire.into());
    positive(report, "worker.max_steps", worker.max_steps.into());
    positive(report, "worker.max_attempts", worker.max_attempts.into());
    // One heartbeat may be lost without the chat being taken from a healthy owner.
    if worker.lease <= worker.heartbeat_interval.saturating_mul(2) {
        let show = humantime::format_duration;
        let what = format!(
            "expected more than twice worker.heartbeat_interval ({}), found {}",
            show(worker.heartbeat_interval),
            show(worker.lease)
        );
        report.fault("worker.lease", what);
    }
}

fn stream(config: &Config, report: &mut Report) {
    let stream = &config.stream;
    positive(report, "stream.subscriber_queue", stream.subscriber_queue.into());
    positive(report, "stream.episode_buffer", stream.episode_buffer);
    nonzero(report, "stream.janitor_interval", stream.janitor_interval);
    nonzero(report, "stream.sync_interval", stream.sync_interval);
    nonzero(report, "stream.ping_interval", stream.ping_interval);
}

fn provider(provider: &Provider, at: &str, report: &mut Report) {
    let name = &provider.name;
    if !name.is_empty() && !is_kebab(name) {
        let what =
            format!("expected lower-case letters and digits with single dashes between, found {name:?}");
        report.fault(format!("{at}.name"), what);
    }
    let needs_url = matches!(provider.kind, ProviderKind::OpenaiCompatible | ProviderKind::Azure);
    if needs_url && provider.base_url.is_none() {
        report
            .fault(format!("{at}.base_url"), format!("is required for type \"{}\"", provider.kind.as_str()));
    }
    match &provider.script {
        Some(_) if provider.kind != ProviderKind::Scripted => {
            report.fault(format!("{at}.script"), "only type \"scripted\" has a script");
        }
        Some(path) if !path.is_file() => {
            report.fault(format!("{at}.script"), format!("there is no file {}", path.display()));
        }
        _ => {}
    }
}

fn model(model: &Model, at: &str, report: &mut Report) {
    required(report, &format!("{at}.model"), !model.model.trim().is_empty());
    positive(report, &format!("{at}.context_limit"), model.context_limit);
    positive(report, &format!("{at}.max_output_tokens"), model.max_output_tokens);
    // Both become 64-bit signed columns.
    for (key, tokens) in
        [("context_limit", model.context_limit), ("max_output_tokens", model.max_output_tokens)]
    {
        if i64::try_from(tokens).is_err() {
            report.fault(format!("{at}.{key}"), "is out of range");
        }
    }
    if let Some(threshold) = model.compaction_threshold {
        percent(report, &format!("{at}.compaction_threshold"), threshold);
    }
    for (key, value, low, high) in [
        ("temperature", model.temperature, 0.0, 2.0),
        ("top_p", model.top_p, 0.0, 1.0),
        ("presence_penalty", model.presence_penalty, -2.0, 2.0),
        ("frequency_penalty", model.frequency_penalty, -2.0, 2.0),
    ] {
        if let Some(value) = value
            && !(low..=high).contains(&value)
        {
            report.fault(
                format!("{at}.{key}"),
                format!("expected a number from {low} to {high}, found {value}"),
            );
        }
    }
    if let Some(effort) = &model.reasoning_effort
        && !REASONING_EFFORTS.contains(&effort.as_str())
    {
        let what = format!("expected one of {}, found {effort:?}", REASONING_EFFORTS.join(", "));
        report.fault(format!("{at}.reasoning_effort"), what);
    }
}

fn reference(config: &Config, model: &Model, key: &str, report: &mut Report) {
    let name = model.provider.as_str();
    if config.providers.iter().any(|provider| provider.name == name) {
        return;
    }
    let names = || config.providers.iter().map(|provider| provider.name.as_str());
    let hint = match super::keys::nearest(name, names()) {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None if config.providers.is_empty() => "; declare it in [[providers]]".to_owned(),
        None => format!("; there is {}", names().collect::<Vec<_>>().join(", ")),
    };
    let what = if name.is_empty() {
        "is required".to_owned()
    } else {
        format!("no provider is named {name:?}{hint}")
    };
    report.fault(key, what);
}

fn one_default(config: &Config, report: &mut Report) {
    let mut first: Option<&Model> = None;
    for (i, model) in config.models.iter().enumerate().filter(|(_, model)| model.default) {
        let key = format!("models[{i}].default");
        if let Some(first) = first {
            let what = format!("{:?} is the default already; only one model can be", first.name);
            report.fault(key, what);
        } else if !model.enabled {
            report.fault(key, "a model that is not enabled cannot be the default");
        } else {
            first = Some(model);
        }
    }
}

fn template(template: &Template, at: &str, report: &mut Report) {
    if !template.name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        let what =
            format!("expected letters, digits, dots, dashes and underscores, found {:?}", template.name);
        report.fault(format!("{at}.name"), what);
    }
    parameters(template, at, report);
    let commands = [("start", &template.start), ("stop", &template.stop), ("status", &template.status)];
    match template.kind {
        TemplateKind::Local => {
            required(report, &format!("{at}.directory"), !template.directory.is_empty());
        }
        TemplateKind::Command => {
            for (key, command) in &commands[..2] {
                if command.is_none() {
                    report.fault(format!("{at}.{key}"), "is required for kind \"command\"");
                }
            }
            return;
        }
        TemplateKind::External => {}
    }
    for (key, _) in commands.iter().filter(|(_, command)| command.is_some()) {
        report.fault(format!("{at}.{key}"), "only kind \"command\" has commands");
    }
}

fn parameters(template: &Template, at: &str, report: &mut Report) {
    let names = || template.parameters.iter().map(|parameter| parameter.name.as_str());
    for (i, name) in names().enumerate() {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            let what = format!("expected letters, digits, dashes and underscores, found {name:?}");
            report.fault(format!("{at}.parameters[{i}].name"), what);
        }
        // Their variables in the environment of commands are told apart by this alone.
        let same = |other: &str| other.replace('-', "_").eq_ignore_ascii_case(&name.replace('-', "_"));
        if names().take(i).any(same) {
            report.fault(format!("{at}.parameters[{i}].name"), format!("{name:?} is there twice"));
        }
    }
    for (i, parameter) in template.parameters.iter().enumerate() {
        let Some(pattern) = &parameter.validation_regex else { continue };
        let key = format!("{at}.parameters[{i}].validation_regex");
        if parameter.kind != ParameterKind::String {
            report.fault(key, "only type \"string\" has one");
        } else if let Err(e) = regex_lite::Regex::new(pattern) {
            report.fault(key, format!("{pattern:?} is no regular expression: {e}"));
        }
    }
    for (i, preset) in template.presets.iter().enumerate() {
        required(report, &format!("{at}.presets[{i}].name"), !preset.name.is_empty());
        if template.presets[..i].iter().any(|other| other.name == preset.name) {
            report.fault(format!("{at}.presets[{i}].name"), format!("{:?} is there twice", preset.name));
        }
        for name in preset.parameters.keys().filter(|name| !names().any(|known| known == name.as_str())) {
            report.fault(format!("{at}.presets[{i}].parameters"), format!("there is no parameter {name:?}"));
        }
    }
}

fn mcp_server(server: &McpServer, at: &str, report: &mut Report) {
    if !server.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        let what = format!("expected letters, digits, dashes and underscores, found {:?}", server.name);
        report.fault(format!("{at}.name"), what);
    }
    required(report, &format!("{at}.url"), server.url.is_some());
    let has_key = server.api_key.is_some() || server.api_key_env.is_some() || server.api_key_file.is_some();
    let has_headers = !server.headers.is_empty() || !server.headers_env.is_empty();
    if server.auth == McpAuth::ApiKey {
        if server.api_key_header.is_none() {
            report.fault(format!("{at}.api_key_header"), "is required for auth \"api_key\"");
        }
        if !has_key {
            let what = "auth \"api_key\" needs api_key_env or api_key_file (or api_key)";
            report.fault(format!("{at}.api_key_env"), what);
        }
    } else if has_key {
        report.fault(format!("{at}.auth"), "a key is given, so set auth = \"api_key\"");
    }
    if server.auth == McpAuth::Headers && !has_headers {
        report.fault(format!("{at}.headers"), "auth \"headers\" needs at least one header");
    } else if server.auth != McpAuth::Headers && has_headers {
        report.fault(format!("{at}.auth"), "headers are given, so set auth = \"headers\"");
    }
    let oauth = [
        ("oauth2_client_id", server.oauth2_client_id.is_some()),
        ("oauth2_auth_url", server.oauth2_auth_url.is_some()),
        ("oauth2_token_url", server.oauth2_token_url.is_some()),
    ];
    let given = oauth.iter().filter(|(_, given)| *given).count();
    if given > 0 && server.auth != McpAuth::Oauth2 {
        report.fault(format!("{at}.auth"), "OAuth addresses are given, so set auth = \"oauth2\"");
    } else if given > 0 && given < oauth.len() {
        for (key, _) in oauth.iter().filter(|(_, given)| !given) {
            let what =
                "give oauth2_client_id, oauth2_auth_url and oauth2_token_url together, or none of them";
            report.fault(format!("{at}.{key}"), what);
        }
    }
}

fn unique<'a>(report: &mut Report, list: &str, names: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeMap::new();
    for (i, name) in names.enumerate() {
        let key = format!("{list}[{i}].name");
        if name.trim().is_empty() {
            report.fault(key, "is required");
        } else if let Some(first) = seen.insert(name, i) {
            report.fault(key, format!("{name:?} is the name of {list}[{first}] already; names are unique"));
        }
    }
}

fn required(report: &mut Report, key: &str, given: bool) {
    if !given {
        report.fault(key, "is required");
    }
}

fn positive(report: &mut Report, key: &str, value: u64) {
    if value == 0 {
        report.fault(key, "expected more than 0");
    }
}

fn nonzero(report: &mut Report, key: &str, value: Duration) {
    if value.is_zero() {
        report.fault(key, "expected more than 0s");
    }
}

fn percent(report: &mut Report, key: &str, value: u8) {
    if value > 100 {
        report.fault(key, format!("expected a percentage from 0 to 100, found {value}"));
    }
}

/// The API's own bound (api.md §2.13).
const MAX_DAYS: u32 = 3650;

fn days(report: &mut Report, key: &str, value: u32) {
    if value > MAX_DAYS {
        report.fault(key, format!("expected a number of days from 0 to {MAX_DAYS}, found {value}"));
    }
}

fn is_kebab(name: &str) -> bool {
    let word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.split('-').all(word)
}
