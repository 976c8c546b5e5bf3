//! What the model may call: one file per tool, with its schema, its limits and what it does.
//!
//! A tool that fails says so in its outcome, and the turn goes on. Dropping a tool's future ends the wait for it; what it
//! started in a workspace is left to the agent there. A call that a crash cut off runs again only where that does no harm
//! ([`Repeat`]).

/// A schema that is always the same: it is made once, and not for each step of each chat.
macro_rules! schema {
    ($($json:tt)+) => {{
        static SCHEMA: std::sync::LazyLock<$crate::chat::json::Json> =
            std::sync::LazyLock::new(|| $crate::chat::json::Json::of(&serde_json::json!($($json)+)));
        SCHEMA.clone()
    }};
}

pub mod arguments;
pub mod ask_user_question;
pub mod attach_file;
mod building;
pub mod command_line;
pub mod context;
pub mod create_workspace;
pub mod duration;
pub mod edit_files;
pub mod execute;
pub mod offer;
pub mod outcome;
pub mod plan_file;
pub mod power;
pub mod process_list;
pub mod process_output;
pub mod process_signal;
pub mod propose_plan;
pub mod read_file;
pub mod read_skill;
pub mod read_skill_file;
pub mod registry;
pub use crate::workspace::skill;
pub mod templates;
pub mod workspace_mcp;
pub mod write_file;

use crate::{chat::json::Json, llm::request::ToolSpec};
pub use context::{Session, ToolContext};
use outcome::ToolOutcome;

/// What is done with a call whose first run did not live to tell what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It runs again: it only reads, or a second run leaves what the first one left.
    Again,
    /// It is sent to the workspace's agent again, which knows the call, does nothing a second time and answers with
    /// what came of it. Without an agent as [`Repeat::Never`].
    Attach,
    /// It does not run again; the model is told that its outcome is unknown.
    Never,
}

/// A tool that chatd runs itself.
#[async_trait::async_trait]
pub trait Tool: Send + Sync {
    /// Its name, as the model calls it.
    fn name(&self) -> &str;

    /// Its name in metrics, of which there must not be many.
    fn label(&self) -> &str {
        self.name()
    }

    /// What it does, for the model.
    fn description(&self) -> &str;

    /// JSON Schema object of its arguments.
    fn input_schema(&self) -> Json;

    /// May not be called together with other tools.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// Whether a second run of a call does harm.
    fn repeat(&self) -> Repeat {
        Repeat::Never
    }

    /// Runs one call. `args` is the JSON text of the arguments as the model wrote them.
    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome;

    /// The definition for the model.
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: self.name().to_owned(),
            description: self.description().to_owned(),
            input_schema: self.input_schema(),
        }
    }
}
