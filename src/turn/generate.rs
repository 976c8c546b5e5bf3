//! One model call: its parts go to a sink while it runs, its step comes back.

use super::{
    accumulate::{Accumulator, Step, StepConfig, Unusable},
    engine::{self, ModelChoice, config_failure},
    history::{Entry, History},
    prompt::{Chain, Options, Prompt, PromptFile, assemble, chain, exceeded, select},
};
use crate::{
    chat::message::{Part, Role},
    clock::Clock,
    ids::FileId,
    llm::{
        self,
        classify::{RawFailure, classify},
        failure::Failure,
        providers::display_name,
        request::{Request, ToolSpec},
        tap::Tap,
    },
    metrics,
    store::records::ChatRecord,
};
use bytesize::ByteSize;
use futures_util::StreamExt;
use std::{collections::HashMap, time::Duration};

/// Most events of one batch: what a model says in a burst is handed on together, but not so much of it that
/// other chats of the thread wait.
const BATCH: usize = 64;

/// How much of what the provider gave before a request builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// It goes on from the answer that the provider keeps, where it can.
    Kept,
    /// It shows the provider what that signed and sealed.
    Signed,
    /// It tells everything anew, in plain words.
    Nothing,
}

impl Recall {
    /// How much is left when the provider did not know again what this request built on, as with a key of another account;
    /// `None` when that was nothing.
    #[must_use]
    pub fn less(self, refused: &Request) -> Option<Self> {
        match self {
            Self::Nothing => None,
            Self::Kept if refused.previous_response_id.is_some() => Some(Self::Signed),
            Self::Kept | Self::Signed => Some(Self::Nothing),
        }
    }
}

/// Builds the prompt of a history for a model.
#[must_use]
pub fn prompt(
    history: &History<'_>,
    choice: &ModelChoice,
    files: &HashMap<FileId, PromptFile>,
    recall: Recall,
) -> Prompt {
    let options = options(choice, files);
    let native_for = options.native_for.filter(|_| recall != Recall::Nothing);
    assemble(&select(history), &Options { native_for, ..options })
}

/// The prompt of a call that goes on from the answer the provider keeps, and that answer's id; `None` where
/// all of it has to be sent.
#[must_use]
pub fn chained_prompt(
    history: &History<'_>,
    choice: &ModelChoice,
    files: &HashMap<FileId, PromptFile>,
) -> Option<(Prompt, String)> {
    let endpoint = choice.endpoint.as_ref().ok()?;
    if !endpoint.keeps_answers(&choice.defaults) {
        return None;
    }
    let selection = select(history);
    let Chain { response_id, selection } = chain(&selection, choice.id)?;
    Some((assemble(&selection, &options(choice, files)), response_id.to_owned()))
}

fn options<'a>(choice: &'a ModelChoice, files: &'a HashMap<FileId, PromptFile>) -> Options<'a> {
    let native_for = choice.endpoint.as_ref().ok().map(|e| (e.format, choice.defaults.model.as_str()));
    let strangers = &choice.strangers;
    Options { files, takes_text_files: false, max_image_bytes: choice.image_cap, native_for, strangers }
}

/// The uploaded files that the prompt of a history needs, each once.
#[must_use]
pub fn files(history: &History<'_>) -> Vec<FileId> {
    let mut ids = Vec::new();
    let rows = select(history).conversation;
    for part in rows.iter().filter(|entry| entry.row.role == Role::User).flat_map(|entry| entry.parts()) {
        if let Part::File { file_id: Some(id), .. } = part
            && !ids.contains(id)
        {
            ids.push(*id);
        }
    }
    ids
}

/// Refuses a message with an uploaded image that the provider does not take inline: the answer would be about a picture
/// that the model has not seen (agent-loop.md §5.2). In older messages a note stands for it, or one image would end every
/// turn that follows.
///
/// # Errors
/// The end of the turn, with the name of the provider and its limit.
pub fn take_images(
    choice: &ModelChoice,
    history: &History<'_>,
    files: &HashMap<FileId, PromptFile>,
) -> Result<(), Failure> {
    // Context of the workspace stands in a user's place as well.
    let is_said = |part: &Part| matches!(part, Part::Text { .. } | Part::File { .. });
    let is_message = |entry: &&Entry<'_>| entry.row.role == Role::User && entry.parts().iter().any(is_said);
    let newest = select(history).conversation.into_iter().rev().find(is_message);
    let parts = newest.map(Entry::parts).unwrap_or_default();
    let mut sent = parts.iter().filter_map(|part| match part {
        Part::File { file_id: Some(id), .. } => files.get(id),
        _ => None,
    });
    let cap = |file: &PromptFile| exceeded(choice.image_cap, &file.media_type, file.size);
    let Some((file, cap)) = sent.find_map(|file| Some((file, cap(file)?))) else { return Ok(()) };
    let provider = display_name(&choice.provider_type);
    let message = format!(
        "{provider} takes images below {} only, and {} has {}. Edit the message to send a smaller one, or pick \
         a model of another provider.",
        ByteSize(cap as u64).display().iec(),
        file.name.as_deref().unwrap_or("an image of this message"),
        ByteSize(file.size as u64).display().iec(),
    );
    Err(Failure { provider: choice.provider_type.clone(), ..config_failure(message) })
}

