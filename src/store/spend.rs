//! What model calls cost and how much of it may be spent (agent-loop.md §12): the rows of the ledger,
//! the periods of a limit, and whether somebody has reached it.

use super::error::{Error, Result};
use crate::{
    chat::message::StepFigures,
    clock::Timestamp,
    ids::{ChatId, GroupId, ModelConfigId, OrganizationId, UserId},
};
use jiff::{ToSpan, civil::Date, tz::TimeZone};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Microseconds of a day in UTC, which has no leap seconds here.
const DAY_MICROS: i64 = 86_400_000_000;

/// Greatest figure of one call that is believed: 10¹² tokens, milliseconds or micro-dollars (a million
/// dollars). A provider that counts nonsense must not make the sums overflow.
const MAX_FIGURE: i64 = 1_000_000_000_000;

/// What a model was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// A step of a turn.
    ChatTurn,
    /// A title.
    Title,
    /// A line about a turn.
    Label,
    /// A summary that replaces history.
    Compaction,
}

impl CallKind {
    /// Its name in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatTurn => "chat_turn",
            Self::Title => "title",
            Self::Label => "label",
            Self::Compaction => "compaction",
        }
    }
}

/// A model call that came to its end, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCall {
    /// What for.
    pub kind: CallKind,
    /// The model config that was used.
    pub model_config_id: ModelConfigId,
    /// Wire name of the provider type.
    pub provider: String,
    /// The provider's name of the model.
    pub model: String,
    /// What it used and cost.
    pub figures: StepFigures,
}

impl ModelCall {
    /// Zero is stored as unset, like the columns of a message.
    pub(super) fn figure(n: i64) -> Option<i64> {
        (n > 0).then(|| n.min(MAX_FIGURE))
    }
}

/// The day of a moment, counted from 1970 in UTC.
pub(super) const fn day(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(DAY_MICROS)
}

/// How long a limit lasts before it begins anew, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// A calendar month.
    Month,
}

impl Period {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The period of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Day, Self::Week, Self::Month].into_iter().find(|p| p.as_str() == name)
    }

    /// The period that a moment lies in: its start, and the start of the next one.
    ///
    /// # Errors
    /// When the moment lies beyond the years of the calendar (-9999 to 9999).
    pub fn around(self, now: Timestamp) -> Result<(Timestamp, Timestamp)> {
        let beyond = |e: jiff::Error| Error::Corrupt(format!("the time {now} has no period: {e}"));
        let today = jiff::Timestamp::from_microsecond(now.as_micros())
            .map_err(beyond)?
            .to_zoned(TimeZone::UTC)
            .date();
        let (start, length) = match self {
            Self::Day => (today, 1.day()),
            Self::Week => {
                let since_monday = i64::from(today.weekday().to_monday_zero_offset());
                (today.checked_sub(since_monday.days()).map_err(beyond)?, 1.week())
            }
            Self::Month => (today.first_of_month(), 1.month()),
        };
        let midnight = |date: Date| {
            let at = date.to_zoned(TimeZone::UTC).map_err(beyond)?;
            Ok::<_, Error>(Timestamp::from_micros(at.timestamp().as_microsecond()))
        };
        Ok((midnight(start)?, midnight(start.checked_add(length).map_err(beyond)?)?))
    }
}

/// The default limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitRecord {
    /// Micro-dollars a user may spend in a period; `None` switches limits off for everybody.
    pub spend_limit_micros: Option<i64>,
    /// How long.
    pub period: Period,
    /// When it was set.
    pub updated_at: Timestamp,
}

/// The limit of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserLimit {
    /// Whose.
    pub user_id: UserId,
    /// Login name.
    pub username: String,
    /// Display name.
    pub name: String,
    /// Where a picture lies.
    pub avatar_url: String,
    /// Micro-dollars a period.
    pub spend_limit_micros: i64,
    /// When it was first set.
    pub created_at: Timestamp,
    /// When it was last set.
    pub updated_at: Timestamp,
}

/// The limit of each member of a group, for what is spent in the group's organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLimit {
    /// Whose.
    pub group_id: GroupId,
    /// Its name.
    pub name: String,
    /// Its display name.
    pub display_name: String,
    /// Where a picture lies.
    pub avatar_url: String,
    /// How many members it has.
    pub member_count: i64,
    /// Micro-dollars a period.
    pub spend_limit_micros: i64,
    /// When it was first set.
    pub created_at: Timestamp,
    /// When it was last set.
    pub updated_at: Timestamp,
}

