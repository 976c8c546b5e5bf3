//! Rows of what was recorded of model calls for debugging (agent-loop.md §21).

use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::{ChatId, MessageId, ModelConfigId},
};
use uuid::Uuid;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal),* $(,)? })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$inner])* $variant),* }

        impl $name {
            /// Name on the wire and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The one of this name.
            #[must_use]
            pub fn of(text: &str) -> Option<Self> {
                [$(Self::$variant),*].into_iter().find(|v| v.as_str() == text)
            }
        }
    )* };
}

names! {
    /// What a run was for.
    RunKind {
        /// A turn of the chat.
        ChatTurn = "chat_turn",
        /// A title.
        TitleGeneration = "title_generation",
        /// A small call beside the turn, such as the label of a turn.
        Quickgen = "quickgen",
        /// A summary of the history, made within a turn.
        Compaction = "compaction",
    }
    /// How far a run or a step is. A later one in this list is never replaced by an earlier one.
    RunStatus {
        /// It goes on.
        InProgress = "in_progress",
        /// It was cut short.
        Interrupted = "interrupted",
        /// It failed.
        Error = "error",
        /// It is done.
        Completed = "completed",
    }
}

impl RunStatus {
    /// Those that this one may replace.
    #[must_use]
    pub fn weaker(self) -> Vec<&'static str> {
        let all = [Self::InProgress, Self::Interrupted, Self::Error, Self::Completed];
        all.into_iter().take_while(|s| *s != self).map(Self::as_str).collect()
    }
}

/// A run: the model calls for one purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebugRun {
    /// Id.
    pub id: Uuid,
    /// Chat.
    pub chat_id: ChatId,
    /// Root of the chat's family.
    pub root_chat_id: Option<ChatId>,
    /// Parent of the chat.
    pub parent_chat_id: Option<ChatId>,
    /// Model.
    pub model_config_id: Option<ModelConfigId>,
    /// The last message of the user.
    pub trigger_message_id: Option<MessageId>,
    /// The last message.
    pub history_tip_message_id: Option<MessageId>,
    /// What it was for.
    pub kind: RunKind,
    /// How far it is.
    pub status: RunStatus,
    /// Type of the provider.
    pub provider: Option<String>,
    /// The provider's name of the model.
    pub model: Option<String>,
    /// JSON object: a label, and at the end counts.
    pub summary: Json,
    /// When it began.
    pub started_at: Timestamp,
    /// When something was recorded last.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A step: one model call with all its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebugStep {
    /// Id.
    pub id: Uuid,
    /// Run.
    pub run_id: Uuid,
    /// Chat.
    pub chat_id: ChatId,
    /// Number within the run, from 1.
    pub step_number: i64,
    /// `stream` or `generate`.
    pub operation: String,
    /// How far it is.
    pub status: RunStatus,
    /// The last message of the history it was asked with.
    pub history_tip_message_id: Option<MessageId>,
    /// The message it became.
    pub assistant_message_id: Option<MessageId>,
    /// JSON object.
    pub normalized_request: Json,
    /// JSON object.
    pub normalized_response: Option<Json>,
    /// JSON object of tokens.
    pub usage: Option<Json>,
    /// JSON array.
    pub attempts: Json,
    /// JSON object.
    pub error: Option<Json>,
    /// JSON object.
    pub metadata: Json,
    /// When it began.
    pub started_at: Timestamp,
    /// When something was recorded last.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// The end of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnd {
    /// The step.
    pub id: Uuid,
    /// How it ended.
    pub status: RunStatus,
    /// The message it became.
    pub assistant_message_id: Option<MessageId>,
    /// JSON object.
    pub response: Option<Json>,
    /// JSON object of tokens.
    pub usage: Option<Json>,
    /// JSON array.
    pub attempts: Json,
    /// JSON object.
    pub error: Option<Json>,
    /// When.
    pub at: Timestamp,
}
