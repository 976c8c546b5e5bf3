//! What an export holds: every table and column, written once, in an order in which rows can be inserted.
//! A test holds the list against the schema of both engines, so that a migration which adds a table or a
//! column is not forgotten here.

/// What a column holds: how it is read, written down and bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A UUID.
    Uid,
    /// Text without further meaning.
    Text,
    /// `boolean`; 0 or 1 on SQLite.
    Bool,
    /// `bigint`.
    Int,
    /// `integer`; SQLite makes no difference.
    Small,
    /// A time in microseconds.
    Moment,
    /// JSON whose bytes are kept.
    Json,
    /// Bytes.
    Binary,
}

/// A column of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// A table of an export.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Columns of its primary key, by which its rows are put in order.
    pub key: &'static [&'static str],
    /// What is exported of a row.
    pub columns: &'static [Column],
    /// Columns that say something of a running replica only; they are NULL in the target.
    pub left_out: &'static [&'static str],
    /// A column that refers to another row of the table, which has to come first.
    pub parent: Option<&'static str>,
    /// The rows that are exported, as a condition of both engines; all when there is none.
    pub only: Option<&'static str>,
    /// Where the numbers of new rows come from.
    pub numbers: Numbers,
}

/// Where the numbers of new rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Rows have none of their own.
    None,
    /// A row gets the number after the highest there is.
    Highest,
    /// No number is given a second time, even when its row is gone: the last one is exported too.
    Last,
}

impl Table {
    /// The table of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// Where a column stands in [`Table::columns`].
    #[must_use]
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }

    /// Its columns as a list in SQL, each after this prefix.
    #[must_use]
    pub fn list(&self, prefix: &str) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| format!("{prefix}\"{}\"", c.name)).collect();
        names.join(", ")
    }

    const fn plain(name: &'static str, key: &'static [&'static str], columns: &'static [Column]) -> Self {
        Self { name, key, columns, left_out: &[], parent: None, only: None, numbers: Numbers::None }
    }

    /// What a query answers that reads no rows of a table.
    pub(super) const fn asked(columns: &'static [Column]) -> Self {
        Self::plain("a query", &[], columns)
    }
}

/// `name (key) { column: Kind, … } with { field: value, … }`
macro_rules! tables {
    ($($name:ident ($($key:ident),*) { $($column:ident : $kind:ident),* $(,)? }
        $(with { $($field:ident : $value:expr),* $(,)? })?;)*) => {
        /// The tables in an order in which their rows can be inserted.
        pub const TABLES: &[Table] = &[$({
            #[allow(unused_mut, reason = "few tables are out of the ordinary")]
            let mut table = Table::plain(
                stringify!($name),
                &[$(stringify!($key)),*],
                &[$(Column { name: stringify!($column), kind: Kind::$kind }),*],
            );
            $($(table.$field = $value;)*)?
            table
        }),*];
    };
}

/// Tables of which nothing is exported.
pub const LEFT_OUT: &[&str] = &[
    // Leases of running chats: nobody drives a chat of the target yet. Without one a chat can be claimed at once, as
    // those of a replica that was killed.
    "chat_heartbeats",
    // Running processes, and where they answer.
    "replicas",
    // Title runs in progress; their process is not the target's.
    "title_locks",
    // The words of messages, in a form of each engine's own: made anew from the messages.
    "chat_search",
    // What the target was migrated with; the header tells the version.
    "__diesel_schema_migrations",
];

