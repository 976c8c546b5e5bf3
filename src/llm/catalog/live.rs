//! The snapshot that is in force: read from the database, read again when somebody says that it changed,
//! and from time to time in case nobody did.

use super::{Catalog, Outside};
use crate::{
    bus::{ConfigPart, Notice},
    clock::Timestamp,
    config::{models::Model, providers::Provider},
    store::{self, Store},
};
use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;

/// How often the database is read without a hint: how stale a replica may be that lost one
/// (workspace-and-providers.md §10).
const READ_EVERY: Duration = Duration::from_secs(10);

/// The catalogue of a replica.
pub struct LiveCatalog {
    store: Store,
    outside: Outside,
    current: RwLock<Arc<Catalog>>,
    /// How many reads were asked for.
    asked: AtomicU64,
    /// One read at a time, so that a later one always stores what is newer. Holds how many of those
    /// asked for are answered.
    answered: Mutex<u64>,
}

impl std::fmt::Debug for LiveCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveCatalog").finish_non_exhaustive()
    }
}

impl LiveCatalog {
    /// Brings what the configuration declares in step and reads everything.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(
        store: &Store,
        providers: &[Provider],
        models: &[Model],
        compaction_threshold: u8,
        outside: Outside,
        now: Timestamp,
    ) -> store::Result<Self> {
        // A microsecond apart: lists go by age, and the order of the file is to be seen in them.
        let times = || (0..).map(|n| now + Duration::from_micros(n));
        let declared = providers.iter().zip(times()).map(|(p, at)| super::provider_record(p, at)).collect();
        let models = models
            .iter()
            .zip(times())
            .map(|(m, at)| super::model_record(m, compaction_threshold, at))
            .collect();
        store.sync_declared(declared, models, now).await?;
        let live = Self {
            store: store.clone(),
            outside,
            current: RwLock::default(),
            asked: AtomicU64::default(),
            answered: Mutex::default(),
        };
        live.refresh().await?;
        Ok(live)
    }

    /// The snapshot in force. Take it once for everything that belongs together.
    #[must_use]
    pub fn current(&self) -> Arc<Catalog> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the database again. Those who ask while one reads are answered together by the next read.
    ///
    /// # Errors
    /// When it cannot be read; the old snapshot stays.
    pub async fn refresh(&self) -> store::Result<()> {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut answered = self.answered.lock().await;
        if *answered >= ticket {
            return Ok(());
        }
        // Everybody who has asked by now is answered by what is read from here on.
        let upto = self.asked.load(Ordering::SeqCst);
        let tables = self.store.model_tables().await?;
        let catalog = Arc::new(Catalog::build(tables, &self.outside, self.store.keys()));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = catalog;
        *answered = upto;
        Ok(())
    }

    /// Looks in the snapshot for what a request needs, and reads the database again before the request is refused:
    /// what another replica has just made must be usable here, though its hint is still on the way.
    ///
    /// # Errors
    /// When the database cannot be read. The inner error is that of the look.
    pub async fn checked<T, E>(
        &self,
        look: impl Fn(&Catalog) -> Result<T, E>,
    ) -> store::Result<Result<T, E>> {
        let found = look(&self.current());
        if found.is_ok() {
            return Ok(found);
        }
        self.refresh().await?;
        Ok(look(&self.current()))
    }

    /// Follows hints until the bus ends. The subscription is made before this returns its future.
    pub fn follow(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        let mut hints = self.store.bus().subscribe();
        async move {
            let mut tick = tokio::time::interval(READ_EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            // The first tick is at once: something may have changed before the subscription.
            loop {
                tokio::select! {
                    hint = hints.next() => match hint {
                        None => return,
                        Some(Notice::Config { part: ConfigPart::Models } | Notice::Resync) => {}
                        Some(_) => continue,
                    },
                    _ = tick.tick() => {}
                }
                if let Err(e) = self.refresh().await {
                    tracing::warn!(error = %e, "providers and models could not be read again");
                }
            }
        }
    }
}
