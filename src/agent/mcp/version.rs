//! Tells one state of the tools from another.

use crate::ids::fresh_uuid;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A number that is another one whenever the tools may have changed, also after the agent was started anew. Clones are the same.
#[derive(Debug, Clone)]
pub struct Version(Arc<AtomicU64>);

impl Version {
    /// The tools may be others from now on.
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Default for Version {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(fresh_uuid().as_u64_pair().1)))
    }
}
