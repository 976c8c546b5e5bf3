//! Every error to its status and body, here and nowhere else (api.md §1.3, §2.2, §2.6, §2.7).
//!
//! Causes that are not the caller's business go to the log under the request id; the caller gets
//! the id.

use super::{body, observe};
use crate::{
    chat::{command::CommandKind, plan::Refusal, state::State},
    clock::Timestamp,
    store::{self, spend::Exceeded},
};
use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;
use std::fmt;
use utoipa::ToSchema;

/// Result of a handler.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// Seconds after which a request that met an overloaded or unreachable store is worth repeating.
const RETRY_AFTER_SECONDS: u16 = 1;

/// The field of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Validation {
    /// Its JSON name or query key.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    message: String,
    detail: Option<String>,
    validations: Vec<Validation>,
    retry_after: Option<u16>,
    /// The limit that was reached.
    exceeded: Option<Box<Exceeded>>,
    /// Logged, never sent.
    cause: Option<String>,
}

/// Every error (api.md §1.3).
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ProblemBody<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Validation]>::is_empty")]
    #[schema(required = false)]
    validations: &'a [Validation],
    /// Only when a spend limit is reached, by which clients tell this from other conflicts
    /// (api.md §1.8).
    #[serde(flatten)]
    exceeded: Option<ExceededBody>,
}

/// What has been spent of what.
#[derive(Serialize, ToSchema)]
#[schema(as = SpendLimitReached)]
pub struct ExceededBody {
    #[schema(required = false)]
    spent_micros: i64,
    #[schema(required = false)]
    limit_micros: i64,
    #[schema(required = false)]
    resets_at: Timestamp,
}

