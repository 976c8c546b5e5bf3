//! The task that cleans what was recorded and writes it. One record after the other, so that the end of a
//! step never comes before its begin.

use super::{Attempt, Begin, End, Record, dropped};
use crate::{
    chat::json::Json,
    clock::Timestamp,
    llm::{
        redact,
        request::{AssistantContent, PromptMessage, Request, UserContent},
    },
    store::{
        self, Store,
        records::debug::{DebugRun, DebugStep, RunStatus, StepEnd},
    },
    turn::accumulate::Step,
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};

/// Longest time for one write (agent-loop.md §21).
const WRITE: Duration = Duration::from_secs(5);
/// Tries of a clean-up after an edit, and the time between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// Longest text that a normalised request keeps of one part.
const MAX_TEXT: usize = 64 * 1024;

pub(super) async fn run(
    store: Store,
    mut records: mpsc::Receiver<(Record, usize)>,
    waiting: Arc<AtomicUsize>,
) {
    while let Some((record, bytes)) = records.recv().await {
        let tries = if matches!(record, Record::Edited { .. }) { TRIES } else { 1 };
        let result = write(&store, record, tries).await;
        waiting.fetch_sub(bytes, Ordering::Relaxed);
        if let Err(why) = result {
            dropped();
            tracing::warn!(error = why, "a debug record was not written");
        }
    }
}

async fn write(store: &Store, record: Record, tries: u32) -> Result<(), String> {
    let within =
        async |work: &mut (dyn Future<Output = store::Result<()>> + Send + Unpin)| match timeout(WRITE, work)
            .await
        {
            Ok(done) => done.map_err(|e| e.to_string()),
            Err(_) => Err("the database took too long".to_owned()),
        };
    match record {
        Record::Begin(begin) => {
            let (run, step) = rows(*begin);
            within(&mut Box::pin(store.begin_debug_step(run, step))).await
        }
        Record::End(end) => within(&mut Box::pin(store.end_debug_step(step_end(*end)))).await,
        Record::Runs { chat, kinds, status, at } => {
            within(&mut Box::pin(store.end_debug_runs(chat, kinds, status, at))).await
        }
        Record::Flush(done) => {
            // Nobody waits any more: that is fine as well.
            let _ = done.send(());
            Ok(())
        }
        Record::Edited { chat, message, before } => {
            let mut result = Ok(());
            for at in 0..tries {
                if at > 0 {
                    tokio::time::sleep(PAUSE).await;
                }
                let work = async { store.forget_debug_runs(chat, message, before).await.map(drop) };
                result = within(&mut Box::pin(work)).await;
                if result.is_ok() {
                    break;
                }
            }
            result
        }
    }
}

fn rows(begin: Begin) -> (DebugRun, DebugStep) {
    let run_id = crate::ids::fresh_uuid();
    let run = DebugRun {
        id: run_id,
        chat_id: begin.subject.chat,
        root_chat_id: Some(begin.subject.root),
        parent_chat_id: begin.subject.parent,
        model_config_id: Some(begin.model_config_id),
        trigger_message_id: begin.subject.trigger,
        history_tip_message_id: begin.subject.tip,
        kind: begin.kind,
        status: RunStatus::InProgress,
        provider: Some(begin.provider),
        model: Some(begin.request.model.clone()),
        summary: Json::of(&json!({ "label": begin.subject.label })),
        started_at: begin.at,
        updated_at: begin.at,
        finished_at: None,
    };
    let step = DebugStep {
        id: begin.step,
        run_id,
        chat_id: begin.subject.chat,
        step_number: 0,
        operation: "stream".into(),
        status: RunStatus::InProgress,
        history_tip_message_id: begin.subject.tip,
        assistant_message_id: None,
        normalized_request: Json::of(&normalized(&begin.request)),
        normalized_response: None,
        usage: None,
        attempts: Json::of(&json!([])),
        error: None,
        metadata: Json::of(&json!({})),
        started_at: begin.at,
        updated_at: begin.at,
        finished_at: None,
    };
    (run, step)
}

fn cut(text: &str) -> Value {
    if text.len() <= MAX_TEXT { text.into() } else { format!("[{} bytes]", text.len()).into() }
}

