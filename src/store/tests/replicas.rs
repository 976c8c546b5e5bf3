//! The list of replicas.

use super::{fixture::*, support::both};
use crate::ids::WorkerId;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

both! {
    async fn a_replica_is_known_until_it_leaves_or_is_silent(db) {
        let (a, b) = (WorkerId::fresh(), WorkerId::fresh());
        assert_eq!(db.store.replica_address(a).await.unwrap(), None);
        for (id, url) in [(a, "http://a:1"), (b, "http://b:1"), (a, "http://a:1")] {
            db.store.beat_replica(id, url.into(), NOW).await.unwrap();
        }
        assert_eq!(db.store.replica_address(a).await.unwrap().as_deref(), Some("http://a:1"));
        assert_eq!(db.store.sweep_replicas(HOUR, NOW + HOUR).await.unwrap(), 0);
        if !db.is_sqlite() {
            // The clock of a replica does not matter, the database's does.
            assert_eq!(db.store.sweep_replicas(HOUR, NOW + 1000 * HOUR).await.unwrap(), 0);
        }
        db.store.drop_replica(a).await.unwrap();
        assert_eq!(db.store.replica_address(a).await.unwrap(), None);
        assert_eq!(db.store.sweep_replicas(Duration::ZERO, NOW + HOUR).await.unwrap(), 1);
        assert_eq!(db.store.replica_address(b).await.unwrap(), None);
    }
}
