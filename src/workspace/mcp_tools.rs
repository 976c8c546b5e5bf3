//! The tools that tool servers of a chat's workspace offer (workspace-and-providers.md §5): asked for before the model is,
//! kept for the chat as long as its agent is the same, and never waited for longer than a turn can bear. Whatever goes
//! wrong, the turn goes on without them.

use super::{
    connection::{AtHand, Connection, NoConnection},
    in_vain::InVain,
    remote::{CallError, Remote},
    sanitize::{is_invisible, sanitize},
    wire::McpTool,
};
use crate::{
    chat::json::Json,
    ids::{AgentId, ChatId},
    store::records::ChatRecord,
};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
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
/// How long a list in which a server is missing is taken as it is. A little longer than an agent leaves a server alone that
/// has failed.
const INCOMPLETE_FOR: Duration = Duration::from_secs(35);
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
pub struct Kept(Arc<Mutex<Option<Known>>>);

#[derive(Debug)]
struct Known {
    agent: AgentId,
    /// Which state of the agent's tools it is.
    version: u64,
    list: List,
    /// A server was missing: when to ask once more.
    again: Option<Instant>,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The list of an agent, unless that has told of another state since; `told`: 0 when nothing was heard.
    fn of(&self, agent: AgentId, told: u64) -> Option<List> {
        let right = |known: &&Known| known.agent == agent && (told == 0 || told == known.version);
        self.lock().as_ref().filter(right).map(|known| known.list.clone())
    }

    /// Whether this list is to be asked for once more.
    fn is_due(&self, agent: AgentId) -> bool {
        let due = |known: &Known| known.agent == agent && known.again.is_some_and(|at| at <= Instant::now());
        self.lock().as_ref().is_some_and(due)
    }

    fn keep(&self, agent: AgentId, version: u64, list: List, incomplete: bool) {
        let again = incomplete.then(|| Instant::now() + INCOMPLETE_FOR);
        *self.lock() = Some(Known { agent, version, list, again });
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
    /// Asks while nobody waits for it.
    beside: Mutex<Option<Beside>>,
}

#[derive(Debug)]
struct Asks {
    chat: ChatId,
    connection: Arc<Connection>,
    kept: Kept,
    /// Held while somebody lists, so that whoever else asks meanwhile gets the same answer.
    listing: tokio::sync::Mutex<()>,
    /// Who took long and brought nothing, and when that was.
    in_vain: InVain<(AgentId, Instant)>,
}

/// A task that ends with whoever has started it.
#[derive(Debug)]
struct Beside(AbortHandle);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl McpTools {
    /// Of a chat; `kept` outlives the runner.
    #[must_use]
    pub fn of(chat: ChatId, connection: Arc<Connection>, kept: Kept) -> Self {
        let (listing, in_vain) = (tokio::sync::Mutex::default(), InVain::default());
        Self { asks: Arc::new(Asks { chat, connection, kept, listing, in_vain }), beside: Mutex::default() }
    }

    /// The list that is known of the chat's agent. Nobody is asked.
    #[must_use]
    pub fn known(&self, chat: &ChatRecord) -> Option<List> {
        chat.workspace_id.and(chat.agent_id).and_then(|agent| self.asks.known(agent))
    }

    /// The list of the chat's agent; empty when the workspace has no tools, or they cannot be had now. Only an agent
    /// that is there is asked, and for at most [`LIST_WITHIN`]. `found`: the agent that the caller has looked for already. A
    /// list in which a server was missing is asked for once more after a while, and nobody waits for that.
    pub async fn list(&self, chat: &ChatRecord, found: Option<AtHand>) -> List {
        if let Some(list) = self.known(chat) {
            if chat.agent_id.is_some_and(|agent| self.asks.kept.is_due(agent)) {
                self.complete();
            }
            return list;
        }
        self.forget();
        if chat.workspace_id.is_none() {
            return List::default();
        }
        self.asks.list(chat, found, LIST_WITHIN).await
    }

    /// Forgets the list: it is not right any more.
    pub fn forget(&self) {
        *self.asks.kept.lock() = None;
    }

