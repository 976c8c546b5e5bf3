//! What the address of a PostgreSQL server says: the parameters of a connection, and how far it is to be trusted.
//! The words are those of libpq, so that an address that works for psql works here.

use reqwest::Url;
use std::{path::PathBuf, str::FromStr as _, time::Duration};
use tokio_postgres::config::{Config as Parameters, Host, SslMode};

/// How the server has to prove who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Not at all: what is said is encrypted, to whoever answers.
    Anybody,
    /// By a certificate that one of the roots vouches for, whatever its name.
    Authority(Roots),
    /// By such a certificate, made out for the host that was dialled.
    Host(Roots),
}

/// Whose word counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// The certificate authorities that this machine trusts.
    System,
    /// Those of a PEM file.
    File(PathBuf),
}

/// A server's address, taken apart.
#[derive(Debug, Clone)]
pub struct PostgresAddress {
    /// Host, user, database and the rest; whether TLS is used is among them.
    pub parameters: Parameters,
    /// What TLS asks for.
    pub trust: Trust,
}

impl PostgresAddress {
    /// Reads `postgres://user:password@host/database?parameter=value`. Beside the parameters that
    /// tokio-postgres knows there are `sslrootcert` and all the values of libpq's `sslmode`. The host may also stand
    /// in the query (`postgres://user@/database?host=/var/run/postgresql`).
    ///
    /// # Errors
    /// What is wrong, without anything that is secret.
    pub fn read(url: &str) -> Result<Self, String> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut root, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(decoded(value)),
                Some(("sslrootcert", value)) => root = Some(decoded(value)),
                _ => rest.push(pair),
            }
        }
        let (address, user) = without_empty_host(address);
        // Its own words may quote the address.
        let mut parameters = Parameters::from_str(&format!("{address}?{}", rest.join("&"))).map_err(|e| {
            let cause = std::error::Error::source(&e).map(ToString::to_string).unwrap_or_default();
            let cause = if cause.contains("unknown option") { cause } else { "it cannot be read".into() };
            format!("the address of the database: {cause}")
        })?;
        if let Some((user, password)) = user {
            parameters.user(user);
            if let Some(password) = password {
                parameters.password(password);
            }
        }
        if parameters.get_hosts().is_empty() && parameters.get_hostaddrs().is_empty() {
            return Err("the address of the database names no host; for a socket on this machine add \
                 ?host=/var/run/postgresql"
                .into());
        }
        if parameters.get_application_name().is_none() {
            parameters.application_name("chatd");
        }
        limit_silence(&mut parameters, &rest);
        let roots = match root.as_deref() {
            None | Some("" | "system") => Roots::System,
            Some(file) => Roots::File(file.into()),
        };
        let (mode, trust) = match (mode.as_deref(), &roots) {
            (Some("disable"), _) => (SslMode::Disable, Trust::Anybody),
            // A server without TLS is taken as it is.
            (None | Some("" | "allow" | "prefer"), _) => (SslMode::Prefer, Trust::Anybody),
            // As libpq does it: whoever gives roots means them.
            (Some("require"), Roots::File(_)) => (SslMode::Require, Trust::Authority(roots)),
            (Some("require"), Roots::System) => (SslMode::Require, Trust::Anybody),
            (Some("verify-ca"), _) => (SslMode::Require, Trust::Authority(roots)),
            (Some("verify-full"), _) => (SslMode::Require, Trust::Host(roots)),
            (Some(other), _) => {
                return Err(format!(
                    "sslmode of the database's address: expected disable, prefer, require, verify-ca or \
                     verify-full, found {other:?}"
                ));
            }
        };
        // A socket of this machine needs no TLS, and the server has none there.
        let local = parameters.get_hosts().iter().any(|host| matches!(host, Host::Unix(_)));
        parameters.ssl_mode(if local { SslMode::Disable } else { mode });
        Ok(Self { parameters, trust })
    }
}

/// A server may go without a word: its machine dies, a firewall forgets the connection. The limits of the system are a quarter
/// of an hour for what was sent and two hours for who only listens; ours are below the time after which others take our chats.
/// What the address says of them counts.
fn limit_silence(parameters: &mut Parameters, said: &[&str]) {
    let open = |name: &str| !said.iter().any(|pair| pair.split('=').next() == Some(name));
    if open("connect_timeout") {
        parameters.connect_timeout(Duration::from_secs(3));
    }
    if open("tcp_user_timeout") {
        parameters.tcp_user_timeout(Duration::from_secs(20));
    }
    if open("keepalives_idle") {
        parameters.keepalives_idle(Duration::from_secs(10));
    }
    if open("keepalives_interval") {
        parameters.keepalives_interval(Duration::from_secs(5));
    }
    if open("keepalives_retries") {
        parameters.keepalives_retries(3);
    }
}

