//! `GET /chats/providers` and its kin (api.md §2.12). Providers are declared in the configuration
//! file; the API shows them, never their keys.

use super::{
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    state::ApiState,
};
use crate::{
    config::Endpoint,
    ids::ProviderId,
    llm::{
        catalog::{Catalog, ProviderEntry, wire_name},
        providers::{PROVIDERS, display_name},
    },
};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A provider (api.md §2.12). Its key is never shown.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Provider)]
pub struct ProviderOut<'a> {
    id: ProviderId,
    provider: &'static str,
    display_name: &'a str,
    icon: &'static str,
    enabled: bool,
    has_api_key: bool,
    central_api_key_enabled: bool,
    allow_user_api_key: bool,
    allow_central_api_key_fallback: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<&'a str>,
    source: &'static str,
}

/// What the OpenAPI document says of it.
pub const LIST: Doc =
    Doc::new("Declared and supported providers").replies::<Vec<ProviderOut<'static>>>().errors(&[404]);

/// Every declared provider, and every type that is not declared.
pub async fn list(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::not_found("Resource"))?;
    Ok(body::ok(&all(&state.catalog)))
}

fn all(catalog: &Catalog) -> Vec<ProviderOut<'_>> {
    let mut all: Vec<_> = catalog.providers().iter().map(|p| declared(p)).collect();
    for kind in PROVIDERS.iter().filter(|p| p.format.is_some()) {
        if !all.iter().any(|p| p.provider == kind.name) {
            all.push(ProviderOut {
                id: ProviderId(Uuid::nil()),
                provider: kind.name,
                display_name: kind.display_name,
                icon: "",
                enabled: false,
                has_api_key: false,
                central_api_key_enabled: false,
                allow_user_api_key: false,
                allow_central_api_key_fallback: false,
                base_url: None,
                source: "supported",
            });
        }
    }
    all
}

fn declared(entry: &ProviderEntry) -> ProviderOut<'_> {
    let spec = &entry.spec;
    let provider = wire_name(spec.kind);
    ProviderOut {
        id: entry.id,
        provider,
        display_name: spec.display_name.as_deref().unwrap_or_else(|| display_name(provider)),
        icon: "",
        enabled: spec.enabled,
        has_api_key: spec.key.is_some(),
        central_api_key_enabled: true,
        allow_user_api_key: false,
        allow_central_api_key_fallback: false,
        base_url: spec.base_url.as_ref().map(Endpoint::as_str),
        // Set by whoever runs the server, and not to be changed through the API.
        source: "env_preset",
    }
}

fn refusal() -> Problem {
    Problem::forbidden("Providers are declared in the configuration file of this server.")
        .detail("Change [[providers]] there and restart.")
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Refused: providers are declared in the configuration file");

/// Refuses to create.
pub async fn create(_: Caller) -> Result<HttpResponse> {
    Err(refusal())
}

/// What the OpenAPI document says of it.
pub const CHANGE: Doc = Doc::new("Refused: providers are declared in the configuration file").errors(&[404]);

/// Refuses to change or delete, or says that there is no such provider.
pub async fn change(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::forbidden("Only administrators may change providers."))?;
    let known = state.catalog.providers().iter().any(|p| p.id.to_string() == *path);
    Err(if known { refusal() } else { Problem::not_found("Provider") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        config::{
            Secret,
            providers::{Provider, ProviderKind},
        },
    };

    #[test]
    fn keys_are_never_shown_and_every_type_is_there() {
        let spec = Provider {
            name: "mine".into(),
            kind: ProviderKind::Anthropic,
            key: Some(Secret::new("canary")),
            ..Provider::default()
        };
        let catalog = Catalog::new(&[spec], &[], 70, Timestamp::from_micros(0));
        let all = all(&catalog);
        assert_eq!(
            (all[0].provider, all[0].display_name, all[0].has_api_key),
            ("anthropic", "Anthropic", true)
        );
        assert_eq!(all.iter().filter(|p| p.provider == "anthropic").count(), 1);
        assert!(all.iter().any(|p| p.provider == "openai" && p.source == "supported"));
        assert!(!serde_json::to_string(&all).unwrap().contains("canary"));
    }
}