    /// Asks in the background, until there are tools: the workspace has just become ready, and its servers may still
    /// be starting when the model is asked next. It ends with the runner at the latest.
    pub fn prime(&self) {
        self.asks.in_vain.forget();
        let asks = Arc::clone(&self.asks);
        let task = tokio::spawn(async move {
            // Whether it found any is seen when somebody asks.
            drop(timeout(PRIME.0, asks.until_there_are_some()).await);
        });
        *self.beside() = Some(Beside(task.abort_handle()));
    }

    /// Asks in the background for what is missing.
    fn complete(&self) {
        let mut beside = self.beside();
        if beside.as_ref().is_some_and(|task| !task.0.is_finished()) {
            return;
        }
        let asks = Arc::clone(&self.asks);
        let task = tokio::spawn(async move { asks.complete().await });
        *beside = Some(Beside(task.abort_handle()));
    }

    fn beside(&self) -> MutexGuard<'_, Option<Beside>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asks {
    fn known(&self, agent: AgentId) -> Option<List> {
        self.kept.of(agent, self.connection.tools_version())
    }

    fn is_left_alone(&self, agent: AgentId) -> bool {
        self.in_vain.last().is_some_and(|(who, at)| who == agent && at.elapsed() < LEFT_ALONE)
    }

    async fn until_there_are_some(&self) {
        loop {
            match self.connection.dialer().store.chat(self.chat).await {
                Ok(chat) if !self.list(&chat, None, PRIME.0).await.is_empty() => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(chat = %self.chat, %error, "a chat cannot be read for the tools of its workspace");
                }
            }
            sleep(PRIME.1).await;
        }
    }

    async fn complete(&self) {
        let chat = match self.connection.dialer().store.chat(self.chat).await {
            Ok(chat) => chat,
            Err(error) => {
                tracing::warn!(chat = %self.chat, %error, "a chat cannot be read for the tools of its workspace");
                return;
            }
        };
        let Ok(Some((agent, remote))) = self.connection.at_hand(&chat).await else { return };
        let _alone = self.listing.lock().await;
        if !self.kept.is_due(agent) {
            return;
        }
        if let Ok(Err(error)) = timeout(LIST_WITHIN, self.fetch(agent, &remote)).await {
            tracing::info!(chat = %self.chat, %agent, %error, "the tools of a workspace are those that were known");
        }
    }

    async fn list(&self, chat: &ChatRecord, found: Option<AtHand>, limit: Duration) -> List {
        let found = match found {
            Some(found) => Ok(found),
            None => self.connection.at_hand(chat).await,
        };
        let (agent, remote) = match found {
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
            self.in_vain.remember((agent, Instant::now()));
        }
        List::default()
    }

    async fn ask(&self, agent: AgentId, remote: &Remote) -> Result<List, CallError> {
        let _alone = self.listing.lock().await;
        match self.known(agent) {
            Some(list) => Ok(list),
            None => self.fetch(agent, remote).await,
        }
    }

    /// Asks the agent, and keeps what there is.
    async fn fetch(&self, agent: AgentId, remote: &Remote) -> Result<List, CallError> {
        let (said, version) = remote.mcp_tools().await?;
        let (tools, left_out) = fitting(said.tools);
        if let Some(first) = left_out.first() {
            tracing::warn!(chat = %self.chat, %agent, left_out = left_out.len(), first,
                "tools of a workspace are left out: their definitions are too large, too many or none that a model is shown");
        }
        let list: List = tools.into();
        if !list.is_empty() {
            self.kept.keep(agent, version, list.clone(), said.incomplete);
        }
        Ok(list)
    }
}

/// A schema without what no person sees when looking at it.
fn visible(schema: Value) -> Value {
    let seen = |text: String| match text.contains(is_invisible) {
        true => text.chars().filter(|c| !is_invisible(*c)).collect(),
        false => text,
    };
    match schema {
        Value::String(text) => Value::String(seen(text)),
        Value::Array(items) => items.into_iter().map(visible).collect(),
        Value::Object(object) => {
            Value::Object(object.into_iter().map(|(name, value)| (seen(name), visible(value))).collect())
        }
        other => other,
    }
}

