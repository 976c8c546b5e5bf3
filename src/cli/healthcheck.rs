//! `chatd healthcheck`: for containers, which have no curl.

use super::{Exit, Failure, Options, Outcome};
use crate::config::server::local_url;
use clap::Args;
use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// Arguments of `chatd healthcheck`.
#[derive(Debug, Clone, Args)]
pub struct HealthcheckArgs {
    /// Address of the daemon [default: the one of the configuration]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// A daemon that takes longer than this for `GET /healthz` is not well. Container runtimes give a
/// check 30 s as a rule; the connection and each read have their own share.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `GET /healthz`.
///
/// # Errors
/// Status 1 when the daemon does not answer 200, 78 when its address had to come from a
/// configuration that is not valid.
pub fn run(args: &HealthcheckArgs, options: &Options) -> Outcome {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => local_url(options.load()?.config.server.listen),
    };
    let target = Target::parse(&url)?;
    match target.status() {
        Ok(200) => Ok(Exit::Done),
        Ok(status) => Err(Failure::failed(format!("the daemon at {url} answers {status}; see its log"))),
        Err(error) => {
            Err(Failure::failed(format!("no daemon answers at {url} ({error}); start it with `chatd serve`")))
        }
    }
}

struct Target {
    /// `host:port`, as in the address.
    authority: String,
    port: u16,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::new(Exit::Usage, format!("--url: {what}"));
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| wrong("give the plain listener of the daemon, as in http://127.0.0.1:7777"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = match path.trim_end_matches('/') {
            "" => "/healthz".to_owned(),
            prefix => format!("/{prefix}/healthz"),
        };
        // An IPv6 address has colons of its own, inside of its brackets.
        let port = match authority.rsplit_once(':') {
            Some((_, digits)) if !digits.ends_with(']') => {
                digits.parse().map_err(|_| wrong("the port is not a number from 0 to 65535"))?
            }
            _ => 80,
        };
        if authority.is_empty() || authority.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong("there is no host in it; it reads http://HOST:PORT"));
        }
        Ok(Self { authority: authority.to_owned(), port, path })
    }

    fn host(&self) -> &str {
        let host = self.authority.strip_suffix(&format!(":{}", self.port)).unwrap_or(&self.authority);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    fn status(&self) -> io::Result<u16> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (self.host(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return self.ask(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn ask(&self, mut stream: TcpStream) -> io::Result<u16> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (path, host) = (&self.path, &self.authority);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        // "HTTP/1.1 200": the rest of the answer is of no interest.
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        std::str::from_utf8(&head)
            .ok()
            .and_then(|head| head.strip_prefix("HTTP/1."))
            .and_then(|head| head.get(2..)?.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is not HTTP"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (url, host, port, path) in [
            ("http://127.0.0.1:7777", "127.0.0.1", 7777, "/healthz"),
            ("http://[::1]:7777/", "::1", 7777, "/healthz"),
            ("http://[::1]", "::1", 80, "/healthz"),
            ("http://chatd/base/", "chatd", 80, "/base/healthz"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host(), target.port, target.path.as_str()), (host, port, path), "{url}");
        }
        for url in ["https://chatd", "chatd:7777", "http://", "http://h:x"] {
            assert_eq!(Target::parse(url).err().map(|f| f.exit), Some(Exit::Usage), "{url}");
        }
    }
}