/// What was asked, in no vendor's words and without the bytes of files.
fn normalized(request: &Request) -> Value {
    let file =
        |kind: &str, data: &str| json!({ "type": "file", "media_type": kind, "bytes": data.len() / 4 * 3 });
    let messages: Vec<Value> = request
        .messages
        .iter()
        .map(|message| match message {
            PromptMessage::User(parts) => {
                let parts: Vec<Value> = parts
                    .iter()
                    .map(|part| match part {
                        UserContent::Text(text) => json!({ "type": "text", "text": cut(text) }),
                        UserContent::File { media_type, data, .. } => file(media_type, data),
                    })
                    .collect();
                json!({ "role": "user", "content": parts })
            }
            PromptMessage::Assistant { content, .. } => {
                let parts: Vec<Value> = content
                    .iter()
                    .map(|part| match part {
                        AssistantContent::Text(text) => json!({ "type": "text", "text": cut(text) }),
                        AssistantContent::Reasoning(text) => {
                            json!({ "type": "reasoning", "text": cut(text) })
                        }
                        AssistantContent::ToolCall { id, name, args } => {
                            json!({ "type": "tool-call", "tool_call_id": id, "tool_name": name,
                                "args": args.read::<Value>().unwrap_or_default() })
                        }
                    })
                    .collect();
                json!({ "role": "assistant", "content": parts })
            }
            PromptMessage::Tool(answers) => {
                let parts: Vec<Value> = answers
                    .iter()
                    .map(|answer| {
                        let output = redact::body(answer.output.as_bytes());
                        let output =
                            if answer.output.len() <= MAX_TEXT { output } else { cut(&answer.output) };
                        json!({ "type": "tool-result", "tool_call_id": answer.id, "tool_name": answer.name,
                            "is_error": answer.is_error, "result": output })
                    })
                    .collect();
                json!({ "role": "tool", "content": parts })
            }
        })
        .collect();
    let mut value = json!({
        "model": request.model,
        "system": request.system.iter().map(|text| cut(text)).collect::<Vec<_>>(),
        "messages": messages,
        "tools": request.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(),
        "max_output_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "reasoning_effort": request.reasoning_effort,
        "provider_options": request.provider_options,
    });
    redact::json(&mut value);
    value
}

fn step_end(end: End) -> StepEnd {
    let usage = end.answer.as_ref().map(|step| Json::of(&step.figures.usage));
    StepEnd {
        id: end.step,
        status: end.status,
        assistant_message_id: end.message,
        response: end.answer.as_ref().map(|step| Json::of(&answered(step))),
        usage,
        attempts: Json::of(&end.attempts.iter().map(|a| attempt(a, end.at)).collect::<Vec<_>>()),
        error: end.error.map(|error| Json::of(&error)),
        at: end.at,
    }
}

fn answered(step: &Step) -> Value {
    let content = step.message.as_ref().and_then(|m| m.content.read::<Value>().ok()).unwrap_or_default();
    let mut value = json!({
        "content": content,
        "finish_reason": format!("{:?}", step.reason).to_lowercase(),
        "response_id": step.figures.provider_response_id,
    });
    redact::json(&mut value);
    value
}

fn attempt(attempt: &Attempt, end: Timestamp) -> Value {
    let wire = attempt.tap.exchange();
    let finished = attempt.finished.unwrap_or(end);
    let ok = attempt.finished.is_some() && attempt.error.is_none();
    let response_body = match &wire.response_body {
        Some(text) => redact::body(text.as_bytes()),
        // A stream of events is no JSON.
        None if wire.response_status.is_some() => json!(format!("[{} bytes]", wire.response_bytes)),
        None => Value::Null,
    };
    let url = redact::url(&wire.url);
    let path = reqwest::Url::parse(&wire.url).map(|u| u.path().to_owned()).unwrap_or_default();
    json!({
        "number": attempt.number,
        "status": if ok { "completed" } else { "failed" },
        "method": "POST",
        "url": url,
        "path": path,
        "started_at": attempt.started,
        "finished_at": finished,
        "duration_ms": u64::try_from(finished.since(attempt.started).as_millis()).unwrap_or(u64::MAX),
        "request_headers": redact::headers(&wire.request_headers),
        "request_body": redact::body(&wire.request_body),
        "response_status": wire.response_status,
        "response_headers": redact::headers(&wire.response_headers),
        "response_body": response_body,
        "error": attempt.error,
    })
}
