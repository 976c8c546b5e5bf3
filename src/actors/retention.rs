//! Chats that nobody needs any more: idle ones are archived, archived ones are deleted in the end
//! (agent-loop.md §20).

use super::Shared;
use crate::{clock::Timestamp, metrics, store};
use std::time::Duration;

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Families archived in one run (agent-loop.md §20).
const ARCHIVED_AT_ONCE: usize = 1000;
/// Open chats that one statement looks at, which takes milliseconds.
const LOOKED_AT_ONCE: i64 = 500;
/// Families deleted in one round, each in a transaction of its own, so that no other write waits long.
const DELETED_AT_ONCE: i64 = 20;

/// So many days before the moment; `None` for 0, which switches things off.
pub(super) fn days_before(now: Timestamp, days: i64) -> Option<Timestamp> {
    let days = u32::try_from(days).ok().filter(|days| *days > 0)?;
    Some(now - DAY * days)
}

/// The start of the UTC day of a moment.
fn start_of_day(moment: Timestamp) -> Timestamp {
    let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(moment.as_micros().div_euclid(day) * day)
}

/// Archives the families in which nothing has happened for so many days, counted from the start of today.
pub(super) async fn archive_idle(shared: &Shared, days: i64) -> store::Result<()> {
    let now = shared.clock.now();
    let Some(since) = days_before(start_of_day(now), days) else { return Ok(()) };
    let (mut archived, mut families, mut after) = (0, 0, None);
    'all: loop {
        let found = shared.store.idle_roots(since, after, LOOKED_AT_ONCE).await?;
        for root in found.idle {
            if *shared.draining.borrow() || families == ARCHIVED_AT_ONCE {
                break 'all;
            }
            families += 1;
            match shared.store.archive_idle(root, since, now).await {
                Ok(done) => archived += done.len(),
                // A member is at work, or the chat was deleted or archived meanwhile.
                Err(e @ (store::Error::Refused(_) | store::Error::NotFound)) => {
                    tracing::debug!(chat = %root, error = %e, "an idle chat is not archived");
                }
                Err(e) => return Err(e),
            }
        }
        if *shared.draining.borrow() || found.last.is_none() {
            break;
        }
        after = found.last;
    }
    count(metrics::CHAT_AUTO_ARCHIVE_RECORDS_ARCHIVED_TOTAL, archived);
    if archived > 0 {
        tracing::info!(chats = archived, days, "idle chats were archived");
    }
    Ok(())
}

/// Deletes some of the families that were archived before the moment.
pub(super) async fn delete_expired(shared: &Shared, before: Timestamp) -> store::Result<()> {
    let mut deleted = 0;
    for root in shared.store.expired_roots(before, DELETED_AT_ONCE).await? {
        if *shared.draining.borrow() {
            break;
        }
        deleted += shared.store.purge_family(root, before).await?;
    }
    count(metrics::CHAT_RETENTION_RECORDS_DELETED_TOTAL, deleted);
    if deleted > 0 {
        tracing::info!(chats = deleted, "chats were deleted, as they were archived long enough");
    }
    Ok(())
}

fn count(metric: &'static str, n: usize) {
    ::metrics::counter!(metric).increment(u64::try_from(n).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_the_start_of_today() {
        let at = |text: &str| serde_json::from_value::<Timestamp>(serde_json::json!(text)).unwrap();
        let now = at("2026-03-05T17:30:00Z");
        assert_eq!(start_of_day(now), at("2026-03-05T00:00:00Z"));
        assert_eq!(days_before(start_of_day(now), 5), Some(at("2026-02-28T00:00:00Z")));
        assert_eq!((days_before(now, 0), days_before(now, -1)), (None, None));
    }
}
