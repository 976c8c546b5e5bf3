//! The tables as both engines see them. Written by hand: the SQL types of [`super::types::sql`]
//! carry the attributes of both backends, which `diesel print-schema` cannot know.

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    organizations (id) {
        id -> Uid, name -> Text, display_name -> Text, is_default -> Bool, created_at -> Moment, updated_at -> Moment,
        icon -> Text, description -> Text,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    users (id) {
        id -> Uid, username -> Text, name -> Text, email -> Text, is_admin -> Bool, status -> Text,
        created_at -> Moment, updated_at -> Moment, role -> Text, login_type -> Text,
        password_hash -> Nullable<Text>, avatar_url -> Text, last_seen_at -> Nullable<Moment>,
        deleted_at -> Nullable<Moment>, login_email -> Nullable<Text>,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    organization_members (user_id, organization_id) {
        organization_id -> Uid, user_id -> Uid, created_at -> Moment, agents_access -> Bool,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    api_tokens (id) {
        id -> Text, user_id -> Uid, hash -> Binary, created_at -> Moment, expires_at -> Nullable<Moment>,
        kind -> Text, name -> Text, last_used_at -> Nullable<Moment>, created_from -> Nullable<Text>,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    login_links (id) {
        id -> Text, user_id -> Uid, hash -> Binary, created_at -> Moment, expires_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    groups (id) {
        id -> Uid, organization_id -> Uid, name -> Text, display_name -> Text, avatar_url -> Text,
        created_at -> Moment, updated_at -> Moment,
    }
}
diesel::table! {
    use crate::store::types::sql::*;
    group_members (group_id, user_id) {
        group_id -> Uid, user_id -> Uid, created_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    chats (id) {
        id -> Uid,
        organization_id -> Uid,
        owner_id -> Uid,
        parent_chat_id -> Nullable<Uid>,
        root_chat_id -> Uid,
        title -> Text,
        status -> Text,
        archived -> Bool,
        worker_id -> Nullable<Uid>,
        runner_id -> Nullable<Uid>,
        last_error -> Nullable<JsonText>,
        retry_state -> Nullable<JsonText>,
        requires_action_deadline_at -> Nullable<Moment>,
        compaction_requested_at -> Nullable<Moment>,
        snapshot_version -> BigInt,
        history_version -> BigInt,
        queue_version -> BigInt,
        retry_state_version -> BigInt,
        generation_attempt -> BigInt,
        last_model_config_id -> Uid,
        last_reasoning_effort -> Nullable<Text>,
        plan_mode -> Nullable<Text>,
        client_type -> Text,
        labels -> JsonText,
        mcp_server_ids -> JsonText,
        dynamic_tools -> Nullable<JsonText>,
        last_turn_summary -> Nullable<Text>,
        last_read_message_id -> BigInt,
        pin_order -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
        archived_at -> Nullable<Moment>,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    chat_messages (id) {
        id -> BigInt,
        chat_id -> Uid,
        revision -> BigInt,
        deleted -> Bool,
        role -> Text,
        visibility -> Text,
        content -> JsonText,
        native -> Nullable<JsonText>,
        created_by -> Nullable<Uid>,
        model_config_id -> Nullable<Uid>,
        compressed -> Bool,
        input_tokens -> Nullable<BigInt>,
        output_tokens -> Nullable<BigInt>,
        total_tokens -> Nullable<BigInt>,
        reasoning_tokens -> Nullable<BigInt>,
        cache_creation_tokens -> Nullable<BigInt>,
        cache_read_tokens -> Nullable<BigInt>,
        context_limit -> Nullable<BigInt>,
        total_cost_micros -> Nullable<BigInt>,
        runtime_ms -> Nullable<BigInt>,
        provider_response_id -> Nullable<Text>,
        created_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    chat_queued_messages (id) {
        id -> BigInt, chat_id -> Uid, position -> BigInt, content -> JsonText, created_by -> Nullable<Uid>,
        model_config_id -> Nullable<Uid>, created_at -> Moment,
    }
}
diesel::table! {
    use crate::store::types::sql::*;
    chat_heartbeats (chat_id) {
        chat_id -> Uid, worker_id -> Uid, runner_id -> Uid, beat_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    replicas (id) {
        id -> Uid, relay_url -> Text, beat_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    idempotency_keys (user_id, key) {
        user_id -> Uid, key -> Text, request_hash -> Binary, status -> Integer, answer -> JsonText, created_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    deployment (key) {
        key -> Text, value -> Text,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    deployment_settings (key) {
        key -> Text, value -> JsonText, updated_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    user_settings (user_id, key) {
        user_id -> Uid, key -> Text, value -> JsonText,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    user_compaction_thresholds (user_id, model_config_id) {
        user_id -> Uid, model_config_id -> Uid, threshold_percent -> BigInt,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    files (id) {
        id -> Uid, owner_id -> Uid, organization_id -> Uid, name -> Text, mime_type -> Text, size_bytes -> BigInt,
        sha256 -> Binary, complete -> Bool, linked -> Bool, created_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    file_chunks (file_id, seq) {
        file_id -> Uid, seq -> BigInt, data -> Binary,
    }
}
diesel::table! {
    use crate::store::types::sql::*;
    chat_files (chat_id, file_id) {
        chat_id -> Uid, file_id -> Uid, created_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    ai_providers (id) {
        id -> Uid,
        #[sql_name = "type"]
        type_ -> Text,
        name -> Text,
        display_name -> Text,
        icon -> Text,
        enabled -> Bool,
        base_url -> Nullable<Text>,
        central_api_key_enabled -> Bool,
        allow_user_api_key -> Bool,
        allow_central_api_key_fallback -> Bool,
        source -> Text,
        deleted -> Bool,
        created_at -> Moment,
        updated_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    ai_provider_keys (id) {
        id -> Uid, provider_id -> Uid, api_key -> Binary, hint -> Text, created_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    user_provider_keys (id) {
        id -> Uid, user_id -> Uid, provider_id -> Uid, api_key -> Binary, created_at -> Moment, updated_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    model_configs (id) {
        id -> Uid,
        provider_id -> Uid,
        name -> Nullable<Text>,
        model -> Text,
        display_name -> Text,
        enabled -> Bool,
        is_default -> Bool,
        context_limit -> BigInt,
        compression_threshold -> BigInt,
        model_config -> JsonText,
        source -> Text,
        deleted -> Bool,
        created_at -> Moment,
        updated_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    chat_diff_statuses (chat_id) {
        chat_id -> Uid,
        url -> Nullable<Text>,
        pull_request_state -> Nullable<Text>,
        pull_request_title -> Text,
        pull_request_draft -> Bool,
        changes_requested -> Bool,
        additions -> BigInt,
        deletions -> BigInt,
        changed_files -> BigInt,
        author_login -> Nullable<Text>,
        author_avatar_url -> Nullable<Text>,
        base_branch -> Nullable<Text>,
        head_branch -> Nullable<Text>,
        pr_number -> Nullable<BigInt>,
        commits -> Nullable<BigInt>,
        approved -> Nullable<Bool>,
        reviewer_count -> Nullable<BigInt>,
        refreshed_at -> Nullable<Moment>,
        stale_at -> Nullable<Moment>,
        provider -> Nullable<Text>,
        remote_origin -> Nullable<Text>,
        branch -> Nullable<Text>,
        repository -> Nullable<Text>,
        diff -> Nullable<Text>,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    chat_acl (id) {
        id -> BigInt, root_chat_id -> Uid, user_id -> Nullable<Uid>, group_id -> Nullable<Uid>, role -> Text,
        created_at -> Moment,
    }
}
diesel::table! {
    use crate::store::types::sql::*;
    title_locks (chat_id) {
        chat_id -> Uid, holder -> Uid, started_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    mcp_servers (id) {
        id -> Uid, slug -> Text, display_name -> Text, description -> Text, icon_url -> Text, transport -> Text,
        url -> Text, auth_type -> Text, oauth2_client_id -> Nullable<Text>, oauth2_client_secret -> Nullable<Binary>,
        oauth2_auth_url -> Nullable<Text>, oauth2_token_url -> Nullable<Text>, oauth2_scopes -> Nullable<Text>,
        oauth2_discovered -> Bool, api_key_header -> Nullable<Text>, api_key_value -> Nullable<Binary>, custom_headers -> Nullable<Binary>,
        tool_allow_list -> JsonText, tool_deny_list -> JsonText, availability -> Text, enabled -> Bool,
        model_intent -> Bool, allow_in_plan_mode -> Bool, forward_coder_headers -> Bool, source -> Text,
        created_at -> Moment, updated_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    mcp_user_tokens (id) {
        id -> Uid, server_id -> Uid, user_id -> Uid, access_token -> Binary, refresh_token -> Nullable<Binary>,
        token_type -> Text, expires_at -> Nullable<Moment>, created_at -> Moment, updated_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    user_skills (id) {
        id -> Uid, user_id -> Uid, name -> Text, description -> Text, content -> Text, created_at -> Moment,
        updated_at -> Moment,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    debug_runs (id) {
        id -> Uid, chat_id -> Uid, root_chat_id -> Nullable<Uid>, parent_chat_id -> Nullable<Uid>,
        model_config_id -> Nullable<Uid>, trigger_message_id -> Nullable<BigInt>,
        history_tip_message_id -> Nullable<BigInt>, kind -> Text, status -> Text, provider -> Nullable<Text>,
        model -> Nullable<Text>, summary -> JsonText, started_at -> Moment, updated_at -> Moment,
        finished_at -> Nullable<Moment>,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    debug_steps (id) {
        id -> Uid, run_id -> Uid, chat_id -> Uid, step_number -> BigInt, operation -> Text, status -> Text,
        history_tip_message_id -> Nullable<BigInt>, assistant_message_id -> Nullable<BigInt>,
        normalized_request -> JsonText, normalized_response -> Nullable<JsonText>, usage -> Nullable<JsonText>,
        attempts -> JsonText, error -> Nullable<JsonText>, metadata -> JsonText, started_at -> Moment,
        updated_at -> Moment, finished_at -> Nullable<Moment>,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    templates (id) {
        id -> Uid, name -> Text, display_name -> Text, description -> Text, kind -> Text, directory -> Text,
        start_command -> Nullable<Text>, stop_command -> Nullable<Text>, status_command -> Nullable<Text>,
        default_ttl_ms -> BigInt, activity_bump_ms -> BigInt, deprecated -> Bool, source -> Text,
        deleted -> Bool, created_at -> Moment, updated_at -> Moment, parameters -> JsonText,
        presets -> JsonText,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    workspaces (id) {
        id -> Uid, name -> Text, owner_id -> Uid, organization_id -> Uid, template_id -> Uid,
        ttl_ms -> Nullable<BigInt>, deadline -> Nullable<Moment>, last_used_at -> Moment,
        latest_build_id -> Uid, created_at -> Moment, updated_at -> Moment, parameters -> JsonText,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    workspace_builds (id) {
        id -> Uid, workspace_id -> Uid, build_number -> BigInt, transition -> Text, status -> Text,
        reason -> Text, initiator_id -> Nullable<Uid>, error -> Nullable<Text>, worker_id -> Nullable<Uid>,
        lease_until -> Nullable<Moment>, created_at -> Moment, started_at -> Nullable<Moment>,
        finished_at -> Nullable<Moment>,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    workspace_build_logs (build_id, seq) {
        build_id -> Uid, seq -> BigInt, created_at -> Moment, source -> Text, output -> Text,
    }
}
diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::sql::*;
    workspace_agents (id) {
        id -> Uid, build_id -> Uid, parent_id -> Nullable<Uid>, name -> Text, display_order -> BigInt,
        token_hash -> Nullable<Binary>, external -> Bool, operating_system -> Text, architecture -> Text,
        version -> Text, directory -> Text, connection_timeout_seconds -> BigInt,
        first_connected_at -> Nullable<Moment>, last_connected_at -> Nullable<Moment>,
        disconnected_at -> Nullable<Moment>, worker_id -> Nullable<Uid>, link_id -> Nullable<Uid>,
        created_at -> Moment,
    }
}
diesel::allow_tables_to_appear_in_same_query!(
    chat_diff_statuses,
    chat_acl,
    title_locks,
    chats,
    chat_messages,
    chat_queued_messages,
    chat_heartbeats,
    organizations,
    organization_members,
    users,
    api_tokens,
    login_links,
    groups,
    group_members,
    files,
    chat_files,
);
diesel::allow_tables_to_appear_in_same_query!(workspaces, workspace_builds, workspace_agents);
