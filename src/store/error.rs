//! What can go wrong with a store operation.

use crate::chat::plan::Refusal;

/// Result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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
    /// A stored value cannot be read: the database was changed by hand or by a newer program.
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
    /// A stored secret cannot be opened, or none can be sealed. The text names keys by their ids only.
    #[error("{0}")]
    Sealed(String),
    /// The database cannot be reached or was closed.
    #[error("the database is not available: {0}")]
    Unavailable(String),
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
    /// Trying the same operation again may succeed: the connection broke, or two transactions met.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        use diesel::result::{DatabaseErrorKind, Error as D};
        match self {
            Self::Overloaded => true,
            Self::Database(D::DatabaseError(kind, info)) => {
                matches!(kind, DatabaseErrorKind::SerializationFailure)
                    || info.message().contains("deadlock detected")
                    || self.is_lost_connection()
            }
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
