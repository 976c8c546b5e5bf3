//! The last things a daemon does with its database. Each has an end, also where the database has none.

use crate::{actors::Shared, store};
use std::time::Duration;
use tokio::sync::oneshot;

/// Each is one transaction. One that takes longer finds no database; leases end by themselves.
const ROUND_TIME: Duration = Duration::from_secs(5);

/// Waits until a loop has ended what it was doing.
pub(super) async fn quiet(what: &str, ask: impl FnOnce(oneshot::Sender<()>)) {
    let (sender, quiet) = oneshot::channel();
    ask(sender);
    if tokio::time::timeout(ROUND_TIME, quiet).await.is_err() {
        tracing::warn!("{what} did not end in time; what it holds is free when its lease ends");
    }
}

/// Gives back what this process holds in the database.
pub(super) async fn sign_off(shared: &Shared) {
    let work = async {
        shared.store.drop_beats(shared.worker).await?;
        match shared.replicas {
            Some(_) => shared.store.drop_replica(shared.worker).await,
            None => Ok(()),
        }
    };
    if let Err(e) = in_time(work).await {
        tracing::warn!(error = %e, "the replica could not sign off; its leases will end by themselves");
    }
}

/// Leaves everything in the file of an embedded database.
pub(super) async fn settle(shared: &Shared) {
    if let Err(e) = in_time(shared.store.settle()).await {
        tracing::warn!(error = %e, "the log of the database stays beside its file; the next start reads it");
    }
}

async fn in_time(work: impl Future<Output = store::Result<()>>) -> store::Result<()> {
    tokio::time::timeout(ROUND_TIME, work).await.unwrap_or(Err(store::Error::Silent))
}
