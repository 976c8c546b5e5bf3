//! What the model may call: one file per tool, with its schema, its limits and what it does.
//!
//! A tool that fails says so in its outcome, and the turn goes on. Dropping a tool's future cancels
//! it; a foreground command it started is killed then. A call that a crash cut off runs again only where
//! that does no harm ([`Repeat`]).

pub mod arguments;
pub mod command_line;
pub mod duration;
pub mod execute;
pub mod outcome;
pub mod read_file;
pub mod registry;
pub use crate::workspace::skill;
pub mod write_file;

use crate::{chat::json::Json, ids::ChatId, llm::request::ToolSpec, workspace::Workspace};
use outcome::ToolOutcome;
use std::sync::Arc;

/// What a call knows about where it runs.
#[derive(Debug, Clone)]
pub struct ToolContext {
    /// The chat.
    pub chat_id: ChatId,
    /// Id of this call.
    pub tool_call_id: String,
    /// The chat's workspace, if it has one.
    pub workspace: Option<Arc<dyn Workspace>>,
}

impl ToolContext {
    /// The workspace, or the outcome that tells the model there is none.
    ///
    /// # Errors
    /// When the chat has no workspace.
    pub fn workspace(&self) -> Result<&dyn Workspace, ToolOutcome> {
        self.workspace.as_deref().ok_or_else(|| {
            ToolOutcome::error("this chat has no workspace; create one before using this tool")
        })
    }
}

/// What is done with a call whose first run did not live to tell what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It runs again: it only reads, or a second run leaves what the first one left.
    Again,
    /// It does not run again; the model is told that its outcome is unknown.
    Never,
}

/// A tool that chatd runs itself.
#[async_trait::async_trait]
pub trait Tool: Send + Sync {
    /// Its name, as the model calls it.
    fn name(&self) -> &str;

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

/// The tools that are built in, in the order in which the model sees them.
#[must_use]
pub fn built_in() -> Vec<Arc<dyn Tool>> {
    vec![Arc::new(read_file::ReadFile), Arc::new(write_file::WriteFile), Arc::new(execute::Execute)]
}
