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
        #[cfg_attr(not(test), allow(unused_variables, reason = "tests look at it"))]
        InstrumentationEvent::StartQuery { query, .. } => {
            #[cfg(test)]
            heard::note(&counter, &query.to_string());
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

/// The statements themselves, for tests that look at their plans.
#[cfg(test)]
pub(super) mod heard {
    use super::{Arc, AtomicU64};
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::{Mutex, PoisonError},
    };

    /// By the address of the counter, for those alone that a test listens to.
    static HEARD: Mutex<BTreeMap<usize, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

    fn key(counter: &Arc<AtomicU64>) -> usize {
        Arc::as_ptr(counter) as usize
    }

    /// Begins to listen.
    pub fn listen(counter: &Arc<AtomicU64>) {
        HEARD.lock().unwrap_or_else(PoisonError::into_inner).insert(key(counter), BTreeSet::new());
    }

    pub(super) fn note(counter: &Arc<AtomicU64>, statement: &str) {
        if let Some(heard) = HEARD.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&key(counter)) {
            let text = statement.rsplit_once("-- binds:").map_or(statement, |(text, _)| text);
            heard.insert(text.trim().to_owned());
        }
    }

    /// What was sent since, without what was bound; ends listening.
    pub fn taken(counter: &Arc<AtomicU64>) -> BTreeSet<String> {
        let mut all = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&key(counter)).unwrap_or_default()
    }
}
