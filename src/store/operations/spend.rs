//! Operations on the ledger of model calls and on the limits. Whatever changes who is limited is
//! announced after its commit.

use super::{
    AsyncConnection, Engine, Error, Instant, Result, Store, TRIES, TransactionManager, deadpool_take,
    detached, is_collision, metrics, postgres, sqlite,
};
use crate::{
    bus::Notice,
    clock::Timestamp,
    ids::{ChatId, GroupId, UserId},
    store::spend::{
        AllLimits, GroupLimit, LimitRecord, ModelCall, Period, Spender, SpenderPage, Standing, Totals,
        UserCosts, UserLimit, Whose,
    },
};

operations! {
    /// Enters a model call into the ledger that is no step of a turn.
    write pub charge = spend::record(chat: ChatId, call: ModelCall, now: Timestamp) -> ();
    /// How somebody stands to the limit that applies to them; `None` when limits are off.
    read pub standing = spend::standing(whose: Whose, now: Timestamp) -> Option<Standing>;
    /// Every limit.
    snapshot pub spend_limits = limits::all() -> AllLimits;
    /// Sets the default.
    write set_limit_row = limits::set(micros: Option<i64>, period: Period, now: Timestamp) -> LimitRecord;
    /// Sets the limit of a user.
    write pub set_user_limit = limits::set_user(user: UserId, micros: i64, now: Timestamp) -> UserLimit;
    /// Removes the limit of a user; whether there was one.
    write pub delete_user_limit = limits::delete_user(user: UserId) -> bool;
    /// Sets the limit of the members of a group.
    write pub set_group_limit = limits::set_group(group: GroupId, micros: i64, now: Timestamp) -> GroupLimit;
    /// Removes the limit of a group; whether there was one.
    write pub delete_group_limit = limits::delete_group(group: GroupId) -> bool;
    /// What a user spent from `start` until before `end`.
    snapshot pub user_costs = costs::of_user(user: UserId, start: Timestamp, end: Timestamp) -> UserCosts;
    /// What was spent in a chat, and in its sub-agents if it is a root.
    read pub chat_costs = costs::of_chat(chat: ChatId) -> Totals;
    /// A page of the users who spent most, and how many spent anything.
    snapshot pub spenders = costs::spenders(page: SpenderPage) -> (Vec<Spender>, i64);
}

impl Store {
    /// Sets the default limit, or switches limits off for everybody.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn set_spend_limit(
        &self,
        micros: Option<i64>,
        period: Period,
        now: Timestamp,
    ) -> Result<LimitRecord> {
        let set = self.set_limit_row(micros, period, now).await?;
        self.gate.forget();
        self.bus.publish(Notice::Limits);
        Ok(set)
    }

    /// Limits may have changed elsewhere: the next message looks.
    pub fn limits_changed(&self) {
        self.gate.forget();
    }

    /// Refuses the owner of a chat who has reached their limit, before a model is called beside a turn
    /// (a title that somebody asked for). A limit that cannot be looked up refuses nobody.
    ///
    /// # Errors
    /// [`Error::SpendLimit`]; also when the database cannot be reached.
    pub async fn check_spend(&self, chat: ChatId, now: Timestamp) -> Result<()> {
        let Some(asked) = self.gate.ask() else { return Ok(()) };
        match self.standing(Whose::Chat(chat), now).await {
            Ok(Some(standing)) => standing.check(),
            Ok(None) => {
                asked.off();
                Ok(())
            }
            Err(e) if e.is_transient() => Err(e),
            Err(e) => {
                unresolved(&e);
                Ok(())
            }
        }
    }
}

/// Says that a limit was not enforced.
pub(in crate::store) fn unresolved(error: &Error) {
    tracing::error!(%error, "a spend limit could not be looked up; what it was to limit is allowed");
}
