//! Names, buckets and help texts of every metric, in one place (agent-loop.md §25, prefix `chatd_`).

use ::metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

macro_rules! names {
    ($($(#[doc = $help:literal])+ $kind:ident $name:ident = $text:literal;)*) => {
        $( $(#[doc = $help])+ pub const $name: &str = $text; )*

        fn describe() {
            $( names!(@ $kind, $name, concat!($($help),+)); )*
        }
    };
    (@ counter, $name:ident, $help:expr) => { describe_counter!($name, $help.trim()) };
    (@ gauge, $name:ident, $help:expr) => { describe_gauge!($name, $help.trim()) };
    (@ histogram, $name:ident, $help:expr) => { describe_histogram!($name, $help.trim()) };
}

names! {
    /// Chats by state: `streaming` = driven by this replica.
    gauge CHATS = "chatd_chats";
    /// Messages in a prompt.
    histogram MESSAGE_COUNT = "chatd_message_count";
    /// Size of a prompt in bytes.
    histogram PROMPT_SIZE_BYTES = "chatd_prompt_size_bytes";
    /// Size of a tool result in bytes.
    histogram TOOL_RESULT_SIZE_BYTES = "chatd_tool_result_size_bytes";
    /// Tool results that were errors.
    counter TOOL_ERRORS_TOTAL = "chatd_tool_errors_total";
    /// Tool calls that a crash cut off, so that nobody knows what they did.
    counter TOOL_CALLS_UNKNOWN_TOTAL = "chatd_tool_calls_unknown_total";
    /// Tool results that were cut to the budget.
    counter TOOL_RESULT_TRUNCATED_TOTAL = "chatd_tool_result_truncated_total";
    /// Time from the request to the first part of a model stream.
    histogram TTFT_SECONDS = "chatd_ttft_seconds";
    /// Compactions by result.
    counter COMPACTION_TOTAL = "chatd_compaction_total";
    /// Model steps completed.
    counter STEPS_TOTAL = "chatd_steps_total";
    /// Retries of model calls by kind of failure.
    counter STREAM_RETRIES_TOTAL = "chatd_stream_retries_total";
    /// Stream states: in flight plus retained.
    gauge STREAMS_ACTIVE = "chatd_streams_active";
    /// Parts in the largest episode buffer.
    gauge STREAM_BUFFER_SIZE_MAX = "chatd_stream_buffer_size_max";
    /// Parts in all episode buffers.
    gauge STREAM_BUFFER_EVENTS = "chatd_stream_buffer_events";
    /// Serialised bytes in all episode buffers.
    gauge STREAM_BUFFER_BYTES = "chatd_stream_buffer_bytes";
    /// Subscribers of all chats.
    gauge STREAM_SUBSCRIBERS = "chatd_stream_subscribers";
    /// Parts that did not fit into an episode buffer.
    counter STREAM_BUFFER_DROPPED_TOTAL = "chatd_stream_buffer_dropped_total";
    /// Slow subscribers that were brought up to date again from the database.
    counter STREAM_RESYNCS_TOTAL = "chatd_stream_resyncs_total";
    /// Slow subscribers that were disconnected because their socket did not drain.
    counter STREAM_SLOW_CLOSED_TOTAL = "chatd_stream_slow_closed_total";
    /// Connections on which other replicas follow chats that are driven here.
    gauge RELAY_CONNECTIONS = "chatd_relay_connections";
    /// Chats driven elsewhere that are followed from here.
    gauge RELAYS = "chatd_relays";
    /// Times a relay to the owner of a chat was lost or could not be opened.
    counter RELAY_FAILURES_TOTAL = "chatd_relay_failures_total";
    /// Chats claimed by this replica.
    counter CLAIMS_TOTAL = "chatd_claims_total";
    /// Claimed chats whose former owner had died.
    counter TAKEOVERS_TOTAL = "chatd_takeovers_total";
    /// Chats owned by this replica.
    gauge OWNED_CHATS = "chatd_owned_chats";
    /// Panics in the work of one chat.
    counter TASK_PANICS_TOTAL = "chatd_task_panics_total";
    /// Commits that were refused because the chat had moved on.
    counter STALE_COMMITS_TOTAL = "chatd_stale_commits_total";
    /// Jobs of one SQLite commit.
    histogram COMMIT_GROUP_SIZE = "chatd_commit_group_size";
    /// Time from handing a write to the store to its durable answer.
    histogram COMMIT_SECONDS = "chatd_commit_seconds";
    /// Statements sent to the database, transaction control not counted.
    counter STORE_STATEMENTS_TOTAL = "chatd_store_statements_total";
    /// Time of a state transition by command and outcome.
    histogram TRANSITION_DURATION_SECONDS = "chatd_transition_duration_seconds";
    /// Chats that were archived because nothing happened in them, children included.
    counter CHAT_AUTO_ARCHIVE_RECORDS_ARCHIVED_TOTAL = "chatd_chat_auto_archive_records_archived_total";
    /// Chats that were deleted some time after they had been archived, children included.
    counter CHAT_RETENTION_RECORDS_DELETED_TOTAL = "chatd_chat_retention_records_deleted_total";
    /// Hints to other replicas that were dropped because the channel was full.
    counter NOTICES_DROPPED = "chatd_notices_dropped_total";
    /// Debug records that were not written: too many waited, or the database refused.
    counter DEBUG_DROPPED_TOTAL = "chatd_debug_dropped_total";
    /// HTTP requests by method, route and status.
    counter HTTP_REQUESTS_TOTAL = "chatd_http_requests_total";
    /// Time of HTTP requests by route.
    histogram HTTP_REQUEST_SECONDS = "chatd_http_request_seconds";
    /// Time of requests to agents of workspaces, from asking to the whole answer, by what was asked.
    histogram AGENT_REQUEST_SECONDS = "chatd_agent_request_seconds";
    /// 1 with the version as a label.
    gauge BUILD_INFO = "chatd_build_info";
}

/// All of them, in the text format of Prometheus. The exporter adds no `_count` to a name that ends like that, so the number
/// of observations of [`MESSAGE_COUNT`] would stand under the name of the histogram itself, where nobody looks for it.
#[must_use]
pub fn render(recorder: &PrometheusHandle) -> String {
    let mut text = String::new();
    for line in recorder.render().split_inclusive('\n') {
        match line.strip_prefix(MESSAGE_COUNT) {
            Some(rest) if rest.starts_with(['{', ' ']) => {
                text.extend([MESSAGE_COUNT, "_count", rest]);
            }
            _ => text.push_str(line),
        }
    }
    text
}

fn doubling(first: f64, factor: f64, count: i32) -> Vec<f64> {
    (0..count).map(|i| first * factor.powi(i)).collect()
}

/// Installs the process-wide recorder once and answers its handle; later calls answer the same one.
///
/// # Errors
/// When another recorder was installed by somebody else.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(h) = HANDLE.get() {
        return Ok(h.clone());
    }
    let full = |name: &str| Matcher::Full(name.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(full(MESSAGE_COUNT), &doubling(1.0, 2.0, 11))?
        .set_buckets_for_metric(full(PROMPT_SIZE_BYTES), &doubling(1024.0, 4.0, 10))?
        .set_buckets_for_metric(full(TOOL_RESULT_SIZE_BYTES), &doubling(64.0, 4.0, 9))?
        .set_buckets_for_metric(full(TTFT_SECONDS), &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])?
        .set_buckets_for_metric(full(COMMIT_GROUP_SIZE), &doubling(1.0, 2.0, 8))?
        .set_buckets_for_metric(full(COMMIT_SECONDS), &doubling(0.0005, 2.0, 15))?
        .set_buckets_for_metric(full(TRANSITION_DURATION_SECONDS), &doubling(0.0005, 2.0, 15))?
        .set_buckets_for_metric(full(HTTP_REQUEST_SECONDS), &doubling(0.0005, 2.0, 15))?
        .set_buckets_for_metric(full(AGENT_REQUEST_SECONDS), &doubling(0.00025, 2.0, 19))?
        .install_recorder()?;
    describe();
    ::metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(HANDLE.get_or_init(|| handle).clone())
}
