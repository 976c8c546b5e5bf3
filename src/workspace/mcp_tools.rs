//! The tools that tool servers of a chat's workspace offer (workspace-and-providers.md §5): asked for before the model is,
//! kept for the chat as long as its agent is the same, and never waited for longer than a turn can bear. Whatever goes
//! wrong, the turn goes on without them.

use super::{
    connection::{Connection, NoConnection},
    remote::{CallError, Remote},
    wire::McpTool,
};
use crate::{
    chat::json::Json,
    ids::{AgentId, ChatId},
    store::records::ChatRecord,
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

/// How long a list may take (workspace-and-providers.md §5): the agent may need its whole 30 s to start the servers.
const LIST_WITHIN: Duration = Duration::from_secs(35);
/// How long a workspace that has just become ready is asked until it has tools, and the wait between two tries (§5).
const PRIME: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(2));
/// An agent that took longer, and brought nothing, is left alone for a while: a server that hangs would cost each step
/// of a turn its time.
const SLOW: Duration = Duration::from_secs(2);
/// How long it is left alone, while the same runner has the chat.
const LEFT_ALONE: Duration = Duration::from_secs(5 * 60);
/// Most tools. Providers take 128 in a request, and there are those of chatd and of its client.
const MAX_TOOLS: usize = 96;
/// Most bytes of all definitions: they are in memory for each chat, and in each of its prompts.
const MAX_BYTES: usize = 256 << 10;
/// Longest name that all providers take.
const MAX_NAME: usize = 64;
/// Between the name of a server and that of its tool.
const SEPARATOR: &str = "__";

/// A tool as a model is shown it.
#[derive(Debug, Clone)]
pub struct Served {
    /// `<server>__<tool>`
    pub name: String,
    /// What it does, by its server.
    pub description: String,
    /// JSON Schema object of its arguments.
    pub input_schema: Json,
}

/// What an agent has listed. Clones are the same.
pub type List = Arc<[Arc<Served>]>;

/// The list of a chat, if it is known. Clones are the same; it is in memory only.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<Mutex<Option<(AgentId, List)>>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Option<(AgentId, List)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, agent: AgentId) -> Option<List> {
        self.lock().as_ref().filter(|(known, _)| *known == agent).map(|(_, list)| list.clone())
    }
}

/// Whether a tool server could have a tool of this name.
#[must_use]
pub fn is_served(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) && name.contains(SEPARATOR)
}

/// Asks for the tools of one chat's workspace, while one runner has the chat.
#[derive(Debug)]
pub struct McpTools {
    asks: Arc<Asks>,
    primer: Mutex<Option<Primer>>,
}

#[derive(Debug)]
struct Asks {
    chat: ChatId,
    connection: Arc<Connection>,
    kept: Kept,
    /// Held while somebody lists, so that whoever else asks meanwhile gets the same answer.
    listing: tokio::sync::Mutex<()>,
    /// Who took long and brought nothing, and when that was.
    in_vain: Mutex<Option<(AgentId, Instant)>>,
}

/// A task that ends with whoever has started it.
#[derive(Debug)]
struct Primer(AbortHandle);

impl Drop for Primer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl McpTools {
    /// Of a chat; `kept` outlives the runner.
    #[must_use]
    pub fn of(chat: ChatId, connection: Arc<Connection>, kept: Kept) -> Self {
        let (listing, in_vain) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { asks: Arc::new(Asks { chat, connection, kept, listing, in_vain }), primer: Mutex::default() }
    }

    /// The list that is known of the chat's agent. Nobody is asked.
    #[must_use]
    pub fn known(&self, chat: &ChatRecord) -> Option<List> {
        chat.workspace_id.and(chat.agent_id).and_then(|agent| self.asks.kept.of(agent))
    }

    /// The list of the chat's agent; empty when the workspace has no tools, or they cannot be had now. Only an agent
    /// that is there is asked, and for at most [`LIST_WITHIN`].
    pub async fn list(&self, chat: &ChatRecord) -> List {
        if let Some(list) = self.known(chat) {
            return list;
        }
        self.forget();
        if chat.workspace_id.is_none() {
            return List::default();
        }
        self.asks.list(chat, LIST_WITHIN).await
    }

    /// Forgets the list: it is not right any more.
    pub fn forget(&self) {
        *self.asks.kept.lock() = None;
    }

    /// Asks in the background, until there are tools: the workspace has just become ready, and its servers may still
    /// be starting when the model is asked next. It ends with the runner at the latest.
    pub fn prime(&self) {
        *self.asks.in_vain() = None;
        let asks = Arc::clone(&self.asks);
        let task = tokio::spawn(async move {
            // Whether it found any is seen when somebody asks.
            drop(timeout(PRIME.0, asks.until_there_are_some()).await);
        });
        *self.primer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Primer(task.abort_handle()));
    }
}

impl Asks {
    fn in_vain(&self) -> MutexGuard<'_, Option<(AgentId, Instant)>> {
        self.in_vain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_left_alone(&self, agent: AgentId) -> bool {
        self.in_vain().is_some_and(|(who, at)| who == agent && at.elapsed() < LEFT_ALONE)
    }

