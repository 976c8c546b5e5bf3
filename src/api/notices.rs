//! The one place of this replica's API that listens to the bus: it sorts hints by the user they
//! concern, so that a thousand sockets are not woken for every hint there is.

use super::{auth::TokenCache, mcp_directory::McpDirectory};
use crate::{
    bus::{Bus, ConfigPart, Notice, WatchKind},
    ids::{ChatId, UserId},
    store::Store,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{broadcast, watch},
    time::{MissedTickBehavior, interval},
};

/// Sidebar events a socket may be behind before it is closed and its client lists again.
const SIDEBAR_CAPACITY: usize = 256;

/// Something for one user's sidebar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sidebar {
    /// The chat.
    pub chat: ChatId,
    /// What happened.
    pub kind: WatchKind,
}

/// Hints sorted by user.
#[derive(Debug)]
pub struct Notices {
    access: watch::Sender<u64>,
    sidebars: Mutex<HashMap<UserId, broadcast::Sender<Sidebar>>>,
}

impl Default for Notices {
    fn default() -> Self {
        Self { access: watch::channel(0).0, sidebars: Mutex::default() }
    }
}

impl Notices {
    /// Changes when somebody's right to be here may have changed.
    #[must_use]
    pub fn access(&self) -> watch::Receiver<u64> {
        self.access.subscribe()
    }

    /// The sidebar events of a user from now on. The channel ends when hints were lost.
    #[must_use]
    pub fn sidebar(&self, owner: UserId) -> broadcast::Receiver<Sidebar> {
        let mut sidebars = self.lock();
        // Those whose last socket closed are forgotten here, so the map never outgrows its readers
        // by more than what came since the last one opened.
        sidebars.retain(|_, sender| sender.receiver_count() > 0);
        sidebars.entry(owner).or_insert_with(|| broadcast::channel(SIDEBAR_CAPACITY).0).subscribe()
    }

    /// Takes one hint.
    pub fn on(&self, notice: &Notice, tokens: &TokenCache, servers: &McpDirectory) {
        match *notice {
            Notice::Watch { owner, chat, kind } => {
                if let Some(sender) = self.lock().get(&owner) {
                    // No receiver is no error: the socket has just closed.
                    let _ = sender.send(Sidebar { chat, kind });
                }
            }
            Notice::Access { user } => {
                tokens.forget_user(user);
                self.access.send_modify(|n| *n += 1);
            }
            Notice::Resync => {
                // Nobody knows which events were lost: every reader's channel ends.
                self.lock().clear();
                self.access_changed(tokens);
                servers.forget();
            }
            Notice::Config { part: ConfigPart::McpServers } => servers.forget(),
            Notice::Chat(_)
            | Notice::Ownership { .. }
            | Notice::Limits
            | Notice::Build { .. }
            | Notice::Config { part: ConfigPart::Models | ConfigPart::Settings | ConfigPart::User(_) } => {}
        }
    }

    /// Nobody's right to be here is believed any longer.
    fn access_changed(&self, tokens: &TokenCache) {
        tokens.forget_all();
        self.access.send_modify(|n| *n += 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, broadcast::Sender<Sidebar>>> {
        self.sidebars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often replicas look whether somebody's right to be here has changed without a hint: the command
/// line beside a daemon sends none, and hints may be lost.
const ACCESS_POLL: Duration = Duration::from_secs(2);

/// Has everybody's right checked again whenever the database says that somebody's has changed. Runs
/// until it is dropped.
pub async fn poll_access(store: Store, notices: Arc<Notices>, tokens: Arc<TokenCache>) {
    let mut seen = None;
    let mut tick = interval(ACCESS_POLL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match store.access_version().await {
            Ok(version) => {
                if seen.as_ref().is_some_and(|seen| *seen != version) {
                    notices.access_changed(&tokens);
                }
                seen = Some(version);
            }
            // Tokens are believed for a few seconds only, whatever happens here.
            Err(e) => tracing::debug!(error = %e, "changes of access could not be looked for"),
        }
    }
}

/// Follows the bus until it ends. The subscription is made before this returns its future.
pub fn follow(
    bus: &Bus,
    notices: Arc<Notices>,
    tokens: Arc<TokenCache>,
    servers: Arc<McpDirectory>,
) -> impl Future<Output = ()> + Send + use<> {
    let mut receiver = bus.subscribe();
    async move {
        while let Some(notice) = receiver.next().await {
            notices.on(&notice, &tokens, &servers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::broadcast::error::TryRecvError;

    #[test]
    fn events_reach_their_owner_only_and_a_loss_ends_the_channel() {
        let (notices, tokens, servers) = (Notices::default(), TokenCache::default(), McpDirectory::default());
        let (me, other, chat) = (UserId::fresh(), UserId::fresh(), ChatId::fresh());
        let mut mine = notices.sidebar(me);
        let mut access = notices.access();
        access.mark_unchanged();
        notices.on(&Notice::Watch { owner: other, chat, kind: WatchKind::Created }, &tokens, &servers);
        notices.on(&Notice::Watch { owner: me, chat, kind: WatchKind::Deleted }, &tokens, &servers);
        assert_eq!(mine.try_recv().unwrap(), Sidebar { chat, kind: WatchKind::Deleted });
        assert_eq!(mine.try_recv(), Err(TryRecvError::Empty));
        assert!(!access.has_changed().unwrap());
        notices.on(&Notice::Access { user: other }, &tokens, &servers);
        assert!(access.has_changed().unwrap());
        notices.on(&Notice::Resync, &tokens, &servers);
        assert_eq!(mine.try_recv(), Err(TryRecvError::Closed));
        drop(notices.sidebar(me));
        drop(notices.sidebar(other));
        assert_eq!(notices.lock().len(), 1);
    }
}
