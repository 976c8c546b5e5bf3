//! A replica's copy of the settings: read again when somebody says that they changed, and from time to
//! time in case nobody did.

use super::{Deployment, ModelOverride, ModelUse, Setting, SkillEntry, UserSettings};
use crate::{
    bus::{ConfigPart, Notice},
    chat::json::Json,
    clock::Timestamp,
    ids::{ModelConfigId, UserId},
    store::{Result, Store, records::skills::SkillRecord},
};
use serde::Serialize;
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How often the settings of the deployment are read without a hint: how stale a replica may be that
/// lost one (workspace-and-providers.md §10).
const READ_EVERY: Duration = Duration::from_secs(10);
/// How long the settings of a user are believed without a hint (workspace-and-providers.md §10).
const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// Users remembered; more than are at work within [`BELIEVED_FOR`].
const CAPACITY: usize = 4096;

#[derive(Default)]
struct Users {
    known: HashMap<UserId, (Arc<UserSettings>, Instant)>,
    /// Moves whenever something is forgotten: what was read before is not remembered.
    generation: u64,
}

/// The settings as a replica knows them.
pub struct LiveSettings {
    store: Store,
    defaults: Deployment,
    current: RwLock<Arc<Deployment>>,
    /// Whether a workspace could be made from something.
    templates: AtomicBool,
    /// One read at a time: a later one always stores what is newer.
    reading: tokio::sync::Mutex<()>,
    users: Mutex<Users>,
}

impl fmt::Debug for LiveSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSettings").finish_non_exhaustive()
    }
}

impl LiveSettings {
    /// A copy that knows the defaults only, until the first [`Self::refresh`].
    #[must_use]
    pub fn new(store: Store, defaults: Deployment) -> Self {
        let current = RwLock::new(Arc::new(defaults.clone()));
        Self {
            store,
            defaults,
            current,
            templates: AtomicBool::new(false),
            reading: tokio::sync::Mutex::default(),
            users: Mutex::default(),
        }
    }

    /// The settings in force. Take them once for everything that belongs together.
    #[must_use]
    pub fn current(&self) -> Arc<Deployment> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the settings of the deployment again.
    ///
    /// # Errors
    /// When they cannot be read; the old ones stay.
    pub async fn refresh(&self) -> Result<()> {
        let _reading = self.reading.lock().await;
        let rows = self.store.deployment_settings().await?;
        let templates = self.store.has_templates().await?;
        self.templates.store(templates, Ordering::Relaxed);
        let all = Arc::new(self.defaults.clone().with(&rows));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(())
    }

    /// Whether the deployment has templates, so that chats can have workspaces.
    #[must_use]
    pub fn has_templates(&self) -> bool {
        self.templates.load(Ordering::Relaxed)
    }

    /// There is a template more or less.
    ///
    /// # Errors
    /// When that cannot be read back.
    pub async fn templates_changed(&self) -> Result<()> {
        self.changed().await
    }

    fn lock(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a user has set.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn user(&self, user: UserId) -> Result<Arc<UserSettings>> {
        let generation = {
            let users = self.lock();
            if let Some((known, since)) = users.known.get(&user)
                && since.elapsed() < BELIEVED_FOR
            {
                return Ok(Arc::clone(known));
            }
            users.generation
        };
        let mut read = UserSettings::read(self.store.user_settings(user).await?);
        match self.store.skills(user).await {
            Ok(skills) => {
                let entry = |s: SkillRecord| SkillEntry { name: s.name, description: s.description };
                read.skills = skills.into_iter().map(entry).collect();
            }
            // A turn goes on without them (workspace-and-providers.md §8.2).
            Err(e) => tracing::warn!(%user, error = %e, "a user's skills cannot be read"),
        }
        let read = Arc::new(read);
        let mut users = self.lock();
        if users.generation == generation {
            if users.known.len() >= CAPACITY {
                users.known.retain(|_, (_, since)| since.elapsed() < BELIEVED_FOR);
            }
            if users.known.len() < CAPACITY {
                users.known.insert(user, (Arc::clone(&read), Instant::now()));
            }
        }
        Ok(read)
    }

    fn forget(&self, user: Option<UserId>) {
        let mut users = self.lock();
        users.generation += 1;
        match user {
            Some(user) => drop(users.known.remove(&user)),
            None => users.known.clear(),
        }
    }

    /// Whether the model calls of a user's chats are to be recorded (agent-loop.md §21).
    ///
    /// # Errors
    /// When the user's settings cannot be read.
    pub async fn debug_enabled(&self, user: UserId) -> Result<bool> {
        let all = self.current();
        Ok(all.debug_forced
            || (all.debug_logging.allow_users && self.user(user).await?.debug_logging.debug_logging_enabled))
    }

    /// The same without a look at the database: `true` also where it is not known.
    #[must_use]
    pub fn debug_may_be_enabled(&self, user: UserId) -> bool {
        let all = self.current();
        let own =
            || self.lock().known.get(&user).is_none_or(|(own, _)| own.debug_logging.debug_logging_enabled);
        all.debug_forced || (all.debug_logging.allow_users && own())
    }

    /// Sets a setting of the deployment.
    ///
    /// # Errors
    /// When it cannot be written, or not be read back.
    pub async fn put<S: Setting>(&self, value: &S, now: Timestamp) -> Result<()> {
        self.store.put_setting(S::KEY.to_owned(), Json::of(value), now).await?;
        self.changed().await
    }

    /// Sets the model for something, or takes it back.
    ///
    /// # Errors
    /// When it cannot be written, or not be read back.
    pub async fn put_model(&self, of: ModelUse, model: Option<ModelOverride>, now: Timestamp) -> Result<()> {
        match model {
            Some(model) => self.store.put_setting(of.key(), Json::of(&model), now).await?,
            None => self.store.drop_setting(of.key()).await?,
        }
        self.changed().await
    }

    /// Whoever has set something sees it here at once, and on other replicas a moment later.
    async fn changed(&self) -> Result<()> {
        self.store.bus().publish_remote(Notice::Config { part: ConfigPart::Settings });
        self.refresh().await
    }

    /// Sets a setting of a user.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn put_user<T: Serialize + Sync>(&self, user: UserId, key: String, value: &T) -> Result<()> {
        self.store.put_user_setting(user, key, Json::of(value)).await?;
        self.user_changed(user);
        Ok(())
    }

    /// Sets a user's compaction threshold for a model, in percent.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn put_threshold(&self, user: UserId, model: ModelConfigId, percent: i64) -> Result<()> {
        self.store.put_threshold(user, model, percent).await?;
        self.user_changed(user);
        Ok(())
    }

    /// Removes one; false when there was none.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn drop_threshold(&self, user: UserId, model: ModelConfigId) -> Result<bool> {
        let was_there = self.store.drop_threshold(user, model).await?;
        self.user_changed(user);
        Ok(was_there)
    }

    /// A user's skills are others now.
    pub fn skills_changed(&self, user: UserId) {
        self.user_changed(user);
    }

    fn user_changed(&self, user: UserId) {
        self.forget(Some(user));
        self.store.bus().publish_remote(Notice::Config { part: ConfigPart::User(user) });
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
                        Some(Notice::Config { part: ConfigPart::Settings }) => {}
                        Some(Notice::Config { part: ConfigPart::User(user) }) => {
                            self.forget(Some(user));
                            continue;
                        }
                        Some(Notice::Resync) => self.forget(None),
                        Some(_) => continue,
                    },
                    _ = tick.tick() => {}
                }
                if let Err(e) = self.refresh().await {
                    tracing::warn!(error = %e, "the settings could not be read again");
                }
            }
        }
    }
}