/// A value of a query. A plus sign is itself there, other than in a form.
fn decoded(value: &str) -> String {
    let value = value.replace('+', "%2B");
    form_urlencoded::parse(format!("v={value}").as_bytes())
        .next()
        .map(|(_, v)| v.into_owned())
        .unwrap_or_default()
}

type Credentials = (String, Option<String>);

/// The parser below refuses an empty host, which a user part before it makes.
fn without_empty_host(address: &str) -> (String, Option<Credentials>) {
    let whole = || (address.to_owned(), None);
    let Some((scheme, rest)) = address.split_once("://") else { return whole() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some(user) = authority.strip_suffix('@') else { return whole() };
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Some(decoded(password))),
        None => (user, None),
    };
    (format!("{scheme}://{path}"), Some((decoded(user), password)))
}

/// Whether a text is such an address at all.
pub(super) fn looks_like_one(text: &str) -> bool {
    // An empty host after a user is no URL to others.
    let text = text.replacen("@/", "@localhost/", 1);
    Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> PostgresAddress {
        PostgresAddress::read(url).unwrap_or_else(|why| panic!("{url}: {why}"))
    }

    #[test]
    fn trust_follows_libpq() {
        let file = || Roots::File("/etc/ca.pem".into());
        for (query, mode, trust) in [
            ("", SslMode::Prefer, Trust::Anybody),
            ("?sslmode=prefer", SslMode::Prefer, Trust::Anybody),
            ("?sslmode=disable", SslMode::Disable, Trust::Anybody),
            ("?sslmode=require", SslMode::Require, Trust::Anybody),
            ("?sslmode=require&sslrootcert=%2Fetc/ca.pem", SslMode::Require, Trust::Authority(file())),
            ("?sslmode=verify-ca", SslMode::Require, Trust::Authority(Roots::System)),
            ("?sslrootcert=system&sslmode=verify-full", SslMode::Require, Trust::Host(Roots::System)),
            ("?sslmode=verify-full&sslrootcert=/etc/ca.pem", SslMode::Require, Trust::Host(file())),
        ] {
            let address = read(&format!("postgres://u:p@db.example/chatd{query}"));
            assert_eq!((address.parameters.get_ssl_mode(), address.trust), (mode, trust), "{query}");
            assert_eq!(address.parameters.get_dbname(), Some("chatd"));
        }
        let socket = read("postgres:///chatd?host=/run/pg&user=u&sslmode=require");
        assert_eq!(socket.parameters.get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn a_user_may_stand_before_a_host_that_is_in_the_query() {
        let address = read("postgresql://ann%40x:se%2Fcret@/chatd?host=/run/pg&port=5433");
        let parameters = &address.parameters;
        assert_eq!(parameters.get_user(), Some("ann@x"));
        assert_eq!(parameters.get_password(), Some(&b"se/cret"[..]));
        assert_eq!(parameters.get_hosts(), [Host::Unix("/run/pg".into())]);
        assert_eq!((parameters.get_ports(), parameters.get_dbname()), (&[5433][..], Some("chatd")));
        assert!(looks_like_one("postgresql://ann@/chatd?host=/run/pg"));
    }

    #[test]
    fn silence_has_a_limit_unless_the_address_says_otherwise() {
        let of = |query: &str| {
            let p = read(&format!("postgres://u@h/d{query}")).parameters;
            let seconds = |d: Duration| d.as_secs();
            (
                p.get_connect_timeout().copied().map(seconds),
                p.get_tcp_user_timeout().copied().map(seconds),
                (
                    seconds(p.get_keepalives_idle()),
                    p.get_keepalives_interval().map(seconds),
                    p.get_keepalives_retries(),
                ),
            )
        };
        assert_eq!(of(""), (Some(3), Some(20), (10, Some(5), Some(3))));
        let own = "?connect_timeout=2&tcp_user_timeout=60&keepalives_idle=7200&keepalives_interval=9&keepalives_retries=1";
        assert_eq!(of(own), (Some(2), Some(60), (7200, Some(9), Some(1))));
        assert_eq!(of("?connect_timeout=0&tcp_user_timeout=0").0, None, "0 means no limit, as with psql");
    }

    #[test]
    fn mistakes_are_told_without_the_password() {
        for (url, says) in [
            ("postgres://u:canary@h/d?sslmode=on", "expected disable, prefer, require"),
            ("postgres://u:canary@h/d?sslcrt=x", "unknown option `sslcrt`"),
            ("postgres://u:canary@h:port/d", "it cannot be read"),
            ("postgres:///d?user=canary", "names no host"),
        ] {
            let why = PostgresAddress::read(url).unwrap_err();
            assert!(why.contains(says) && !why.contains("canary"), "{url}: {why}");
        }
    }
}