/// What of a list can be shown to every model, and the names of the others: one definition that a provider refuses would
/// fail every prompt of the chat. What its server says of it is cleaned as files of instructions are.
fn fitting(listed: Vec<McpTool>) -> (Vec<Arc<Served>>, Vec<String>) {
    let (mut tools, mut left_out, mut bytes, mut names) = (Vec::new(), Vec::new(), 0, HashSet::new());
    for (place, tool) in in_turns(listed) {
        let plain =
            tool.schema.values().all(|property| matches!(property, Value::Object(_) | Value::Bool(_)));
        let mut schema = json!({ "type": "object", "properties": visible(Value::Object(tool.schema)) });
        let required: Vec<String> =
            tool.required.into_iter().filter(|name| schema["properties"].get(name).is_some()).collect();
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        let input_schema = Json::of(&schema);
        let description = sanitize(&tool.description);
        let size = tool.name.len() + description.len() + input_schema.get().len();
        let fits = tools.len() < MAX_TOOLS && bytes + size <= MAX_BYTES;
        if !fits || !plain || !is_served(&tool.name) || !names.insert(tool.name.clone()) {
            // As text for a log only.
            left_out.push(super::text::prefix(&tool.name, MAX_NAME).to_owned());
            continue;
        }
        bytes += size;
        tools.push((place, Arc::new(Served { name: tool.name, description, input_schema })));
    }
    tools.sort_unstable_by_key(|(place, _)| *place);
    (tools.into_iter().map(|(_, tool)| tool).collect(), left_out)
}

/// The first tool of each server, then the second of each, and so on, with their places in the list: a server that lists
/// thousands takes none of the others' room.
fn in_turns(listed: Vec<McpTool>) -> Vec<(usize, McpTool)> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut turns: Vec<(usize, usize, McpTool)> = Vec::with_capacity(listed.len());
    for (place, tool) in listed.into_iter().enumerate() {
        let count = counts.entry(tool.server_name.clone()).or_default();
        turns.push((*count, place, tool));
        *count += 1;
    }
    turns.sort_by_key(|(turn, place, _)| (*turn, *place));
    turns.into_iter().map(|(_, place, tool)| (place, tool)).collect()
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
    fn a_server_with_many_tools_leaves_room_for_the_others() {
        let many = (0..500).map(|n| tool(&format!("s__{n}"), json!({}), &[]));
        let other = |name: &str| McpTool { server_name: "z".into(), ..tool(name, json!({}), &[]) };
        let (tools, left_out) = fitting(many.chain([other("z__a"), other("z__b")]).collect());
        assert_eq!((tools.len(), left_out.len()), (MAX_TOOLS, 502 - MAX_TOOLS));
        let names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(
            (names[0], names[1], &names[MAX_TOOLS - 2..]),
            ("s__0", "s__1", ["z__a", "z__b"].as_slice())
        );
    }

    #[test]
    fn what_nobody_sees_is_not_shown_to_the_model() {
        let hidden = McpTool {
            description: "Adds.\u{200b} <!-- obey -->\u{e0041}\r\nTwo numbers. ".into(),
            ..tool(
                "s__add",
                json!({"a\u{200d}": {"description": "o\u{feff}ne", "enum": ["\u{202e}x", 1]}}),
                &["a"],
            )
        };
        let (tools, _) = fitting(vec![hidden]);
        assert_eq!(tools[0].description, "Adds. \nTwo numbers.");
        assert_eq!(
            tools[0].input_schema.get(),
            r#"{"properties":{"a":{"description":"one","enum":["x",1]}},"required":["a"],"type":"object"}"#
        );
    }

    #[test]
    fn a_list_is_known_of_its_agent_only() {
        let (kept, agent) = (Kept::default(), AgentId::fresh());
        assert!(kept.of(agent, 0).is_none());
        kept.keep(agent, 7, List::default(), false);
        assert!(kept.of(agent, 0).is_some() && kept.of(AgentId::fresh(), 0).is_none());
        assert!(kept.of(agent, 7).is_some() && kept.of(agent, 8).is_none());
    }

    #[test]
    fn a_list_without_a_server_is_due_after_a_while() {
        let (kept, agent) = (Kept::default(), AgentId::fresh());
        kept.keep(agent, 7, List::default(), true);
        assert!(!kept.is_due(agent) && kept.of(agent, 7).is_some());
        *kept.lock() = Some(Known { agent, version: 7, list: List::default(), again: Some(Instant::now()) });
        assert!(kept.is_due(agent) && !kept.is_due(AgentId::fresh()));
        kept.keep(agent, 7, List::default(), false);
        assert!(!kept.is_due(agent));
    }
}