/// Every limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllLimits {
    /// The default.
    pub default: LimitRecord,
    /// Of users, by name.
    pub users: Vec<UserLimit>,
    /// Of groups, by name.
    pub groups: Vec<GroupLimit>,
}

/// Whose spend is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The owner of a chat, in the chat's organization.
    Chat(ChatId),
    /// A user in an organization.
    In(UserId, OrganizationId),
    /// A user, wherever their smallest group limit is.
    User(UserId),
}

/// How somebody stands to the limit that applies to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The limit in micro-dollars.
    pub limit_micros: i64,
    /// What counts against it, in micro-dollars.
    pub spent_micros: i64,
    /// Kind of period.
    pub period: Period,
    /// Start of the period.
    pub start: Timestamp,
    /// Its end, when everybody begins with nothing spent.
    pub end: Timestamp,
}

impl Standing {
    /// Refuses whoever has reached the limit.
    ///
    /// # Errors
    /// [`Error::SpendLimit`].
    pub fn check(&self) -> Result<()> {
        if self.spent_micros < self.limit_micros {
            return Ok(());
        }
        Err(Error::SpendLimit(Exceeded {
            spent_micros: self.spent_micros,
            limit_micros: self.limit_micros,
            resets_at: self.end,
        }))
    }
}

/// A limit that was reached (api.md §1.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Spent in this period, in micro-dollars.
    pub spent_micros: i64,
    /// The limit, in micro-dollars.
    pub limit_micros: i64,
    /// When the next period begins.
    pub resets_at: Timestamp,
}

/// Dollars with two decimals, cut.
fn dollars(micros: i64) -> String {
    format!("${}.{:02}", micros / 1_000_000, micros % 1_000_000 / 10_000)
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (spent, limit) = (dollars(self.spent_micros), dollars(self.limit_micros));
        write!(f, "You have spent {spent} of {limit}. The limit resets at {}.", self.resets_at)
    }
}

/// How long it is believed without a look that limits are off. A change on this replica and a notice
/// of one elsewhere end it at once; this is for notices that got lost.
const BELIEVE_OFF: Duration = Duration::from_secs(10);

/// Remembers that limits are off, so that deployments without them pay no statement for them. That
/// they are on, and what was spent, is never remembered.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Grows when limits may have changed.
    generation: u64,
    off_until: Option<Instant>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a transaction that admits has to look at; `None` when limits are known to be off.
    #[must_use]
    pub fn ask(&self) -> Option<Asked> {
        let seen = self.lock();
        let off = seen.off_until.is_some_and(|until| Instant::now() < until);
        (!off).then(|| Asked { gate: self.clone(), generation: seen.generation })
    }

    /// Limits may have changed.
    pub fn forget(&self) {
        let mut seen = self.lock();
        seen.generation += 1;
        seen.off_until = None;
    }
}

/// A look at the limits that is under way.
#[derive(Debug, Clone)]
pub struct Asked {
    gate: Gate,
    generation: u64,
}

impl Asked {
    /// It found limits off. What changed since it began is newer.
    pub(super) fn off(&self) {
        let mut seen = self.gate.lock();
        if seen.generation == self.generation {
            seen.off_until = Some(Instant::now() + BELIEVE_OFF);
        }
    }
}

/// Sums over rows of the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Micro-dollars.
    pub cost_micros: i64,
    /// Calls.
    pub calls: i64,
    /// Calls that had a price.
    pub priced: i64,
    /// Prompt tokens from no cache.
    pub input_tokens: i64,
    /// Generated tokens.
    pub output_tokens: i64,
    /// Prompt tokens read from a cache.
    pub cache_read_tokens: i64,
    /// Prompt tokens written to a cache.
    pub cache_creation_tokens: i64,
    /// Milliseconds the models worked.
    pub runtime_ms: i64,
}

/// What was spent with one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCosts {
    /// The model config, when it is known.
    pub model_config_id: Option<ModelConfigId>,
    /// Wire name of the provider type; empty for rows older than the ledger.
    pub provider: String,
    /// The provider's name of the model; empty likewise.
    pub model: String,
    /// Sums.
    pub totals: Totals,
}

