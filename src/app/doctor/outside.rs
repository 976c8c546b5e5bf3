//! What lies outside: a daemon that runs, the providers of models, the servers of tools.

use super::{Check, Finding, Verdict};
use crate::{
    app::{mcp, models},
    clock::Timestamp,
    config::{Config, providers::ProviderKind, server::local_url},
    ids::UserId,
    llm::{
        catalog::{Catalog, ModelEntry, Outside, ProviderEntry, Unusable, model_record, provider_record},
        providers,
        transport::{
            self,
            reach::{Reached, reach},
        },
    },
    mcp::outbound::{NamedBy, Outbound, TIMEOUT, place},
    store::{
        Store,
        records::{
            mcp::McpServerRecord,
            models::{ModelTables, Source},
        },
        sealing::Keyring,
    },
    websocket::cause,
};
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, StatusCode, Url};
use std::{sync::Arc, time::Duration};

/// A daemon on this host that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(3);
/// Servers that are asked at once; one that does not answer keeps few others waiting.
const AT_ONCE: usize = 8;

/// Looks at all of them. Without a database only at those that the configuration declares.
pub async fn look(
    config: &Config,
    store: Option<&Store>,
    now: Timestamp,
    tell: &mut (dyn FnMut(Finding) + Send),
) {
    let (client, outbound) = match (transport::client(), Outbound::new()) {
        (Ok(client), Ok(outbound)) => (client, outbound),
        (Err(e), _) | (_, Err(e)) => {
            tell(Finding::new(Check::Daemon, Verdict::Failed, format!("nobody can be asked: {}", cause(e))));
            return;
        }
    };
    tell(daemon(config).await);
    match tables(config, store, now).await {
        Ok(tables) => {
            let keys = store.map_or_else(Keyring::none, |store| store.keys().clone());
            let catalog = Catalog::build(tables, &keys_of(config), &keys);
            let asked = catalog.providers().iter().map(|entry| provider(config, &client, &catalog, entry));
            let mut asked = stream::iter(asked).buffered(AT_ONCE);
            while let Some(finding) = asked.next().await {
                tell(finding);
            }
        }
        Err(e) => tell(Finding::new(Check::Provider, Verdict::Failed, e)),
    }
    match servers(config, store, now).await {
        Ok(servers) => {
            let asked = servers.iter().map(|record| server(&outbound, record));
            let mut asked = stream::iter(asked).buffered(AT_ONCE);
            while let Some(finding) = asked.next().await {
                tell(finding);
            }
        }
        Err(e) => tell(Finding::new(Check::McpServer, Verdict::Failed, e)),
    }
}

async fn daemon(config: &Config) -> Finding {
    let url = local_url(config.server.listen);
    let say = |verdict, detail| Finding::new(Check::Daemon, verdict, detail);
    // A proxy of the environment knows another loopback.
    let client = match Client::builder().no_proxy().timeout(PATIENCE).build() {
        Ok(client) => client,
        Err(e) => return say(Verdict::Failed, format!("nobody can be asked: {}", cause(e))),
    };
    match client.get(format!("{url}/readyz")).send().await.map(|answer| answer.status()) {
        Ok(StatusCode::OK) => say(Verdict::Ok, format!("runs at {url} and takes requests")),
        Ok(StatusCode::SERVICE_UNAVAILABLE) => say(
            Verdict::Warning,
            format!("runs at {url} and is not ready: it stops, or its database does not answer; see its log"),
        ),
        Ok(status) => say(
            Verdict::Failed,
            format!("what answers at {url} (status {status}) is no chatd; choose another server.listen"),
        ),
        Err(e) if e.is_timeout() => {
            say(Verdict::Failed, format!("what listens at {url} does not answer; see its log"))
        }
        Err(_) => say(Verdict::Skipped, format!("none runs at {url}; `chatd serve` starts it")),
    }
}

/// The keys of declared providers.
fn keys_of(config: &Config) -> Outside {
    let keys = config.providers.iter().filter_map(|p| Some((p.name.clone(), p.key.clone()?)));
    Outside {
        keys: keys.collect(),
        allow_user_api_keys: config.secrets.allow_user_api_keys,
        ..Outside::default()
    }
}

/// Providers and models as the next start will have them: what the database says of declared ones may be older than the
/// configuration.
async fn tables(config: &Config, store: Option<&Store>, now: Timestamp) -> Result<ModelTables, String> {
    let mut tables = match store {
        Some(store) => store.model_tables().await.map_err(|e| format!("they cannot be read: {e}"))?,
        None => ModelTables::default(),
    };
    tables.providers.retain(|provider| provider.source != Source::Config);
    tables.models.retain(|model| model.source != Source::Config);
    tables.providers.extend(config.providers.iter().map(|provider| provider_record(provider, now)));
    let threshold = config.chat.compaction_threshold_percent;
    tables.models.extend(config.models.iter().map(|model| model_record(model, threshold, now)));
    Ok(tables)
}

