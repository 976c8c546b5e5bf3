//! Counts statements, so that tests can assert what an operation costs.

use diesel::connection::InstrumentationEvent;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// An instrumentation that counts every statement but transaction control. Each BEGIN, COMMIT,
/// SAVEPOINT and so on is announced by an event of its own before it is sent as a statement.
pub(super) fn counting(counter: &Arc<AtomicU64>) -> impl FnMut(InstrumentationEvent<'_>) + Send + use<> {
    let counter = Arc::clone(counter);
    move |event| match event {
        InstrumentationEvent::StartQuery { .. } => {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        InstrumentationEvent::BeginTransaction { .. }
        | InstrumentationEvent::CommitTransaction { .. }
        | InstrumentationEvent::RollbackTransaction { .. } => {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
        _ => {}
    }
}