impl Problem {
    /// A problem with a status and a short text.
    #[must_use]
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            detail: None,
            validations: Vec::new(),
            retry_after: None,
            exceeded: None,
            cause: None,
        }
    }

    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 that names the field.
    #[must_use]
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let (field, detail) = (field.into(), detail.into());
        let mut problem = Self::bad_request(format!("Invalid {field}.")).detail(detail.clone());
        problem.validations.push(Validation { field, detail });
        problem
    }

    /// 401.
    #[must_use]
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 403.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404 for a thing that is missing or hidden; the two look alike.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} not found."))
    }

    /// 404 for a URL nobody serves.
    #[must_use]
    pub fn unknown_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Route not found.")
    }

    /// 405 for a URL that is served to these methods only; the answer also needs the header `Allow`.
    #[must_use]
    pub fn wrong_method(allowed: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.")
            .detail(format!("This address is served to {allowed}."))
    }

    /// 409.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 413.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large.")
            .detail(format!("The body may have at most {limit} bytes."))
    }

    /// 415 for a body with a content coding; the answer also says that there is none to choose.
    #[must_use]
    pub fn unsupported_coding(coding: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Compressed request bodies are not supported.")
            .detail(format!("Send the body as it is, without \"Content-Encoding: {coding}\"."))
    }

    /// 429 for somebody who asks too often.
    #[must_use]
    pub fn too_many(wait: std::time::Duration) -> Self {
        let seconds = u16::try_from(wait.as_secs().saturating_add(1)).unwrap_or(u16::MAX);
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests.")
            .detail(format!("Try again in {seconds} s."));
        problem.retry_after = Some(seconds);
        problem
    }

    /// 500; the cause is logged.
    #[must_use]
    pub fn internal(cause: impl fmt::Display) -> Self {
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error.");
        problem.cause = Some(cause.to_string());
        problem
    }

    /// 503 that is worth repeating; the cause is logged.
    #[must_use]
    pub fn unavailable(message: impl Into<String>, cause: impl fmt::Display) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, message);
        problem.retry_after = Some(RETRY_AFTER_SECONDS);
        problem.cause = Some(cause.to_string());
        problem
    }

    /// Adds a longer text.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A store error where "not found" means that the chat is missing.
    #[must_use]
    pub fn of_chat(error: store::Error) -> Self {
        Self::of_store(error, "Chat")
    }

    /// A store error; `what` is the thing that was looked for.
    #[must_use]
    pub fn of_store(error: store::Error, what: &str) -> Self {
        match error {
            store::Error::NotFound => Self::not_found(what),
            store::Error::Refused(refusal) => (&refusal).into(),
            store::Error::SpendLimit(exceeded) => {
                let mut problem = Self::conflict("Chat usage limit exceeded.").detail(exceeded.to_string());
                problem.exceeded = Some(Box::new(exceeded));
                problem
            }
            store::Error::Stale => Self::conflict("The chat has moved on. Look at it and try again."),
            store::Error::IdempotencyMismatch => {
                Self::conflict("This Idempotency-Key was used with a different request.")
            }
            store::Error::Duplicate(what) => Self::conflict(format!("There already is {what}.")),
            store::Error::Conflict(why) => Self::conflict(why),
            store::Error::NotAMember(user) => {
                Self::bad_request("Only members of the organization can be members of its groups.")
                    .detail(format!("User {user} is not a member of the organization."))
            }
            store::Error::Sealed(why) => {
                let how = "Its encryption keys are not those of the deployment. The operator has to give it the keys that \
                           the other replicas have: secrets.encryption_key_file or secrets.encryption_key_env.";
                let mut problem =
                    Self::unavailable("This server cannot store or read secrets.", why).detail(how);
                // Only somebody who does that helps.
                problem.retry_after = None;
                problem
            }
            store::Error::Overloaded => Self::unavailable("The server is overloaded. Try again.", error),
            e if e.is_transient() => Self::unavailable("The database is not available. Try again.", e),
            e @ (store::Error::Corrupt(_)
            | store::Error::LimitUnresolved(_)
            | store::Error::Unavailable(_)
            | store::Error::Silent
            | store::Error::Database(_)) => Self::internal(e),
        }
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        Self::of_store(error, "Resource")
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::NotAllowed { command, from } => not_allowed(*command, *from),
            Refusal::QueueFull { max } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "The message queue is full.")
                    .detail(format!("At most {max} messages may wait in a chat."))
            }
            Refusal::EditedMessageNotFound => Self::not_found("Message"),
            Refusal::QueuedMessageNotFound => Self::not_found("Queued message"),
            Refusal::OnlyUserMessagesCanBeEdited => Self::bad_request("Only user messages can be edited."),
            Refusal::DuplicateResult(_)
            | Refusal::MissingResult(_)
            | Refusal::UnexpectedResult(_)
            | Refusal::ResultNotJson(_) => {
                Self::bad_request("Invalid tool results.").detail(refusal.to_string())
            }
            Refusal::NotARootChat => {
                Self::bad_request("Only a root chat can be archived or unarchived; its children follow.")
            }
            Refusal::NothingPending => Self::conflict("No client-side tool call is pending."),
        }
    }
}

