//! The jobs of a runner. Each ends in exactly one transition, under the fence of what it started
//! from; whatever it finds stale it drops.

mod await_action;
mod changes;
mod compaction;
mod context;
mod generate;
mod interrupt;
mod served;
pub mod title;
mod tool_step;

use super::{ChatActor, LiveParts, Moved, OpenEpisode};
use crate::{
    actors::Shared,
    chat::{
        command::Command,
        duty::{Job, Snapshot},
        json::Json,
        message::{Part, Role},
        state::{Owner, Status},
    },
    ids::{ChatId, FileId},
    store::{
        self,
        commit::{Accepted, Commit, Committed, Fence},
        records::{Head, MessageRow},
        spend::ModelCall,
    },
    stream::episode::EpisodeKey,
    tools::Session,
    turn::{
        generate as model_call,
        history::History,
        prompt::{PromptFile, exceeded, fitting},
    },
};
use actix::Addr;
use futures_util::future::LocalBoxFuture;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// First and longest wait before a commit that could not reach the database is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How a job ended.
#[derive(Debug)]
pub enum Outcome {
    /// It moved the chat here.
    Moved(Box<Committed>),
    /// The chat had moved on; nothing was written.
    Stale,
    /// The chat is gone.
    Gone,
    /// The store failed in a way that waiting does not obviously cure.
    Failed(store::Error),
}

/// Why a job stops early.
#[derive(Debug)]
enum End {
    Stale,
    Gone,
    Failed(store::Error),
}

impl From<store::Error> for End {
    fn from(e: store::Error) -> Self {
        match e {
            store::Error::Stale => Self::Stale,
            store::Error::NotFound => Self::Gone,
            // A refusal under a fence that holds is a mistake of ours: told, and not repeated in haste.
            other => Self::Failed(other),
        }
    }
}

/// The way back to the chat's actor, which lives on the same thread.
#[derive(Clone)]
pub struct Link(Addr<ChatActor>);

impl Link {
    /// A link to this actor.
    #[must_use]
    pub const fn new(addr: Addr<ChatActor>) -> Self {
        Self(addr)
    }

    fn open(&self, key: EpisodeKey) {
        self.0.do_send(OpenEpisode(key));
    }

    fn part(&self, key: EpisodeKey, role: Role, part: Part) {
        self.parts(key, vec![(role, part)]);
    }

    fn parts(&self, key: EpisodeKey, parts: Vec<(Role, Part)>) {
        self.0.do_send(LiveParts { key, parts });
    }

    fn moved(&self, done: Committed) {
        self.0.do_send(Moved(done));
    }
}

/// What a job works on.
#[derive(Clone)]
pub struct Work {
    /// What all actors share.
    pub shared: Arc<Shared>,
    /// The way back.
    pub link: Link,
    /// The chat.
    pub chat: ChatId,
    /// Who we are.
    pub owner: Owner,
    /// The state the job started from.
    pub seen: Snapshot,
    /// An attempt that is recorded and has still to begin, its parts buffered from the first one on.
    pub begun: Option<EpisodeKey>,
    /// What the tool calls of the chat share.
    pub session: Arc<Session>,
}

impl Work {
    fn fence(&self, status: Status, attempt: Option<i64>) -> Fence {
        Fence { runner: self.owner.runner, status, history_version: self.seen.versions.history, attempt }
    }

    /// The uploaded files that the prompt of these rows names, with the bytes of those it has room for. `image_cap`: the
    /// bytes an image must stay below to be sent.
    async fn files(
        &self,
        rows: &[MessageRow],
        image_cap: Option<usize>,
    ) -> Result<HashMap<FileId, PromptFile>, End> {
        // Few chats have files: their text tells without a second parse of the history.
        let may_name_files =
            |row: &MessageRow| row.role == Role::User && row.content.get().contains("\"file_id\"");
        if !rows.iter().any(may_name_files) {
            return Ok(HashMap::new());
        }
        let ids = model_call::files(&History::new(rows));
        let known = self.shared.store.files(ids.clone()).await?;
        let mut files: HashMap<FileId, PromptFile> = known
            .into_iter()
            .map(|f| {
                let size = usize::try_from(f.size_bytes).unwrap_or(usize::MAX);
                (f.id, PromptFile { media_type: f.mime_type, name: Some(f.name), size, bytes: None })
            })
            .collect();
        let sendable: Vec<(FileId, usize)> = ids
            .iter()
            .filter_map(|id| Some((*id, files.get(id)?)))
            .filter(|(_, file)| exceeded(image_cap, &file.media_type, file.size).is_none())
            .map(|(id, file)| (id, file.size))
            .collect();
        for (id, bytes) in self.shared.store.load_files(fitting(&sendable)).await? {
            match files.get_mut(&id) {
                Some(file) if file.size == bytes.len() => file.bytes = Some(bytes),
                // Deleted in between.
                _ => drop(files.remove(&id)),
            }
        }
        Ok(files)
    }