async fn provider(
    config: &Config,
    client: &Client,
    catalog: &Catalog,
    entry: &Arc<ProviderEntry>,
) -> Finding {
    let record = &entry.record;
    let say = |verdict, detail: String| Finding::of(Check::Provider, &record.name, verdict, detail);
    if !record.enabled {
        return say(Verdict::Skipped, "it is disabled".into());
    }
    let Some(kind) = entry.kind() else {
        return say(Verdict::Failed, format!("providers of the type {} are not supported", record.kind));
    };
    if kind.name == providers::SCRIPTED && record.base_url.is_none() {
        let declared =
            config.providers.iter().find(|p| p.kind == ProviderKind::Scripted && p.name == record.name);
        let script = declared.and_then(|p| p.script.as_deref());
        return match models::load_script(script) {
            Ok(_) => say(Verdict::Ok, "answers from its script, in this program".into()),
            Err(e) => say(Verdict::Failed, e.to_string()),
        };
    }
    // Nobody's own key, which is what everybody without one gets.
    let key = match entry.credential(UserId(uuid::Uuid::nil())) {
        Ok(key) => key,
        Err(Unusable::UserKeyRequired) => {
            return say(Verdict::Skipped, "it has no key of its own; users bring theirs".into());
        }
        Err(why) => return say(Verdict::Warning, why.to_string()),
    };
    let endpoint = match kind.endpoint(record.base_url.as_deref(), key, true) {
        Ok(endpoint) => endpoint,
        Err(failure) => return say(Verdict::Failed, failure.message),
    };
    let at = match endpoint.url() {
        Ok(url) => place(&url),
        Err(why) => return say(Verdict::Failed, why),
    };
    match reach(client, &endpoint).await {
        Err(why) => say(Verdict::Failed, format!("{at} cannot be reached: {why}")),
        Ok(Reached::KeyRefused(status)) => say(
            Verdict::Failed,
            format!("{at} does not take the key (status {}); give it another one", status.as_u16()),
        ),
        Ok(Reached::Unlisted(status)) if status.is_server_error() => {
            say(Verdict::Warning, format!("{at} answers with status {}", status.as_u16()))
        }
        Ok(Reached::Unlisted(status)) => say(
            Verdict::Ok,
            format!(
                "{at} answers; it lists no models (status {}), so its key is not checked",
                status.as_u16()
            ),
        ),
        Ok(Reached::Models(listed)) => {
            let known = format!("{at} answers and has {} models", listed.len());
            match unlisted(catalog, entry, &listed).as_slice() {
                [] => say(Verdict::Ok, known),
                missing => {
                    say(Verdict::Warning, format!("{known}, but not the configured {}", missing.join(", ")))
                }
            }
        }
    }
}

/// The models that are asked of a provider and that it does not list.
fn unlisted<'a>(catalog: &'a Catalog, entry: &ProviderEntry, listed: &[String]) -> Vec<&'a str> {
    // Azure lists what could be deployed, and is asked for what is.
    if listed.is_empty() || entry.record.kind == "azure" {
        return Vec::new();
    }
    let asked = catalog.models().iter().filter(|m| m.provider.id() == entry.id() && m.record.enabled);
    // Google lists `models/NAME` for NAME.
    let has = |model: &Arc<ModelEntry>| {
        listed
            .iter()
            .any(|id| *id == model.record.model || id.strip_prefix("models/") == Some(&model.record.model))
    };
    asked.filter(|model| !has(model)).map(|model| model.record.model.as_str()).collect()
}

/// Servers of tools as the next start will have them.
async fn servers(
    config: &Config,
    store: Option<&Store>,
    now: Timestamp,
) -> Result<Vec<McpServerRecord>, String> {
    let mut servers = match store {
        Some(store) => store.mcp_servers().await.map_err(|e| format!("they cannot be read: {e}"))?,
        None => Vec::new(),
    };
    servers.retain(|server| server.source != Source::Config);
    servers.extend(config.mcp_servers.iter().map(|server| mcp::record(server, now).0));
    Ok(servers)
}

/// Whether something answers there. What it says depends on who asks, and in whose name.
async fn server(outbound: &Outbound, record: &McpServerRecord) -> Finding {
    let say = |verdict, detail: String| Finding::of(Check::McpServer, &record.slug, verdict, detail);
    if !record.enabled {
        return say(Verdict::Skipped, "it is disabled".into());
    }
    let Ok(url) = Url::parse(&record.url) else {
        return say(Verdict::Failed, "its address cannot be read".into());
    };
    let client = match outbound.client(&url, NamedBy::Admin) {
        Ok(client) => client,
        Err(e) => return say(Verdict::Failed, e.to_string()),
    };
    let place = place(&url);
    // The head only: what comes behind it may be a stream without an end.
    let request = client.get(url).header("accept", "application/json, text/event-stream").timeout(TIMEOUT);
    match request.send().await.map(|answer| answer.status()) {
        Err(e) => say(Verdict::Failed, format!("{place} cannot be reached: {}", cause(e))),
        Ok(status) if status.is_server_error() => {
            say(Verdict::Warning, format!("{place} answers with status {}", status.as_u16()))
        }
        Ok(StatusCode::NOT_FOUND) => {
            say(Verdict::Warning, format!("{place} answers, and knows nothing of the path (status 404)"))
        }
        Ok(_) => say(Verdict::Ok, format!("{place} answers")),
    }
}
