//! The runner: at most one task for (status, history version), replaced when those move.

use super::{
    ChatActor, Looked, Moved, Own, TaskEnded,
    jobs::{Link, Outcome, Work},
};
use crate::{
    actors::{OwnedGuard, supervise},
    chat::{
        duty::{Duty, Job, Snapshot, Verdict},
        message::{Part, Role},
    },
    store::{
        self,
        records::{Head, StreamRead},
    },
    stream::episode::EpisodeKey,
    tools::Session,
};
use actix::{AsyncContext, Context, Handler};
use std::{sync::Arc, time::Duration};
use tokio::task::AbortHandle;

/// First and longest wait before work that panicked or found the database gone is started again
/// (agent-loop.md §1: task retry backoff).
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What drives an owned chat.
pub(super) struct Runner {
    duty: Duty,
    task: Option<Task>,
    /// The attempt that was recorded with the claim, until a task takes it.
    begun: Option<EpisodeKey>,
    /// Wait before the next start after a task that ended badly.
    backoff: Duration,
    /// The way into the chat's workspace, and what else its tool calls share. It goes with the runner.
    session: Arc<Session>,
    /// Keeps the lease alive.
    _owned: OwnedGuard,
}

impl Runner {
    /// Whether the row is newer than what this runner has seen.
    pub(super) fn is_behind(&self, snapshot: i64) -> bool {
        self.duty.is_behind(snapshot)
    }
}

struct Task {
    id: u64,
    job: Job,
    abort: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        // Cancelled without waiting: whatever it still commits is fenced.
        self.abort.abort();
    }
}

fn snapshot_of(head: &Head) -> Snapshot {
    Snapshot { versions: head.versions, status: head.status, archived: head.archived, owner: head.owner }
}

impl ChatActor {
    /// Lets the runner decide on a newer state.
    pub(super) fn observe(&mut self, seen: Snapshot, ctx: &mut Context<Self>) {
        let Some(runner) = &mut self.runner else { return };
        match runner.duty.observe(&seen) {
            Verdict::Stale | Verdict::Unchanged => {}
            Verdict::NotOurs => {
                self.runner = None;
                self.after_runner(ctx);
            }
            Verdict::Owes(job) => {
                runner.task = None;
                // Another replica goes on from here. But what an interrupted attempt had shown is known
                // here only: it is kept while there is time.
                let keeps = job == Job::FinishInterruption && !self.grace_over;
                self.start(if self.draining && !keeps { Job::Abandon } else { job }, seen, ctx);
            }
        }
    }

    fn start(&mut self, job: Job, seen: Snapshot, ctx: &mut Context<Self>) {
        self.next_task += 1;
        let task = self.next_task;
        let partial = if job == Job::FinishInterruption { self.partial(&seen) } else { Vec::new() };
        let Some(runner) = &mut self.runner else { return };
        let work = Work {
            shared: self.shared.clone(),
            link: Link::new(ctx.address()),
            chat: self.id,
            owner: runner.duty.owner(),
            seen,
            begun: runner.begun.take(),
            session: Arc::clone(&runner.session),
        };
        let handle = actix::spawn((self.shared.drive)(job, work, partial));
        runner.task = Some(Task { id: task, job, abort: handle.abort_handle() });
        let addr = ctx.address();
        actix::spawn(async move {
            let outcome = handle.await;
            addr.do_send(TaskEnded { task, outcome });
        });
    }

    /// What the interrupted attempt has streamed so far, joined. Closes its episode.
    fn partial(&mut self, seen: &Snapshot) -> Vec<(Role, Part)> {
        let key =
            EpisodeKey { history_version: seen.versions.history, generation_attempt: seen.versions.attempt };
        self.hub.close_episode(key, self.shared.clock.now()).parts().to_vec()
    }

