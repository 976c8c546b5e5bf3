//! The tools that the chat's workspace offers, in the turns that have them: normal ones, of root chats and their
//! children (agent-loop.md §6).

use super::Work;
use crate::{
    chat::message::ToolCallPart,
    store::records::ChatRecord,
    tools::{
        Tool,
        registry::{Lookup, Registry},
        workspace_mcp::WorkspaceMcp,
    },
    workspace::{
        connection::AtHand,
        mcp_tools::{List, is_served},
    },
};
use std::sync::Arc;

/// Before the model is asked: those that there are. `found`: the agent that this pass has looked for already.
pub(super) async fn offer(work: &Work, chat: &ChatRecord, registry: &mut Registry, found: Option<AtHand>) {
    if chat.plan_mode.is_none() {
        add(work, registry, &work.session.mcp.list(chat, found).await);
    }
}

/// Before calls are run: nobody is asked for a list then. When none is known, as after a takeover, a called name that only
/// the workspace can have is a tool of it: the agent knows whether there is one, and whether the call was begun before.
pub(super) fn called(work: &Work, chat: &ChatRecord, registry: &mut Registry, calls: &[ToolCallPart]) {
    if chat.plan_mode.is_some() || chat.workspace_id.is_none() {
        return;
    }
    if let Some(list) = work.session.mcp.known(chat) {
        add(work, registry, &list);
        return;
    }
    for call in calls {
        let name = call.tool_name.as_str();
        if is_served(name) && matches!(registry.lookup(name), Lookup::Unknown) {
            registry.add_served(vec![Arc::new(WorkspaceMcp::unlisted(name))]);
        }
    }
}

fn add(work: &Work, registry: &mut Registry, list: &List) {
    let tools = list.iter().map(|served| Arc::new(WorkspaceMcp::new(Arc::clone(served))) as Arc<dyn Tool>);
    for lost in registry.add_served(tools.collect()) {
        tracing::warn!(chat = %work.chat, tool = lost, "a tool of the workspace has the name of another one and is hidden by it");
    }
}
