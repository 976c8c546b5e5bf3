//! What can go wrong with a store operation.

use super::spend::Exceeded;
use crate::chat::plan::Refusal;

/// Result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What databases say of a state that somebody ends: a disk that is full or fails, memory that is short, a
/// time limit of the server, a file or a server that only reads for now. Nothing is wrong with what was asked.
const PASSING: [&str; 10] = [
    // SQLite
    "database or disk is full",
    "disk I/O error",
    "unable to open database file",
    "attempt to write a readonly database",
    "locking protocol",
    // PostgreSQL
    "canceling statement due to",
    "No space left on device",
    "could not extend file",
    "out of shared memory",
    // both
    "out of memory",
];

/// Why a store operation did nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The row does not exist.
    #[error("not found")]
    NotFound,
    /// The state machine refused the command; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The fence is broken: owner, status, history or attempt moved on. The work must be dropped.
    #[error("the work is stale: the chat has moved on")]
    Stale,
    /// The write queue is full. Nothing was written; try again later.
    #[error("the database is overloaded")]
    Overloaded,
    /// The idempotency key was used with another request.
    #[error("this Idempotency-Key was used with a different request")]
    IdempotencyMismatch,
    /// A unique name is taken.
    #[error("{0} already exists")]
    Duplicate(&'static str),
    /// What the database holds does not allow it; a sentence for the caller.
    #[error("{0}")]
    Conflict(&'static str),
    /// Only members of an organization can be members of its groups.
    #[error("user {0} is not a member of the organization")]
    NotAMember(crate::ids::UserId),
    /// The owner of the chat has spent what may be spent in this period.
    #[error("the spend limit is reached: {0}")]
    SpendLimit(Exceeded),
    /// How much may be spent could not be found out.
    #[error("the spend limit could not be looked up: {0}")]
    LimitUnresolved(Box<Error>),
    /// A stored value cannot be read: the database was changed by hand or by a newer program.
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
    /// A stored secret cannot be opened, or none can be sealed. The text names keys by their ids only.
    #[error("{0}")]
    Sealed(String),
    /// The database cannot be reached or was closed.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database was asked and gave no answer for a long time. What has become of the work is unknown.
    #[error("the database does not answer")]
    Silent,
    /// Any other database error.
    #[error("database error: {0}")]
    Database(diesel::result::Error),
}

impl From<diesel::result::Error> for Error {
    fn from(e: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind, Error as D};
        match e {
            D::NotFound => Self::NotFound,
            D::DatabaseError(
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
                info,
            ) => Self::Unavailable(info.message().to_owned()),
            // SQLite: another process kept the file longer than the busy timeout.
            D::DatabaseError(_, ref info) if info.message().starts_with("database is locked") => {
                Self::Overloaded
            }
            D::BrokenTransactionManager => Self::Unavailable("the connection broke".into()),
            other => Self::Database(other),
        }
    }
}

impl Error {
    /// The error of a write of something unique: [`Error::Duplicate`] when it is there already.
    pub(super) fn unless_new(what: &'static str) -> impl Fn(diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind, Error as D};
        move |e| match e {
            D::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Self::Duplicate(what),
            other => other.into(),
        }
    }

    /// Trying the same operation again later may succeed: the database is away, has too much to do, or
    /// cannot write for now.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        use diesel::result::{DatabaseErrorKind, Error as D};
        match self {
            Self::Overloaded | Self::Silent => true,
            Self::Database(D::DatabaseError(kind, info)) => {
                matches!(kind, DatabaseErrorKind::ReadOnlyTransaction)
                    || PASSING.iter().any(|text| info.message().contains(text))
                    || self.is_worth_another_try()
            }
            _ => self.is_worth_another_try(),
        }
    }

    /// The same at once: two transactions met, or the connection broke.
    #[must_use]
    pub(super) fn is_worth_another_try(&self) -> bool {
        use diesel::result::{DatabaseErrorKind, Error as D};
        match self {
            Self::Database(D::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
            Self::Database(D::DatabaseError(_, info)) if info.message().contains("deadlock detected") => true,
            _ => self.is_lost_connection(),
        }
    }

    /// The connection is of no more use. The server tells a client whose connection it ends only at
    /// the client's next word, as an ordinary error.
    #[must_use]
    pub(super) fn is_lost_connection(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Database(diesel::result::Error::DatabaseError(_, info)) => {
                let text = info.message();
                text.contains("terminating connection")
                    || text.contains("the database system is")
                    || text.contains("connection closed")
                    || text.contains("error communicating with the server")
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::result::{DatabaseErrorKind as Kind, Error as D};

    #[test]
    fn what_passes_is_told_from_what_is_wrong() {
        // What the databases say, whether it may pass, and whether it is worth another try at once.
        for (kind, text, passes, at_once) in [
            (Kind::Unknown, "database or disk is full", true, false),
            (Kind::Unknown, "disk I/O error", true, false),
            (Kind::Unknown, "attempt to write a readonly database", true, false),
            (Kind::Unknown, "canceling statement due to statement timeout", true, false),
            (Kind::Unknown, "canceling statement due to lock timeout", true, false),
            (Kind::Unknown, "could not extend file \"base/5/1\": No space left on device", true, false),
            (Kind::ReadOnlyTransaction, "cannot execute UPDATE in a read-only transaction", true, false),
            (Kind::SerializationFailure, "could not serialize access", true, true),
            (Kind::Unknown, "deadlock detected", true, true),
            (Kind::Unknown, "terminating connection due to administrator command", true, true),
            (Kind::UnableToSendCommand, "connection closed", true, true),
            (Kind::Unknown, "database is locked", true, false),
            (Kind::UniqueViolation, "duplicate key", false, false),
            (Kind::ForeignKeyViolation, "FOREIGN KEY constraint failed", false, false),
            (Kind::Unknown, "syntax error at or near \"x\"", false, false),
        ] {
            let e = Error::from(D::DatabaseError(kind, Box::new(text.to_owned())));
            assert_eq!((e.is_transient(), e.is_worth_another_try()), (passes, at_once), "{text}");
        }
        assert!(Error::Silent.is_transient() && !Error::Silent.is_worth_another_try());
        assert!(!Error::Corrupt("x".into()).is_transient());
    }
}
