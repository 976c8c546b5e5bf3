//! Typed identifiers. A UUID of one kind cannot be passed where another kind is meant.
//!
//! Time-ordered UUIDs (v7) are minted in one place, [`fresh_uuid`], so that rows created together
//! lie together in the index.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type},
    },
};
use uuid::Uuid;

/// Mints a time-ordered (version 7) UUID.
#[must_use]
pub fn fresh_uuid() -> Uuid {
    Uuid::now_v7()
}

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Mints a fresh, time-ordered id.
            #[must_use]
            pub fn fresh() -> Self { Self(fresh_uuid()) }
        }
        /// On the wire: a hyphenated UUID.
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let format = SchemaFormat::Custom("uuid".into());
                ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
            }
        }
        impl ToSchema for $name {}
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> { Uuid::parse_str(s).map(Self) }
        }
    )* };
}

uuid_id! {
    /// A chat: one durable conversation.
    ChatId,
    /// A user account.
    UserId,
    /// An organization, the unit chats and members belong to.
    OrganizationId,
    /// One replica process. New on every start, so a restarted process is a stranger to its past.
    WorkerId,
    /// One run of one chat's runner: the fence of everything it commits.
    RunnerId,
    /// A configured model that people can pick.
    ModelConfigId,
    /// A configured provider (credentials and address of a model vendor).
    ProviderId,
    /// An external MCP server record.
    McpServerId,
    /// A workspace.
    WorkspaceId,
    /// An agent inside a workspace.
    AgentId,
    /// One build (start) of a workspace.
    BuildId,
    /// An uploaded or attached file.
    FileId,
    /// A template that workspaces are built from.
    TemplateId,
    /// A group of members of one organization.
    GroupId,
}

macro_rules! int_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        /// On the wire: a whole number.
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
                ObjectBuilder::new().schema_type(Type::Integer).format(Some(format)).into()
            }
        }
        impl ToSchema for $name {}

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
    )* };
}

int_id! {
    /// A row of `chat_messages`. Ascending over the whole deployment.
    MessageId,
    /// A row of `chat_queued_messages`; an id space of its own.
    QueuedId,
}