/// The request for a prompt.
#[must_use]
pub fn request(choice: &ModelChoice, prompt: Prompt, tools: &[ToolSpec], effort: Option<&str>) -> Request {
    let mut request = choice.defaults.clone();
    request.system = prompt.system;
    request.messages = prompt.messages;
    request.tools = tools.to_vec();
    if let Some(effort) = effort {
        request.reasoning_effort = Some(effort.to_owned());
    }
    request
}

/// Headers that tell the provider for whom it works (workspace-and-providers.md §6.6).
#[must_use]
pub fn identity(chat: &ChatRecord) -> Vec<(&'static str, String)> {
    let own = chat.head.id.to_string();
    let mut headers = vec![("x-chatd-owner-id", chat.owner_id.to_string())];
    match chat.parent_chat_id {
        Some(parent) => {
            headers.push(("x-chatd-chat-id", parent.to_string()));
            headers.push(("x-chatd-subchat-id", own));
        }
        None => headers.push(("x-chatd-chat-id", own)),
    }
    if let Some(workspace) = chat.workspace_id {
        headers.push(("x-chatd-workspace-id", workspace.to_string()));
    }
    headers
}

/// Asks the model and publishes what it says, in batches of what was there to be read at once. Dropping the future closes the provider's socket.
///
/// # Errors
/// The classified failure; nothing of the answer counts then.
pub async fn call(
    choice: &ModelChoice,
    request: &Request,
    clock: &Clock,
    tap: Option<Tap>,
    publish: impl FnMut(Vec<(Role, Part)>),
) -> Result<Step, Failure> {
    let labels = [("provider", choice.provider_type.clone()), ("model", choice.defaults.model.clone())];
    ::metrics::histogram!(metrics::MESSAGE_COUNT, &labels)
        .record(u32::try_from(request.messages.len()).unwrap_or(u32::MAX));
    let first = |waited: Duration| {
        ::metrics::histogram!(metrics::TTFT_SECONDS, &labels).record(waited.as_secs_f64());
    };
    let step = ask(choice, request, clock, tap, first, publish).await?;
    ::metrics::counter!(metrics::STEPS_TOTAL, &labels).increment(1);
    Ok(step)
}

/// Asks the model something that is no step of a turn (a title): nobody watches, and the figures of
/// steps do not count it. Dropping the future closes the provider's socket.
///
/// # Errors
/// The classified failure.
pub async fn side_call(
    choice: &ModelChoice,
    request: &Request,
    clock: &Clock,
    tap: Option<Tap>,
) -> Result<Step, Failure> {
    ask(choice, request, clock, tap, |_| {}, |_| {}).await
}

async fn ask(
    choice: &ModelChoice,
    request: &Request,
    clock: &Clock,
    tap: Option<Tap>,
    first_event: impl FnOnce(Duration),
    mut publish: impl FnMut(Vec<(Role, Part)>),
) -> Result<Step, Failure> {
    let endpoint = choice.endpoint.as_ref().map_err(Clone::clone)?;
    let client = engine::client().map_err(|e| fail(choice, format!("HTTP client: {e}")))?;
    let started = clock.now();
    let config = StepConfig {
        model_config_id: Some(choice.id),
        context_limit: choice.context_limit,
        prices: choice.prices,
        mcp_servers: HashMap::new(),
    };
    let mut fold = Accumulator::new(config, started);
    let mut events = llm::stream_tapped(&client, endpoint, request, tap).ready_chunks(BATCH);
    let mut first_event = Some(first_event);
    while let Some(batch) = events.next().await {
        let now = clock.now();
        let mut parts = Vec::with_capacity(batch.len());
        let taken = batch.into_iter().try_for_each(|event| {
            let event = event?;
            if let Some(first_event) = first_event.take() {
                first_event(now.since(started));
            }
            match fold.on(event, now) {
                Ok(part) => parts.extend(part),
                Err(e @ (Unusable::TooLarge | Unusable::Cut)) => return Err(fail(choice, e.to_string())),
            }
            Ok(())
        });
        // What came before a failure was said.
        if !parts.is_empty() {
            publish(parts);
        }
        taken?;
    }
    fold.finish(clock.now()).map_err(|_| classify(&choice.provider_type, RawFailure::Incomplete))
}

fn fail(choice: &ModelChoice, message: String) -> Failure {
    classify(&choice.provider_type, RawFailure::Unusable(message))
}