    /// Reads the row for the runner's sake.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        let (store, id, addr) = (self.shared.store.clone(), self.id, ctx.address());
        actix::spawn(async move {
            let result = store.chat(id).await.map(|c| c.head);
            addr.do_send(Looked(result));
        });
    }

    fn look_later(&mut self, ctx: &mut Context<Self>) {
        let Some(runner) = &mut self.runner else { return };
        runner.duty.forget_task();
        let wait = runner.backoff;
        runner.backoff = (wait * 2).min(BACKOFF.1);
        ctx.run_later(wait, Self::look);
    }

    /// The runner is gone.
    fn after_runner(&mut self, ctx: &mut Context<Self>) {
        // Nothing more is streamed here: what was lives on for those who come late, and then goes.
        self.hub.episodes_mut().close_open(self.shared.clock.now());
        if self.draining && !self.retired {
            self.retire(ctx);
        }
    }

    /// The process shuts down.
    pub(super) fn drain_runner(&mut self, grace: Duration, ctx: &mut Context<Self>) {
        let Some(runner) = &self.runner else { return };
        let short =
            matches!(&runner.task, Some(t) if t.job == Job::Generate || t.job == Job::FinishInterruption);
        if short {
            ctx.run_later(grace, Self::let_go);
        } else {
            self.let_go(ctx);
        }
    }

    /// Cancels whatever runs and abandons the chat.
    fn let_go(&mut self, ctx: &mut Context<Self>) {
        self.grace_over = true;
        let Some(runner) = &mut self.runner else { return };
        if matches!(&runner.task, Some(t) if t.job == Job::Abandon) {
            return;
        }
        runner.task = None;
        self.look(ctx);
        if let Some(runner) = &mut self.runner {
            // The answer counts as new, and while draining leads to Abandon.
            runner.duty.forget_task();
        }
    }
}

impl Handler<Own> for ChatActor {
    type Result = ();
    fn handle(&mut self, Own { head, with, begun }: Own, ctx: &mut Self::Context) {
        if self.retired {
            self.registry.own(head, with, begun);
            return;
        }
        let Some(owner) = head.owner else { return };
        // Claimed just before the process began to stop: it is let go again at once.
        self.draining |= *self.shared.draining.borrow();
        let begun = EpisodeKey::current(&head.versions).filter(|_| begun);
        if let Some(key) = begun {
            self.hub.open_episode(key, self.shared.clock.now());
        }
        self.runner = Some(Runner {
            duty: Duty::new(owner),
            task: None,
            begun,
            backoff: BACKOFF.0,
            session: Arc::new(self.shared.tool_session(self.id, self.served.clone())),
            _owned: self.shared.owned.enter(self.id, owner.runner),
        });
        self.note_owner(head.versions.snapshot, head.owner);
        if let Some(done) = with {
            self.committed(&done);
        } else {
            let claim = StreamRead {
                head: head.clone(),
                reset: false,
                messages: Vec::new(),
                more: false,
                queue: None,
                pending: Vec::new(),
            };
            // A claim moves the snapshot by one and nothing that a subscriber sees.
            self.hub.committed(head.versions.snapshot - 1, &claim, self.shared.clock.now());
        }
        self.observe(snapshot_of(&head), ctx);
        self.settle(ctx);
    }
}

impl Handler<Moved> for ChatActor {
    type Result = ();
    fn handle(&mut self, Moved(done): Moved, ctx: &mut Self::Context) {
        self.note_owner(done.head.versions.snapshot, done.head.owner);
        self.committed(&done);
        self.observe(snapshot_of(&done.head), ctx);
        self.settle(ctx);
    }
}

impl Handler<Looked> for ChatActor {
    type Result = ();
    fn handle(&mut self, Looked(result): Looked, ctx: &mut Self::Context) {
        match result {
            Ok(head) => {
                self.note_owner(head.versions.snapshot, head.owner);
                self.hub.notice(head.versions.snapshot);
                self.observe(snapshot_of(&head), ctx);
            }
            Err(store::Error::NotFound) => {
                self.runner = None;
                self.after_runner(ctx);
            }
            Err(e) => {
                tracing::warn!(chat = %self.id, error = %e, "could not look at the chat; trying again");
                self.look_later(ctx);
            }
        }
        self.settle(ctx);
    }
}

impl Handler<TaskEnded> for ChatActor {
    type Result = ();
    fn handle(&mut self, t: TaskEnded, ctx: &mut Self::Context) {
        let Some(runner) = &mut self.runner else { return };
        if runner.task.as_ref().is_none_or(|task| task.id != t.task) {
            // It was replaced; its end says nothing.
            return;
        }
        runner.task = None;
        match t.outcome {
            Ok(Outcome::Moved(done)) => {
                runner.backoff = BACKOFF.0;
                self.note_owner(done.head.versions.snapshot, done.head.owner);
                self.committed(&done);
                self.observe(snapshot_of(&done.head), ctx);
            }
            Ok(Outcome::Stale) => {
                runner.duty.forget_task();
                self.look(ctx);
            }
            Ok(Outcome::Gone) => {
                self.runner = None;
                self.after_runner(ctx);
            }
            Ok(Outcome::Failed(e)) => {
                tracing::warn!(chat = %self.id, error = %e, "work on the chat failed; trying again");
                self.look_later(ctx);
            }
            Err(e) if e.is_panic() => {
                supervise::chat_panicked(self.id, "work on the chat", e);
                self.look_later(ctx);
            }
            Err(_) => {}
        }
        self.settle(ctx);
    }
}
