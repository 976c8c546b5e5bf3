//! What a runner owes its chat. Pure: from (status, history version, archived, owner) alone
//! (worker-and-stream.md §3), so hints may be late, doubled or lost.

use super::state::{Owner, Status, Versions};

/// The facts a runner looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Versions.
    pub versions: Versions,
    /// Status.
    pub status: Status,
    /// Archive flag.
    pub archived: bool,
    /// Owner.
    pub owner: Option<Owner>,
}

/// The work a status asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// One pass of the turn.
    Generate,
    /// Keep the partial output and finish the interruption.
    FinishInterruption,
    /// Cancel the pending client-side calls when their deadline passes.
    AwaitAction,
    /// Nothing to do here: let the chat go.
    Abandon,
}

/// What follows from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not newer than what is known.
    Stale,
    /// Somebody else owns the chat: cancel the task, stop the runner.
    NotOurs,
    /// Newer, but the running task is still the right one.
    Unchanged,
    /// Cancel the running task without waiting for it and start this one.
    Owes(Job),
}

/// The memory of one runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duty {
    me: Owner,
    newest: i64,
    /// (status, history version) of the task that runs.
    current: Option<(Status, i64)>,
    /// The newest snapshot counts once more.
    again: bool,
}

impl Duty {
    /// The duty of a fresh runner, which has no task yet.
    #[must_use]
    pub const fn new(me: Owner) -> Self {
        Self { me, newest: i64::MIN, current: None, again: false }
    }

    /// Who this runner is.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        self.me
    }

    /// Takes a snapshot.
    pub fn observe(&mut self, seen: &Snapshot) -> Verdict {
        let snapshot = seen.versions.snapshot;
        if snapshot < self.newest || (snapshot == self.newest && !self.again) {
            return Verdict::Stale;
        }
        self.again = false;
        self.newest = seen.versions.snapshot;
        if seen.owner != Some(self.me) {
            return Verdict::NotOurs;
        }
        let key = (seen.status, seen.versions.history);
        if self.current == Some(key) && !seen.archived {
            return Verdict::Unchanged;
        }
        self.current = Some(key);
        Verdict::Owes(if seen.archived { Job::Abandon } else { job_for(seen.status) })
    }

    /// Whether a snapshot version is newer than what was observed.
    #[must_use]
    pub const fn is_behind(&self, snapshot: i64) -> bool {
        snapshot > self.newest
    }

    /// The task ended without moving the chat (it panicked, or found itself stale): the newest snapshot
    /// is to be looked at afresh. Older ones stay what they are: a hint from before the claim that
    /// comes late must not end the runner.
    pub const fn forget_task(&mut self) {
        self.current = None;
        self.again = true;
    }
}

/// The job of a status.
#[must_use]
pub const fn job_for(status: Status) -> Job {
    match status {
        Status::Running => Job::Generate,
        Status::Interrupting => Job::FinishInterruption,
        Status::RequiresAction => Job::AwaitAction,
        Status::Waiting | Status::Error => Job::Abandon,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{RunnerId, WorkerId};

    fn seen(owner: Owner, snapshot: i64, history: i64, status: Status) -> Snapshot {
        Snapshot {
            versions: Versions { snapshot, history, ..Versions::default() },
            status,
            archived: false,
            owner: Some(owner),
        }
    }

    #[test]
    fn reacts_to_status_and_history_alone() {
        let me = Owner { worker: WorkerId::fresh(), runner: RunnerId::fresh() };
        let mut duty = Duty::new(me);
        assert_eq!(duty.observe(&seen(me, 2, 1, Status::Running)), Verdict::Owes(Job::Generate));
        assert_eq!(duty.observe(&seen(me, 2, 1, Status::Running)), Verdict::Stale);
        assert_eq!(duty.observe(&seen(me, 1, 1, Status::Interrupting)), Verdict::Stale);
        // An attempt or a queued message moves the snapshot only.
        assert_eq!(duty.observe(&seen(me, 3, 1, Status::Running)), Verdict::Unchanged);
        assert_eq!(duty.observe(&seen(me, 4, 4, Status::Running)), Verdict::Owes(Job::Generate));
        assert_eq!(
            duty.observe(&seen(me, 5, 4, Status::Interrupting)),
            Verdict::Owes(Job::FinishInterruption)
        );
        assert_eq!(duty.observe(&seen(me, 6, 4, Status::RequiresAction)), Verdict::Owes(Job::AwaitAction));
        assert_eq!(duty.observe(&seen(me, 7, 4, Status::Waiting)), Verdict::Owes(Job::Abandon));
        assert_eq!(duty.observe(&seen(me, 8, 4, Status::Error)), Verdict::Owes(Job::Abandon));
    }

    #[test]
    fn another_owner_ends_the_runner() {
        let me = Owner { worker: WorkerId::fresh(), runner: RunnerId::fresh() };
        let mut duty = Duty::new(me);
        let other = Owner { runner: RunnerId::fresh(), ..me };
        assert_eq!(duty.observe(&seen(other, 9, 1, Status::Running)), Verdict::NotOurs);
        let nobody = Snapshot { owner: None, ..seen(me, 10, 1, Status::Running) };
        assert_eq!(duty.observe(&nobody), Verdict::NotOurs);
    }

    #[test]
    fn an_archived_chat_is_let_go() {
        let me = Owner { worker: WorkerId::fresh(), runner: RunnerId::fresh() };
        let mut duty = Duty::new(me);
        let archived = Snapshot { archived: true, ..seen(me, 2, 1, Status::Waiting) };
        assert_eq!(duty.observe(&archived), Verdict::Owes(Job::Abandon));
    }

    #[test]
    fn a_forgotten_task_is_started_again_from_the_same_snapshot() {
        let me = Owner { worker: WorkerId::fresh(), runner: RunnerId::fresh() };
        let mut duty = Duty::new(me);
        let s = seen(me, 2, 1, Status::Running);
        assert_eq!(duty.observe(&s), Verdict::Owes(Job::Generate));
        duty.forget_task();
        duty.forget_task();
        let before_the_claim = Snapshot { owner: None, ..seen(me, 1, 1, Status::Running) };
        assert_eq!(duty.observe(&before_the_claim), Verdict::Stale);
        assert_eq!(duty.observe(&s), Verdict::Owes(Job::Generate));
        assert_eq!(duty.observe(&s), Verdict::Stale);
    }
}
