//! The list of replicas.

use super::{ask, follower, replicated};
use std::time::{Duration, Instant};

const ADDRESSES: &str = "SELECT relay_url AS value FROM replicas ORDER BY relay_url";

replicated! {
    async fn replicas_enter_beat_and_leave(h: Harness) {
        let mut first = h.daemon().await;
        let (second, _) = follower(&h, &first).await;
        let mut both = vec![first.url().to_owned(), second.url().to_owned()];
        both.sort();
        assert_eq!(ask(&h, ADDRESSES).await, both);
        // Swept by mistake, a replica comes back with its next beat.
        let gone = ask(&h, "DELETE FROM replicas RETURNING relay_url AS value").await;
        assert_eq!(gone.len(), 2);
        let since = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while ask(&h, ADDRESSES).await != both {
            tick.tick().await;
            assert!(since.elapsed() < Duration::from_secs(30), "they did not come back");
        }
        assert_eq!(first.stop().await.code(), Some(143));
        assert_eq!(ask(&h, ADDRESSES).await, [second.url()]);
    }
}
