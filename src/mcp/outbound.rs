//! Short requests to servers that somebody else runs: bounded in time and size, no redirects to another
//! origin, and no way into the own network for addresses that no administrator chose.

use bytes::BytesMut;
use reqwest::{
    RequestBuilder, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// Longest time of one request with its answer (workspace-and-providers.md §4.4).
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer; metadata and tokens are a few KiB.
const MAX_BODY: usize = 256 * 1024;
/// Redirects within one origin.
const MAX_REDIRECTS: usize = 3;

/// Why a request got no usable answer. The texts hold nothing that the other side sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The address cannot be called.
    #[error("{0} is no absolute http or https address")]
    Address(String),
    /// The address was named by another server and lies where it must not point to.
    #[error("{0} may not be called: an address that another server names must be https and public")]
    Forbidden(String),
    /// No connection, or it broke.
    #[error("{0} cannot be reached")]
    Unreachable(String),
    /// It took too long.
    #[error("{host} did not answer within {seconds} s", host = .0, seconds = TIMEOUT.as_secs())]
    Slow(String),
    /// The answer is too large.
    #[error("the answer of {0} is too large")]
    TooLarge(String),
    /// It answered with a status that is no success.
    #[error("{host} answered with status {status}")]
    Status {
        /// Who.
        host: String,
        /// The status.
        status: u16,
    },
    /// The answer has another shape.
    #[error("the answer of {0} is not what was expected")]
    Shape(String),
}

/// An answer of any status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// `WWW-Authenticate`.
    pub authenticate: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// The way out.
#[derive(Debug, Clone)]
pub struct Outbound {
    chosen: reqwest::Client,
    foreign: reqwest::Client,
}

/// Who named an address.
#[derive(Debug, Clone, Copy)]
pub enum NamedBy<'a> {
    /// An administrator.
    Admin,
    /// Metadata of the server at this address, which an administrator named.
    Server(&'a Url),
}

impl Outbound {
    /// Sets up both clients.
    ///
    /// # Errors
    /// When the TLS back end cannot be set up.
    pub fn new() -> reqwest::Result<Self> {
        // Fails only when a provider is installed already, which then serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(redirect::Policy::custom(within_origin))
                // A request now and then, from any thread: nothing is gained by open connections.
                .pool_max_idle_per_host(0)
                .user_agent(concat!("chatd/", env!("CARGO_PKG_VERSION")))
        };
        // Behind a proxy the names are resolved there, and its own name may well be a private address.
        let foreign = if behind_proxy() { builder() } else { builder().dns_resolver(Arc::new(PublicOnly)) };
        Ok(Self { chosen: builder().build()?, foreign: foreign.build()? })
    }

    /// The client for an address.
    ///
    /// # Errors
    /// [`OutboundError::Forbidden`], [`OutboundError::Address`].
    pub fn client(&self, url: &Url, by: NamedBy<'_>) -> Result<&reqwest::Client, OutboundError> {
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(OutboundError::Address(place(url)));
        }
        match by {
            NamedBy::Admin => Ok(&self.chosen),
            // The machine that the administrator chose may speak of itself.
            NamedBy::Server(server) if server.host_str() == url.host_str() => Ok(&self.chosen),
            NamedBy::Server(_) => {
                let literal = url.host_str().and_then(|h| h.trim_matches(['[', ']']).parse::<IpAddr>().ok());
                let allowed = url.scheme() == "https" && literal.is_none_or(is_public);
                if allowed { Ok(&self.foreign) } else { Err(OutboundError::Forbidden(place(url))) }
            }
        }
    }

    /// GET.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, url: &Url, by: NamedBy<'_>) -> Result<Answer, OutboundError> {
        let request = self.client(url, by)?.get(url.clone()).header("accept", "application/json");
        send(url, request).await
    }

    /// POST.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(
        &self,
        url: &Url,
        by: NamedBy<'_>,
        content_type: &'static str,
        basic: Option<(&str, &str)>,
        body: String,
    ) -> Result<Answer, OutboundError> {
        let mut request = self
            .client(url, by)?
            .post(url.clone())
            .header("accept", "application/json")
            .header("content-type", content_type)
            .body(body);
        if let Some((user, password)) = basic {
            request = request.basic_auth(user, Some(password));
        }
        send(url, request).await
    }
}