/// The table of api.md §2.2: archived is told before any other reason, and is 400.
fn not_allowed(command: CommandKind, from: State) -> Problem {
    let conflict = |what: &str| {
        Problem::conflict(what).detail(format!("{command} is not allowed while the chat is {from}."))
    };
    match (command, from) {
        (CommandKind::ReconcileInvalidState, _) => conflict("The chat is not in an invalid state."),
        (_, State::Invalid(..)) => conflict("The chat is in an invalid state."),
        (CommandKind::Archive, from) if from.is_archived() => {
            Problem::bad_request("The chat is already archived.")
        }
        (_, from) if from.is_archived() => Problem::bad_request("The chat is archived."),
        (CommandKind::Unarchive, _) => Problem::bad_request("The chat is not archived."),
        (CommandKind::Archive, _) => conflict("The chat is active. Interrupt it first."),
        (CommandKind::Interrupt, _) => conflict("There is nothing to interrupt."),
        (CommandKind::DeleteQueuedMessage | CommandKind::PromoteQueuedMessage, _) => {
            conflict("The chat has no queued messages.")
        }
        (CommandKind::CompleteRequiresAction, _) => conflict("The chat is not waiting for tool results."),
        _ => conflict("The chat's state does not allow this."),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.message)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut detail = self.detail.clone();
        if let Some(cause) = &self.cause {
            let status = self.status.as_u16();
            // Overload and shutdown are states that pass, and the client is told to come again.
            if self.status == StatusCode::SERVICE_UNAVAILABLE {
                tracing::warn!(status, cause, "request refused for now");
            } else {
                tracing::error!(status, cause, "request failed");
            }
            if self.status == StatusCode::INTERNAL_SERVER_ERROR {
                detail = observe::request_id()
                    .map(|id| format!("The server's log has the reason under request id {id}."));
            }
        }
        let mut response = body::json(
            self.status,
            &ProblemBody {
                message: &self.message,
                detail: detail.as_deref(),
                validations: &self.validations,
                exceeded: self.exceeded.as_ref().map(|e| ExceededBody {
                    spent_micros: e.spent_micros,
                    limit_micros: e.limit_micros,
                    resets_at: e.resets_at,
                }),
            },
        );
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            let none = header::HeaderValue::from_static("identity");
            response.headers_mut().insert(header::ACCEPT_ENCODING, none);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::state::Status;

    fn status(command: CommandKind, from: State) -> u16 {
        Problem::from(&Refusal::NotAllowed { command, from }).status().as_u16()
    }

    #[test]
    fn archived_is_400_and_everything_else_a_conflict() {
        use CommandKind as C;
        for from in [State::XW, State::XE0, State::XE1] {
            for command in [
                C::SendMessageQueue,
                C::EditMessage,
                C::Interrupt,
                C::PromoteQueuedMessage,
                C::DeleteQueuedMessage,
                C::CompleteRequiresAction,
                C::RequestCompaction,
                C::ClearContext,
                C::Archive,
            ] {
                assert_eq!(status(command, from), 400, "{command} from {from}");
            }
            assert_eq!(status(C::ReconcileInvalidState, from), 409);
        }
        let invalid = State::Invalid(Status::Running, false, true);
        for command in [C::SendMessageQueue, C::Archive, C::Unarchive, C::Interrupt, C::PromoteQueuedMessage]
        {
            assert_eq!(status(command, invalid), 409, "{command}");
        }
        assert_eq!(status(C::Unarchive, State::R0), 400);
        assert_eq!(status(C::Archive, State::R0), 409);
        assert_eq!(status(C::DeleteQueuedMessage, State::W), 409);
        assert_eq!(status(C::PromoteQueuedMessage, State::E0), 409);
        assert_eq!(status(C::Interrupt, State::I1), 409);
    }

    #[test]
    fn causes_stay_in() {
        let canary = "postgres://user:hunter2@db/x";
        let problem = Problem::of_chat(store::Error::Corrupt(canary.into()));
        assert_eq!(problem.status().as_u16(), 500);
        let body = serde_json::to_string(&ProblemBody {
            message: &problem.message,
            detail: problem.detail.as_deref(),
            validations: &problem.validations,
            exceeded: None,
        })
        .unwrap();
        assert!(!body.contains("hunter2"), "{body}");
        assert_eq!(Problem::of_chat(store::Error::Overloaded).retry_after, Some(1));
        assert_eq!(Problem::of_chat(store::Error::Unavailable("x".into())).status().as_u16(), 503);
        assert_eq!(Problem::of_chat(store::Error::IdempotencyMismatch).status().as_u16(), 409);
        assert_eq!(
            Problem::of_chat(store::Error::Refused(Refusal::QueueFull { max: 20 })).status().as_u16(),
            429
        );
    }
}
