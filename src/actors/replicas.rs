//! The other replicas of the deployment: how they are found and how we prove to be one of them.

use crate::{
    clock::Clock,
    ids::{AgentId, WorkerId},
    store::{self, Store},
    workspace::{
        elsewhere,
        status::{self, AgentStatus, INACTIVE},
    },
};
use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use subtle::ConstantTimeEq as _;

/// Key of the secret in the table `deployment`.
const SECRET_KEY: &str = "replica_secret";
/// What a credential of a replica begins with; no token of a user does.
const PREFIX: &str = "replica-";
/// Addresses kept. A deployment has a few replicas; restarts leave old ones behind.
const KNOWN: usize = 256;

/// Time to open a connection to another replica.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The secret that all replicas of a deployment share.
#[derive(Clone)]
pub struct ReplicaSecret(Arc<str>);

impl fmt::Debug for ReplicaSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplicaSecret")
    }
}

impl ReplicaSecret {
    /// The secret of the deployment; the first replica makes it.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn load(store: &Store) -> store::Result<Self> {
        let fresh: [u8; 32] = rand::random();
        let hex = fresh.iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Ok(Self(store.deployment_value(SECRET_KEY.into(), hex).await?.into()))
    }

    /// What a replica sends as its bearer token. Not to be logged.
    #[must_use]
    pub fn credential(&self) -> String {
        format!("{PREFIX}{}", self.0)
    }

    /// Whether a bearer token claims to be of a replica.
    #[must_use]
    pub fn is_claimed_by(bearer: &str) -> bool {
        bearer.starts_with(PREFIX)
    }

    /// Whether a bearer token is of a replica of this deployment, in constant time.
    #[must_use]
    pub fn matches(&self, bearer: &str) -> bool {
        bearer.strip_prefix(PREFIX).is_some_and(|s| s.as_bytes().ct_eq(self.0.as_bytes()).into())
    }
}

/// What a replica knows of itself and of the others. There is none on SQLite, where a deployment is
/// one process.
pub struct Replicas {
    /// How others reach this one. May hold a password.
    relay_url: String,
    /// What all share.
    pub secret: ReplicaSecret,
    /// For relays: HTTP/1.1 without proxies, nothing waits to fill a packet.
    pub client: reqwest::Client,
    /// A worker id is new on every start, so an address never changes.
    known: Mutex<HashMap<WorkerId, Arc<str>>>,
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas").finish_non_exhaustive()
    }
}

impl Replicas {
    /// A replica that others reach at `relay_url`.
    ///
    /// # Errors
    /// When the system has no usable TLS configuration.
    pub fn new(relay_url: String, secret: ReplicaSecret) -> reqwest::Result<Self> {
        // Fails when there is one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Self { relay_url, secret, client, known: Mutex::default() })
    }

    /// How others reach this replica.
    #[must_use]
    pub fn relay_url(&self) -> &str {
        &self.relay_url
    }

    /// How a replica is reached; `None` when it has left or was never there.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn address(&self, store: &Store, worker: WorkerId) -> store::Result<Option<Arc<str>>> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = known().get(&worker) {
            return Ok(Some(url.clone()));
        }
        let Some(url) = store.replica_address(worker).await? else { return Ok(None) };
        let url: Arc<str> = url.into();
        let mut known = known();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(worker, url.clone());
        Ok(Some(url))
    }
}

/// The other replicas, for requests to agents whose links they hold.
pub struct Known {
    replicas: Arc<Replicas>,
    store: Store,
    clock: Clock,
    own: WorkerId,
}

impl Known {
    /// As the replica `own` knows them.
    #[must_use]
    pub const fn new(replicas: Arc<Replicas>, store: Store, clock: Clock, own: WorkerId) -> Self {
        Self { replicas, store, clock, own }
    }
}

#[async_trait::async_trait]
impl elsewhere::Replicas for Known {
    fn own(&self) -> WorkerId {
        self.own
    }

    async fn replica(&self, worker: WorkerId) -> store::Result<Option<elsewhere::Replica>> {
        let url = self.replicas.address(&self.store, worker).await?;
        // An earlier life of this one, which was killed: its links are gone.
        let url = url.filter(|url| **url != *self.replicas.relay_url);
        Ok(url.map(|url| elsewhere::Replica {
            worker,
            url,
            credential: self.replicas.secret.credential(),
            client: self.replicas.client.clone(),
        }))
    }

    async fn holds(&self, worker: WorkerId, agent: AgentId) -> store::Result<bool> {
        let row = match self.store.agent(agent).await {
            Err(store::Error::NotFound) => return Ok(false),
            row => row?,
        };
        let there = status::status(&row, INACTIVE, self.clock.now()).0 == AgentStatus::Connected;
        Ok(there && row.worker_id == Some(worker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_opens_and_it_is_never_shown() {
        let secret = ReplicaSecret("5ec2e7".into());
        assert!(secret.matches(&secret.credential()));
        for wrong in ["", "5ec2e7", "replica-", "replica-5ec2e", "replica-5ec2e8", "replica-5ec2e77"] {
            assert!(!secret.matches(wrong), "{wrong}");
        }
        assert!(ReplicaSecret::is_claimed_by("replica-x") && !ReplicaSecret::is_claimed_by("abc-x"));
        let shown = format!("{:?}", Replicas::new("http://u:5ec2e8@a".into(), secret).unwrap());
        assert!(!shown.contains("5ec2e"), "{shown}");
    }
}
