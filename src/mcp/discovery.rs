//! From a server's address to an OAuth client: who guards the server (RFC 9728), where its authorization
//! server lets users agree (RFC 8414), and a registration there (RFC 7591).

use super::outbound::{Answer, NamedBy, Outbound, OutboundError};
use crate::config::Secret;
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;

/// What was found out, and registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// Client id.
    pub client_id: String,
    /// Client secret, if the authorization server gave one.
    pub client_secret: Option<Secret>,
    /// Where users agree.
    pub auth_url: String,
    /// Where codes become tokens.
    pub token_url: String,
    /// Scopes the server speaks of, with spaces between.
    pub scopes: Option<String>,
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// No usable answer.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// No metadata of the authorization server.
    #[error("no OAuth metadata was found for {0}")]
    NoMetadata(String),
    /// The metadata cannot be used.
    #[error("the OAuth metadata of {issuer} cannot be used: {why}")]
    Unusable {
        /// Whose metadata.
        issuer: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Clients cannot register themselves.
    #[error("{0} does not let clients register themselves")]
    NoRegistration(String),
}

#[derive(Deserialize)]
struct ResourceMetadata {
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

#[derive(Deserialize)]
struct ServerMetadata {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    registration_endpoint: Option<String>,
    code_challenge_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Registration {
    client_id: String,
    client_secret: Option<String>,
}

/// Finds out and registers.
///
/// # Errors
/// See [`DiscoveryError`]; nothing is kept anywhere then, except a registration at the other side.
pub async fn discover(
    out: &Outbound,
    server: &Url,
    redirect: &str,
    scopes: Option<&str>,
) -> Result<Discovered, DiscoveryError> {
    let resource = resource_metadata(out, server).await?;
    let (issuer, supported) = match resource {
        Some(found) => {
            let issuer = found.authorization_servers.first().and_then(|text| Url::parse(text).ok());
            (issuer, found.scopes_supported)
        }
        None => (None, Vec::new()),
    };
    // Before RFC 9728 the server was its own authorization server.
    let issuer = issuer.unwrap_or_else(|| at_root(server));
    let metadata = server_metadata(out, server, &issuer).await?;
    let unusable = |why| DiscoveryError::Unusable { issuer: super::outbound::place(&issuer), why };
    if metadata.code_challenge_methods_supported.is_some_and(|m| !m.iter().any(|m| m == "S256")) {
        return Err(unusable("it does not support PKCE with S256"));
    }
    let endpoint = |text: Option<String>, why| -> Result<Url, DiscoveryError> {
        let url = text.and_then(|t| Url::parse(&t).ok()).ok_or_else(|| unusable(why))?;
        // Checked here already, so that a record is never made of addresses that cannot be called.
        out.client(&url, NamedBy::Server(server))?;
        Ok(url)
    };
    let auth_url = endpoint(metadata.authorization_endpoint, "it names no authorization endpoint")?;
    let token_url = endpoint(metadata.token_endpoint, "it names no token endpoint")?;
    let registration = match metadata.registration_endpoint {
        Some(text) => endpoint(Some(text), "its registration endpoint is no address")?,
        None => return Err(DiscoveryError::NoRegistration(super::outbound::place(&issuer))),
    };
    let scopes = match scopes {
        Some(scopes) => Some(scopes.to_owned()),
        None => Some(supported.join(" ")).filter(|text| !text.is_empty() && text.len() <= 4096),
    };
    let methods = metadata.token_endpoint_auth_methods_supported.unwrap_or_default();
    let has = |name: &str| methods.iter().any(|m| m == name);
    // PKCE protects a client without a secret; a server that knows no such clients gives a secret.
    let method = match () {
        () if has("none") => "none",
        () if has("client_secret_post") && !has("client_secret_basic") => "client_secret_post",
        () => "client_secret_basic",
    };
    let mut wanted = json!({
        "client_name": "chatd",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
    });
    if let Some(scopes) = &scopes {
        wanted["scope"] = json!(scopes);
    }
    let by = NamedBy::Server(server);
    let answer = out.post(&registration, by, "application/json", None, wanted.to_string()).await?;
    let client: Registration = answer.json(&registration)?;
    if client.client_id.is_empty() {
        return Err(OutboundError::Shape(super::outbound::place(&registration)).into());
    }
    Ok(Discovered {
        client_id: client.client_id,
        client_secret: client.client_secret.filter(|s| !s.is_empty()).map(Secret::new),
        auth_url: auth_url.to_string(),
        token_url: token_url.to_string(),
        scopes,
    })
}

/// What the server says of who guards it; `None` when it says nothing.
async fn resource_metadata(out: &Outbound, server: &Url) -> Result<Option<ResourceMetadata>, DiscoveryError> {
    // A server that wants a token names its metadata (RFC 9728 §5.1). One that is down is told apart here
    // from one that has none.
    let probe = out.get(server, NamedBy::Admin).await?;
    let mut places = Vec::new();
    if let Some(url) = probe.authenticate.as_deref().and_then(named_metadata) {
        places.push(url);
    }
    let path = server.path().trim_end_matches('/');
    if !path.is_empty() {
        places.push(well_known(server, &format!("/.well-known/oauth-protected-resource{path}")));
    }
    places.push(well_known(server, "/.well-known/oauth-protected-resource"));
    for url in places {
        if let Some(found) = look(out, &url, server).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

async fn server_metadata(
    out: &Outbound,
    server: &Url,
    issuer: &Url,
) -> Result<ServerMetadata, DiscoveryError> {
    let path = issuer.path().trim_end_matches('/').to_owned();
    let mut places = vec![
        well_known(issuer, &format!("/.well-known/oauth-authorization-server{path}")),
        well_known(issuer, &format!("/.well-known/openid-configuration{path}")),
    ];
    if !path.is_empty() {
        places.push(well_known(issuer, &format!("{path}/.well-known/openid-configuration")));
    }
    for url in places {
        let Some(found): Option<ServerMetadata> = look(out, &url, server).await? else { continue };
        // RFC 8414 §3.3: metadata that speaks for somebody else must not be used.
        if found.issuer.trim_end_matches('/') != issuer.as_str().trim_end_matches('/') {
            let why = "it names another issuer";
            return Err(DiscoveryError::Unusable { issuer: super::outbound::place(issuer), why });
        }
        return Ok(found);
    }
    Err(DiscoveryError::NoMetadata(super::outbound::place(issuer)))
}

/// Metadata at one place; `None` when there is none.
async fn look<T: serde::de::DeserializeOwned>(
    out: &Outbound,
    url: &Url,
    server: &Url,
) -> Result<Option<T>, DiscoveryError> {
    let answer: Answer = out.get(url, NamedBy::Server(server)).await?;
    // Servers that know nothing of it answer as they like: 404, 401, or a page.
    Ok(answer.json(url).ok())
}

fn well_known(base: &Url, path: &str) -> Url {
    let mut url = at_root(base);
    url.set_path(path);
    url
}

fn at_root(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for addresses without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// The parameter `resource_metadata` of a `WWW-Authenticate` header.
fn named_metadata(header: &str) -> Option<Url> {
    let rest = header.split("resource_metadata=").nth(1)?;
    let text = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split([',', ' ']).next()?,
    };
    Url::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_metadata() {
        for header in [
            r#"Bearer resource_metadata="https://h/x""#,
            r#"Bearer realm="a", resource_metadata="https://h/x", scope="b""#,
            "Bearer resource_metadata=https://h/x, error=invalid_token",
        ] {
            assert_eq!(named_metadata(header).unwrap().as_str(), "https://h/x", "{header}");
        }
        for header in ["Bearer", "Basic realm=\"resource\"", "Bearer resource_metadata=\"/relative\""] {
            assert_eq!(named_metadata(header), None, "{header}");
        }
        let url = Url::parse("https://u:p@h:1/a/b?c#d").unwrap();
        assert_eq!(well_known(&url, "/.well-known/x/a/b").as_str(), "https://h:1/.well-known/x/a/b");
    }
}
