//! Which tool servers can be picked: a copy of the little that each new chat and message asks for, so that
//! creating a chat costs no statement more.

use super::problem::Result;
use crate::{
    ids::McpServerId,
    store::{Store, records::mcp::McpAvailability},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a copy is believed when no hint says that it is old: hints are lossy.
const BELIEVED_FOR: Duration = Duration::from_secs(5);

/// The servers that can be picked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pickable {
    /// Every enabled one.
    pub enabled: Vec<McpServerId>,
    /// Those that every chat has.
    pub forced: Vec<McpServerId>,
}

impl Pickable {
    /// The picked servers, each once, and those that every chat has.
    ///
    /// # Errors
    /// Those that cannot be picked.
    pub fn with_forced(&self, picked: Vec<McpServerId>) -> Result<Vec<McpServerId>, Vec<McpServerId>> {
        let bad: Vec<McpServerId> = picked.iter().copied().filter(|id| !self.enabled.contains(id)).collect();
        if !bad.is_empty() {
            return Err(bad);
        }
        let mut all = Vec::with_capacity(picked.len());
        for id in picked.into_iter().chain(self.forced.iter().copied()) {
            if !all.contains(&id) {
                all.push(id);
            }
        }
        Ok(all)
    }
}

#[derive(Debug, Default)]
struct Copy {
    /// Counts what made copies old, so that a read that began before is not kept.
    changes: u64,
    known: Option<(Arc<Pickable>, Instant)>,
}

/// The copy of this replica.
#[derive(Debug, Default)]
pub struct McpDirectory(Mutex<Copy>);

impl McpDirectory {
    fn lock(&self) -> MutexGuard<'_, Copy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The servers that can be picked now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pickable(&self, store: &Store) -> Result<Arc<Pickable>> {
        let changes = {
            let copy = self.lock();
            if let Some((known, since)) = &copy.known
                && since.elapsed() < BELIEVED_FOR
            {
                return Ok(Arc::clone(known));
            }
            copy.changes
        };
        let asked = Instant::now();
        let servers = store.mcp_servers().await?;
        let enabled = || servers.iter().filter(|s| s.enabled);
        let forced = enabled().filter(|s| s.availability == McpAvailability::ForceOn);
        let fresh = Arc::new(Pickable {
            enabled: enabled().map(|s| s.id).collect(),
            forced: forced.map(|s| s.id).collect(),
        });
        let mut copy = self.lock();
        if copy.changes == changes {
            copy.known = Some((Arc::clone(&fresh), asked));
        }
        Ok(fresh)
    }

    /// The copy is old.
    pub fn forget(&self) {
        let mut copy = self.lock();
        copy.changes += 1;
        copy.known = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forced_servers_are_added_once_and_wrong_ones_named() {
        let [a, b, c] = [(); 3].map(|()| McpServerId::fresh());
        let pickable = Pickable { enabled: vec![a, b], forced: vec![b] };
        assert_eq!(pickable.with_forced(vec![]), Ok(vec![b]));
        assert_eq!(pickable.with_forced(vec![a, a]), Ok(vec![a, b]));
        assert_eq!(pickable.with_forced(vec![b, a]), Ok(vec![b, a]));
        assert_eq!(pickable.with_forced(vec![a, c]), Err(vec![c]));
    }
}