    async fn until_there_are_some(&self) {
        loop {
            match self.connection.dialer().store.chat(self.chat).await {
                Ok(chat) if !self.list(&chat, PRIME.0).await.is_empty() => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(chat = %self.chat, %error, "a chat cannot be read for the tools of its workspace");
                }
            }
            sleep(PRIME.1).await;
        }
    }

    async fn list(&self, chat: &ChatRecord, limit: Duration) -> List {
        let (agent, remote) = match self.connection.at_hand(chat).await {
            Ok(Some(there)) => there,
            // No agent, or one that is not there: to wait for it is for those who need it.
            Ok(None) | Err(NoConnection::Deleted) => return List::default(),
            Err(error) => {
                tracing::warn!(chat = %self.chat, %error, "the tools of a workspace are not known in this turn");
                return List::default();
            }
        };
        if self.is_left_alone(agent) {
            return List::default();
        }
        let begun = Instant::now();
        let why = match timeout(limit, self.ask(agent, &remote)).await {
            Ok(Ok(list)) if !list.is_empty() => return list,
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {limit:?}")),
        };
        if let Some(why) = why {
            tracing::warn!(chat = %self.chat, %agent, why, "the tools of a workspace are not known in this turn");
        }
        if begun.elapsed() > SLOW {
            *self.in_vain() = Some((agent, Instant::now()));
        }
        List::default()
    }

    async fn ask(&self, agent: AgentId, remote: &Remote) -> Result<List, CallError> {
        let _alone = self.listing.lock().await;
        if let Some(list) = self.kept.of(agent) {
            return Ok(list);
        }
        let (tools, left_out) = fitting(remote.mcp_tools().await?.tools);
        if let Some(first) = left_out.first() {
            tracing::warn!(chat = %self.chat, %agent, left_out = left_out.len(), first,
                "tools of a workspace are left out: their definitions are too large, too many or none that a model is shown");
        }
        let list: List = tools.into();
        if !list.is_empty() {
            *self.kept.lock() = Some((agent, list.clone()));
        }
        Ok(list)
    }
}

/// What of a list can be shown to every model, and the names of the others: one definition that a provider refuses would
/// fail every prompt of the chat.
fn fitting(listed: Vec<McpTool>) -> (Vec<Arc<Served>>, Vec<String>) {
    let (mut tools, mut left_out, mut bytes, mut names) = (Vec::new(), Vec::new(), 0, HashSet::new());
    for tool in listed {
        let plain =
            tool.schema.values().all(|property| matches!(property, Value::Object(_) | Value::Bool(_)));
        let mut schema = json!({ "type": "object", "properties": tool.schema });
        let required: Vec<String> =
            tool.required.into_iter().filter(|name| schema["properties"].get(name).is_some()).collect();
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        let input_schema = Json::of(&schema);
        let size = tool.name.len() + tool.description.len() + input_schema.get().len();
        let fits = tools.len() < MAX_TOOLS && bytes + size <= MAX_BYTES;
        if !fits || !plain || !is_served(&tool.name) || !names.insert(tool.name.clone()) {
            // As text for a log only.
            left_out.push(super::text::prefix(&tool.name, MAX_NAME).to_owned());
            continue;
        }
        bytes += size;
        tools.push(Arc::new(Served { name: tool.name, description: tool.description, input_schema }));
    }
    (tools, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, schema: Value, required: &[&str]) -> McpTool {
        let Value::Object(schema) = schema else { panic!("an object") };
        McpTool {
            server_name: "s".into(),
            name: name.into(),
            description: "d".into(),
            schema,
            required: required.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn definitions_are_passed_through_or_left_out() {
        let (tools, left_out) = fitting(vec![
            tool("s__a", json!({"x": {"type": "number"}}), &["x", "none"]),
            tool("s__b", json!({}), &["x"]),
            tool("s__a", json!({}), &[]),
            tool("execute", json!({}), &[]),
            tool("s__ä", json!({}), &[]),
            tool("", json!({}), &[]),
            tool(&format!("s__{}", "x".repeat(62)), json!({}), &[]),
            tool("s__odd", json!({"x": null}), &[]),
            tool("s__large", json!({"x": {"description": "x".repeat(MAX_BYTES)}}), &[]),
            tool("s__c", json!({"x": true}), &[]),
        ]);
        let shown: Vec<_> = tools.iter().map(|t| (t.name.as_str(), t.input_schema.get())).collect();
        assert_eq!(
            shown,
            [
                ("s__a", r#"{"properties":{"x":{"type":"number"}},"required":["x"],"type":"object"}"#),
                ("s__b", r#"{"properties":{},"type":"object"}"#),
                ("s__c", r#"{"properties":{"x":true},"type":"object"}"#),
            ]
        );
        assert_eq!(left_out.len(), 7);
        let many = (0..200).map(|n| tool(&format!("s__{n}"), json!({}), &[])).collect();
        assert_eq!(fitting(many).0.len(), MAX_TOOLS);
    }

    #[test]
    fn a_list_is_known_of_its_agent_only() {
        let (kept, agent) = (Kept::default(), AgentId::fresh());
        assert!(kept.of(agent).is_none());
        *kept.lock() = Some((agent, List::default()));
        assert!(kept.of(agent).is_some() && kept.of(AgentId::fresh()).is_none());
    }
}