async fn send(url: &Url, request: RequestBuilder) -> Result<Answer, OutboundError> {
    let exchange = async {
        let mut response = request.send().await.map_err(|e| unreachable(url, &e))?;
        let status = response.status();
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let authenticate = header("www-authenticate");
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(url, &e))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(OutboundError::TooLarge(place(url)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, authenticate, body: body.to_vec() })
    };
    timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(OutboundError::Slow(place(url))))
}

fn unreachable(url: &Url, e: &reqwest::Error) -> OutboundError {
    // The causes name addresses at most; the URL itself, whose query may hold a secret, is left out.
    let mut cause = std::error::Error::source(e);
    let mut text = String::new();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    tracing::debug!(host = place(url), cause = text, "a request to an outside server failed");
    OutboundError::Unreachable(place(url))
}

impl Answer {
    /// The JSON of a success.
    ///
    /// # Errors
    /// [`OutboundError::Status`], [`OutboundError::Shape`].
    pub fn json<T: serde::de::DeserializeOwned>(&self, url: &Url) -> Result<T, OutboundError> {
        if !self.status.is_success() {
            return Err(OutboundError::Status { host: place(url), status: self.status.as_u16() });
        }
        serde_json::from_slice(&self.body).map_err(|_| OutboundError::Shape(place(url)))
    }
}

/// Scheme, host and port: what can be told without telling secrets.
#[must_use]
pub fn place(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

fn behind_proxy() -> bool {
    ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

fn within_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let stays = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if stays && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
}

/// Resolves names to public addresses only, so that a name cannot stand for a machine of the own network.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|a| is_public(a.ip())).collect();
            if public.is_empty() {
                return Err("the name has no public address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the Internet at large.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                // Shared by carriers (RFC 6598), protocol assignments (RFC 6890), benchmarks (RFC 2544).
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(ip) => match embedded_v4(ip) {
            Some(v4) => is_public(v4),
            None => {
                let first = ip.segments()[0];
                // 2000::/3 is what has been given out; documentation and tunnels to v4 lie in it.
                (first & 0xe000) == 0x2000
                    && !(first == 0x2001 && ip.segments()[1] == 0x0db8)
                    && first != 0x2002
            }
        },
    }
}

/// The v4 address that a mapped (`::ffff:a.b.c.d`) or translated (`64:ff9b::a.b.c.d`) address stands for.
fn embedded_v4(ip: Ipv6Addr) -> Option<IpAddr> {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return Some(v4.into());
    }
    let [a, b, c, d, e, f, high, low] = ip.segments();
    ([a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0]).then(|| {
        let ([p, q], [r, s]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::from([p, q, r, s])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_own_network_are_not_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2001:db8::1",
            "2002:7f00:1::",
            "ff02::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn what_a_server_names_must_be_public_unless_it_is_the_server_itself() {
        let out = Outbound::new().unwrap();
        let url = |text: &str| Url::parse(text).unwrap();
        let server = url("http://127.0.0.1:9000/mcp");
        let ok = |text: &str, by| out.client(&url(text), by).is_ok();
        for named in ["http://127.0.0.1:1/x", "https://auth.example/x", "https://1.1.1.1/"] {
            assert!(ok(named, NamedBy::Server(&server)), "{named}");
        }
        for named in [
            "http://localhost:1/x",
            "http://auth.example/x",
            "https://10.0.0.1/",
            "https://[::1]/",
            "https://167772161/",
        ] {
            assert!(!ok(named, NamedBy::Server(&server)), "{named}");
        }
        assert!(ok("http://10.0.0.1/", NamedBy::Admin));
        assert!(!ok("ftp://10.0.0.1/", NamedBy::Admin));
        assert_eq!(place(&url("https://u:p@host:8443/x?key=secret")), "https://host:8443");
    }

    #[tokio::test]
    async fn a_name_of_the_own_network_is_not_resolved() {
        let name: Name = "localhost".parse().unwrap();
        assert!(PublicOnly.resolve(name).await.is_err());
    }
}