    /// Does what can be repeated until the database can be reached: whoever waits has something in hand
    /// that would be lost otherwise.
    async fn until_reached<T>(&self, work: impl AsyncFn() -> store::Result<T>) -> Result<T, End> {
        let mut wait = BACKOFF.0;
        loop {
            match work().await {
                Err(e) if e.is_transient() => {
                    tracing::warn!(chat = %self.chat, error = %e, "the database cannot be had; trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BACKOFF.1);
                }
                other => return other.map_err(Into::into),
            }
        }
    }

    /// Commits a command under the fence. A database that cannot be reached is waited for: the fence
    /// makes a repetition after a lost acknowledgement harmless.
    async fn commit(&self, command: Command, fence: Fence) -> Result<Committed, End> {
        self.commit_all(&[command], fence, None).await
    }

    /// The same for several commands in one transaction, with the model call that led to them.
    async fn commit_all(
        &self,
        commands: &[Command],
        fence: Fence,
        call: Option<ModelCall>,
    ) -> Result<Committed, End> {
        let commit = Commit {
            commands: commands.to_vec(),
            fence: Some(fence),
            call,
            ..Commit::new(self.chat, Command::Abandon, self.shared.clock.now())
        };
        self.commit_until_reached(commit).await
    }

    /// Commits, and lets the chat go with it when nobody has to drive it any more.
    async fn commit_until_reached(&self, commit: Commit) -> Result<Committed, End> {
        let commit = commit.releasing();
        let call = commit.call.clone();
        let mut wait = BACKOFF.0;
        let mut first = true;
        loop {
            let this = Commit { now: self.shared.clock.now(), ..commit.clone() };
            match self.shared.store.commit(this).await {
                Ok(Accepted::Fresh(done)) => return Ok(done),
                Ok(Accepted::Replayed { .. }) => return Err(End::Stale),
                // The step is dropped, but the model was paid for it. After a lost acknowledgement it
                // may have been entered already.
                Err(store::Error::Stale) if first && call.is_some() => {
                    if let Some(call) = call {
                        self.shared.charge(self.chat, call).await;
                    }
                    return Err(End::Stale);
                }
                Err(e) if e.is_transient() => {
                    first = false;
                    tracing::warn!(chat = %self.chat, error = %e, "could not commit; trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BACKOFF.1);
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The attempt that the job begins with, if the chat is still there.
    fn begun(&self, head: &Head) -> Option<EpisodeKey> {
        self.begun.filter(|key| EpisodeKey::current(&head.versions) == Some(*key))
    }

    /// The attempt that is open, or another one: it is recorded that it begins, with its parts buffered from the first one on.
    async fn attempt(&self, open: &mut Option<EpisodeKey>, attempt: i64) -> Result<(EpisodeKey, i64), End> {
        if let Some(key) = open.take() {
            return Ok((key, attempt));
        }
        let next = attempt + 1;
        let key = EpisodeKey { history_version: self.seen.versions.history, generation_attempt: next };
        self.link.open(key);
        let fence = self.fence(Status::Running, Some(attempt));
        let done = self.commit(Command::RecordGenerationAttempt, fence).await?;
        self.link.moved(done);
        Ok((key, next))
    }

    /// Ends the turn with an error.
    async fn fail(&self, error: Json, attempt: i64) -> Result<Committed, End> {
        self.fail_after(error, attempt, None).await
    }

    /// The same, with the model call that led to it.
    async fn fail_after(&self, error: Json, attempt: i64, call: Option<ModelCall>) -> Result<Committed, End> {
        let fence = self.fence(Status::Running, Some(attempt));
        self.commit_all(&[Command::FinishError { error }], fence, call).await
    }
}

/// Starts a job; see [`run`].
pub type Drive = Arc<dyn Fn(Job, Work, Vec<(Role, Part)>) -> LocalBoxFuture<'static, Outcome> + Send + Sync>;

/// The real jobs.
#[must_use]
pub fn drive() -> Drive {
    Arc::new(|job, work, partial| Box::pin(run(job, work, partial)))
}

/// Runs a job. `partial` is what the interrupted attempt had streamed.
pub async fn run(job: Job, work: Work, partial: Vec<(Role, Part)>) -> Outcome {
    let abandons = matches!(job, Job::Abandon);
    let interrupts = matches!(job, Job::FinishInterruption);
    let result = match job {
        Job::Generate => generate::run(&work).await,
        Job::FinishInterruption => interrupt::run(&work, &partial).await,
        Job::AwaitAction => await_action::run(&work).await,
        Job::Abandon => abandon(&work).await,
    };
    match result {
        Ok(done) => {
            if !abandons {
                work.shared.debug.moved(&done, interrupts);
                changes::start(&work, &done);
            }
            Outcome::Moved(Box::new(done))
        }
        Err(End::Stale) => Outcome::Stale,
        Err(End::Gone) => Outcome::Gone,
        Err(End::Failed(e)) => Outcome::Failed(e),
    }
}

/// Lets the chat go.
async fn abandon(work: &Work) -> Result<Committed, End> {
    if work.seen.archived {
        // The fence speaks of live chats only; an archived one is never claimed by anybody else.
        let commit = Commit::new(work.chat, Command::Abandon, work.shared.clock.now());
        return match work.shared.store.commit(commit).await? {
            Accepted::Fresh(done) => Ok(done),
            Accepted::Replayed { .. } => Err(End::Stale),
        };
    }
    work.commit(Command::Abandon, work.fence(work.seen.status, None)).await
}
