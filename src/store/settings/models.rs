//! Models that are set for what nobody picks a model for.

use crate::ids::ModelConfigId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Names of the members of an enumeration, in paths and in the keys of rows.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident at $prefix:literal { $($(#[$about:meta])* $member:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
        // The document's schema does not see names that a macro gives; a test compares them.
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$about])* $member,)*
        }

        impl $name {
            /// Its name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$member => $text,)* }
            }

            /// The one of this name.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$member),)* _ => None }
            }

            /// Names its row.
            #[must_use]
            pub fn key(self) -> String {
                format!(concat!($prefix, "/{}"), self.as_str())
            }

            pub(super) fn of_key(key: &str) -> Option<Self> {
                Self::parse(key.strip_prefix(concat!($prefix, "/"))?)
            }
        }
    };
}

named! {
    /// What an administrator sets a model for.
    ModelUse at "model-override" {
        /// General subagents.
        General = "general",
        /// Exploring subagents.
        Explore = "explore",
        /// Titles of chats.
        TitleGeneration = "title_generation",
    }
}

named! {
    /// What a user sets a model for.
    PersonalUse at "personal-model-override" {
        /// New chats.
        Root = "root",
        /// General subagents.
        General = "general",
        /// Exploring subagents.
        Explore = "explore",
    }
}

/// A model that an administrator has set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ModelOverride {
    /// The model.
    pub model_config_id: ModelConfigId,
    /// How long it thinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
}

/// Where a user's model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverrideMode {
    /// What the administrator has set.
    DeploymentDefault,
    /// The chat's own model; for new chats the default model.
    ChatDefault,
    /// A model of the user's own choice.
    Model,
}

/// What a user has set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct PersonalOverride {
    /// Where the model comes from.
    pub mode: OverrideMode,
    /// The model, with that mode only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_config_id: Option<ModelConfigId>,
    /// How long it thinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
}