/// What was spent in a root chat and its sub-agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatCosts {
    /// The root chat.
    pub root_chat_id: ChatId,
    /// Its title; empty when it is gone.
    pub title: String,
    /// Sums.
    pub totals: Totals,
}

/// What one user spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCosts {
    /// Sums.
    pub totals: Totals,
    /// By model, the most expensive first.
    pub models: Vec<ModelCosts>,
    /// By root chat, the most expensive first.
    pub chats: Vec<ChatCosts>,
}

/// Which users a page of costs shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpenderPage {
    /// From this moment on.
    pub start: Timestamp,
    /// Before this moment.
    pub end: Timestamp,
    /// Part of the user name or the name, any case.
    pub username: Option<String>,
    /// Most users.
    pub limit: i64,
    /// Users to skip.
    pub offset: i64,
}

/// One user of a page of costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spender {
    /// Who.
    pub user_id: UserId,
    /// Login name.
    pub username: String,
    /// Display name.
    pub name: String,
    /// Where a picture lies.
    pub avatar_url: String,
    /// Root chats that cost something.
    pub chats: i64,
    /// Sums.
    pub totals: Totals,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn periods_are_calendar_periods_in_utc() {
        for (now, day, week, month) in [
            // A Wednesday.
            (
                "2026-06-17T13:14:15.000016Z",
                ("2026-06-17T00:00:00Z", "2026-06-18T00:00:00Z"),
                ("2026-06-15T00:00:00Z", "2026-06-22T00:00:00Z"),
                ("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z"),
            ),
            // A Monday's first moment, and a Sunday's last one.
            (
                "2026-06-15T00:00:00Z",
                ("2026-06-15T00:00:00Z", "2026-06-16T00:00:00Z"),
                ("2026-06-15T00:00:00Z", "2026-06-22T00:00:00Z"),
                ("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z"),
            ),
            (
                "2026-06-14T23:59:59.999999Z",
                ("2026-06-14T00:00:00Z", "2026-06-15T00:00:00Z"),
                ("2026-06-08T00:00:00Z", "2026-06-15T00:00:00Z"),
                ("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z"),
            ),
            // Over the ends of a leap February and of a year.
            (
                "2028-02-29T12:00:00Z",
                ("2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
                ("2028-02-28T00:00:00Z", "2028-03-06T00:00:00Z"),
                ("2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            ),
            (
                "2026-12-31T23:59:59Z",
                ("2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
                ("2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"),
                ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ),
        ] {
            for (period, (start, end)) in [(Period::Day, day), (Period::Week, week), (Period::Month, month)] {
                assert_eq!(period.around(at(now)).unwrap(), (at(start), at(end)), "{period:?} of {now}");
            }
        }
        assert!(Period::Month.around(Timestamp::from_micros(i64::MAX)).is_err());
        assert_eq!(day(at("1970-01-01T23:59:59.999999Z")), 0);
        assert_eq!(day(at("1969-12-31T23:59:59.999999Z")), -1);
        assert_eq!(day(at("2026-06-17T00:00:00Z")), 20_621);
    }

    #[test]
    fn reaching_a_limit_is_enough_and_is_told_in_dollars() {
        let standing = |spent_micros| Standing {
            limit_micros: 5_000_000,
            spent_micros,
            period: Period::Month,
            start: at("2026-06-01T00:00:00Z"),
            end: at("2026-07-01T00:00:00Z"),
        };
        assert!(standing(4_999_999).check().is_ok());
        assert!(matches!(standing(5_000_000).check(), Err(Error::SpendLimit(_))));
        let Err(Error::SpendLimit(exceeded)) = standing(5_209_999).check() else { panic!() };
        assert_eq!(
            exceeded.to_string(),
            "You have spent $5.20 of $5.00. The limit resets at 2026-07-01T00:00:00Z."
        );
    }

    #[test]
    fn an_old_look_does_not_hide_a_new_limit() {
        let gate = Gate::default();
        let slow = gate.ask().unwrap();
        gate.ask().unwrap().off();
        assert!(gate.ask().is_none());
        gate.forget();
        slow.off();
        assert!(gate.ask().is_some());
    }

    #[test]
    fn nonsense_counts_for_little() {
        assert_eq!(ModelCall::figure(i64::MAX), Some(1_000_000_000_000));
        assert_eq!(
            (ModelCall::figure(0), ModelCall::figure(-3), ModelCall::figure(7)),
            (None, None, Some(7))
        );
    }
}
