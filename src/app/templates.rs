//! The templates of the configuration, brought in step with the database, and where workspaces are built.

use super::StartError;
use crate::{
    chat::json::Json,
    clock::Timestamp,
    config::{
        Config,
        templates::{Template, TemplateKind as Declared},
    },
    store::{
        Store,
        records::{
            models::Source,
            workspaces::{TemplateKind, TemplateRecord},
        },
    },
    workspace::provision::Host,
};
use std::time::Duration;

/// Writes what is declared.
///
/// # Errors
/// When the database fails.
pub async fn sync(config: &Config, store: &Store, now: Timestamp) -> Result<(), StartError> {
    let declared = config.templates.iter().map(|template| record(template, now)).collect();
    store
        .sync_templates(declared, now)
        .await
        .map_err(|e| StartError::Database(format!("the templates could not be brought in step: {e}")))
}

fn record(template: &Template, now: Timestamp) -> TemplateRecord {
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    TemplateRecord {
        id: template.id(),
        name: template.name.clone(),
        display_name: template.display_name.clone().unwrap_or_else(|| template.name.clone()),
        description: template.description.clone(),
        kind: match template.kind {
            Declared::Local => TemplateKind::Local,
            Declared::Command => TemplateKind::Command,
            Declared::External => TemplateKind::External,
        },
        directory: template.directory.clone(),
        start_command: template.start.clone(),
        stop_command: template.stop.clone(),
        status_command: template.status.clone(),
        parameters: Json::of(&template.parameters),
        presets: Json::of(&template.presets),
        default_ttl_ms: ms(template.ttl),
        activity_bump_ms: ms(template.activity_bump),
        deprecated: false,
        source: Source::Config,
        deleted: false,
        created_at: now,
        updated_at: now,
    }
}

/// This replica, as a place where workspaces are built.
///
/// # Errors
/// When the program or the data folder cannot be found.
pub fn host(config: &Config, public_url: &str) -> Result<Host, StartError> {
    let program = std::env::current_exe()
        .map_err(|e| StartError::Failed(format!("the program cannot be found, to start agents: {e}")))?;
    let data_dir = std::path::absolute(&config.data_dir).map_err(|e| {
        StartError::Config(format!("the data folder {} cannot be used: {e}", config.data_dir.display()))
    })?;
    Ok(Host { url: public_url.to_owned(), data_dir, program, secret_variables: config.secret_variables() })
}