tables! {
    organizations (id) {
        id: Uid, name: Text, display_name: Text, is_default: Bool, created_at: Moment, updated_at: Moment,
        icon: Text, description: Text,
    };
    users (id) {
        id: Uid, username: Text, name: Text, email: Text, is_admin: Bool, status: Text, created_at: Moment,
        updated_at: Moment, role: Text, login_type: Text, password_hash: Text, avatar_url: Text,
        last_seen_at: Moment, deleted_at: Moment, login_email: Text,
    };
    organization_members (user_id, organization_id) {
        organization_id: Uid, user_id: Uid, created_at: Moment, agents_access: Bool,
    };
    api_tokens (id) {
        id: Text, user_id: Uid, hash: Binary, created_at: Moment, expires_at: Moment, kind: Text, name: Text,
        last_used_at: Moment, created_from: Text,
    };
    login_links (id) { id: Text, user_id: Uid, hash: Binary, created_at: Moment, expires_at: Moment };
    groups (id) {
        id: Uid, organization_id: Uid, name: Text, display_name: Text, avatar_url: Text, created_at: Moment,
        updated_at: Moment,
    };
    group_members (group_id, user_id) { group_id: Uid, user_id: Uid, created_at: Moment };
    // Replicas know each other by a secret; those of the target make their own.
    deployment (key) { key: Text, value: Text } with { only: Some("t.key <> 'replica_secret'") };
    deployment_settings (key) { key: Text, value: Json, updated_at: Moment };
    user_settings (user_id, key) { user_id: Uid, key: Text, value: Json };
    user_compaction_thresholds (user_id, model_config_id) {
        user_id: Uid, model_config_id: Uid, threshold_percent: Int,
    };
    ai_providers (id) {
        id: Uid, type: Text, name: Text, display_name: Text, icon: Text, enabled: Bool, base_url: Text,
        central_api_key_enabled: Bool, allow_user_api_key: Bool, allow_central_api_key_fallback: Bool,
        source: Text, deleted: Bool, created_at: Moment, updated_at: Moment,
    };
    ai_provider_keys (id) { id: Uid, provider_id: Uid, api_key: Binary, hint: Text, created_at: Moment };
    user_provider_keys (id) {
        id: Uid, user_id: Uid, provider_id: Uid, api_key: Binary, created_at: Moment, updated_at: Moment,
    };
    model_configs (id) {
        id: Uid, provider_id: Uid, name: Text, model: Text, display_name: Text, enabled: Bool, is_default: Bool,
        context_limit: Int, compression_threshold: Int, model_config: Json, source: Text, deleted: Bool,
        created_at: Moment, updated_at: Moment,
    };
    mcp_servers (id) {
        id: Uid, slug: Text, display_name: Text, description: Text, icon_url: Text, transport: Text, url: Text,
        auth_type: Text, oauth2_client_id: Text, oauth2_client_secret: Binary, oauth2_auth_url: Text,
        oauth2_token_url: Text, oauth2_scopes: Text, oauth2_discovered: Bool, api_key_header: Text,
        api_key_value: Binary, custom_headers: Binary, tool_allow_list: Json, tool_deny_list: Json,
        availability: Text, enabled: Bool, model_intent: Bool, allow_in_plan_mode: Bool,
        forward_coder_headers: Bool, source: Text, created_at: Moment, updated_at: Moment,
    };
    mcp_user_tokens (id) {
        id: Uid, server_id: Uid, user_id: Uid, access_token: Binary, refresh_token: Binary, token_type: Text,
        expires_at: Moment, created_at: Moment, updated_at: Moment,
    };
    user_skills (id) {
        id: Uid, user_id: Uid, name: Text, description: Text, content: Text, created_at: Moment, updated_at: Moment,
    };
    usage_limits (id) { id: Int, spend_limit_micros: Int, period: Text, updated_at: Moment };
    usage_limit_users (user_id) {
        user_id: Uid, spend_limit_micros: Int, created_at: Moment, updated_at: Moment,
    };
    usage_limit_groups (group_id) {
        group_id: Uid, spend_limit_micros: Int, created_at: Moment, updated_at: Moment,
    };
    usage_ledger (id) {
        id: Int, owner_id: Uid, organization_id: Uid, chat_id: Uid, root_chat_id: Uid, model_config_id: Uid,
        provider: Text, model: Text, kind: Text, input_tokens: Int, output_tokens: Int, total_tokens: Int,
        reasoning_tokens: Int, cache_creation_tokens: Int, cache_read_tokens: Int, cost_micros: Int,
        runtime_ms: Int, created_at: Moment,
    } with { numbers: Numbers::Last };
    usage_days (owner_id, day, organization_id) { owner_id: Uid, day: Int, organization_id: Uid, cost_micros: Int };
    templates (id) {
        id: Uid, name: Text, display_name: Text, description: Text, kind: Text, directory: Text,
        start_command: Text, stop_command: Text, status_command: Text, default_ttl_ms: Int,
        activity_bump_ms: Int, deprecated: Bool, source: Text, deleted: Bool, created_at: Moment,
        updated_at: Moment, parameters: Json, presets: Json,
    };
    workspaces (id) {
        id: Uid, name: Text, owner_id: Uid, organization_id: Uid, template_id: Uid, ttl_ms: Int, deadline: Moment,
        last_used_at: Moment, latest_build_id: Uid, created_at: Moment, updated_at: Moment, parameters: Json,
    };
    // A build that a replica runs under a lease: the target gives it a lease that is over, and its daemon ends it as
    // cut off.
    workspace_builds (id) {
        id: Uid, workspace_id: Uid, build_number: Int, transition: Text, status: Text, reason: Text,
        initiator_id: Uid, error: Text, created_at: Moment, started_at: Moment, finished_at: Moment,
    } with { left_out: &["worker_id", "lease_until"] };
    workspace_build_logs (build_id, seq) {
        build_id: Uid, seq: Int, created_at: Moment, source: Text, output: Text,
    };
    // The link of an agent is a socket of a replica. Whether an agent is there is told by the times, as after a kill.
    workspace_agents (id) {
        id: Uid, build_id: Uid, parent_id: Uid, name: Text, display_order: Int, token_hash: Binary, external: Bool,
        operating_system: Text, architecture: Text, version: Text, directory: Text,
        connection_timeout_seconds: Int, first_connected_at: Moment, last_connected_at: Moment,
        disconnected_at: Moment, created_at: Moment,
    } with { left_out: &["worker_id", "link_id"], parent: Some("parent_id") };
    // The owner of a chat is a replica's actor. A chat with work to do and without an owner is claimed by the target's
    // daemon; everything else of its state, the attempt and the retry included, is kept.
    chats (id) {
        id: Uid, organization_id: Uid, owner_id: Uid, parent_chat_id: Uid, root_chat_id: Uid, title: Text,
        status: Text, archived: Bool, last_error: Json, retry_state: Json, requires_action_deadline_at: Moment,
        compaction_requested_at: Moment, snapshot_version: Int, history_version: Int, queue_version: Int,
        retry_state_version: Int, generation_attempt: Int, last_model_config_id: Uid,
        last_reasoning_effort: Text, plan_mode: Text, client_type: Text, labels: Json, mcp_server_ids: Json,
        dynamic_tools: Json, last_turn_summary: Text, last_read_message_id: Int, pin_order: Int,
        created_at: Moment, updated_at: Moment, archived_at: Moment, workspace_id: Uid, build_id: Uid,
        agent_id: Uid, last_injected_context: Json,
    } with { left_out: &["worker_id", "runner_id"], parent: Some("parent_chat_id") };
    chat_messages (id) {
        id: Int, chat_id: Uid, revision: Int, deleted: Bool, role: Text, visibility: Text, content: Json,
        native: Json, created_by: Uid, model_config_id: Uid, compressed: Bool, input_tokens: Int,
        output_tokens: Int, total_tokens: Int, reasoning_tokens: Int, cache_creation_tokens: Int,
        cache_read_tokens: Int, context_limit: Int, total_cost_micros: Int, runtime_ms: Int,
        provider_response_id: Text, created_at: Moment,
    } with { numbers: Numbers::Last };
    chat_queued_messages (id) {
        id: Int, chat_id: Uid, position: Int, content: Json, created_by: Uid, model_config_id: Uid,
        created_at: Moment,
    } with { numbers: Numbers::Last };
    // What ran when the owner of a chat was gone must not run again in the target either.
    tool_journal (chat_id, history_version, tool_call_id) {
        chat_id: Uid, history_version: Int, tool_call_id: Text, tool_name: Text, started_at: Moment, outcome: Json,
    };
    chat_diff_statuses (chat_id) {
        chat_id: Uid, url: Text, pull_request_state: Text, pull_request_title: Text, pull_request_draft: Bool,
        changes_requested: Bool, additions: Int, deletions: Int, changed_files: Int, author_login: Text,
        author_avatar_url: Text, base_branch: Text, head_branch: Text, pr_number: Int, commits: Int,
        approved: Bool, reviewer_count: Int, refreshed_at: Moment, stale_at: Moment, provider: Text,
        remote_origin: Text, branch: Text, repository: Text, diff: Text,
    };
    chat_acl (id) {
        id: Int, root_chat_id: Uid, user_id: Uid, group_id: Uid, role: Text, created_at: Moment,
    } with { numbers: Numbers::Highest };
    debug_runs (id) {
        id: Uid, chat_id: Uid, root_chat_id: Uid, parent_chat_id: Uid, model_config_id: Uid,
        trigger_message_id: Int, history_tip_message_id: Int, kind: Text, status: Text, provider: Text,
        model: Text, summary: Json, started_at: Moment, updated_at: Moment, finished_at: Moment,
    };
    debug_steps (id) {
        id: Uid, run_id: Uid, chat_id: Uid, step_number: Int, operation: Text, status: Text,
        history_tip_message_id: Int, assistant_message_id: Int, normalized_request: Json,
        normalized_response: Json, usage: Json, attempts: Json, error: Json, metadata: Json, started_at: Moment,
        updated_at: Moment, finished_at: Moment,
    };
    // An upload that is under way has its other end at a replica; nobody could finish it in the target.
    files (id) {
        id: Uid, owner_id: Uid, organization_id: Uid, name: Text, mime_type: Text, size_bytes: Int, sha256: Binary,
        complete: Bool, linked: Bool, created_at: Moment,
    } with { only: Some("t.complete") };
    file_chunks (file_id, seq) { file_id: Uid, seq: Int, data: Binary }
        with { only: Some("EXISTS (SELECT 1 FROM files f WHERE f.id = t.file_id AND f.complete)") };
    chat_files (chat_id, file_id) { chat_id: Uid, file_id: Uid, created_at: Moment }
        with { only: Some("EXISTS (SELECT 1 FROM files f WHERE f.id = t.file_id AND f.complete)") };
    // Each row is the answer to a request that is over: a client that never got it asks again, perhaps the target. A
    // request under way has no row yet.
    idempotency_keys (user_id, key) {
        user_id: Uid, key: Text, request_hash: Binary, status: Small, answer: Json, created_at: Moment,
    };
}
