//! From what was written to what is used: built-in entries, absolute paths, secrets in hand.

use super::{
    Config,
    models::Model,
    problem::{Origin, Origins, Problem},
    providers::{Provider, ProviderKind},
    secret::Secret,
    sources::Layers,
    units::absolute,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Collects what is wrong, with the place of each key.
pub(super) struct Report {
    pub origins: Origins,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Report {
    pub(super) fn fault(&mut self, key: impl Into<String>, what: impl Into<String>) {
        let key = key.into();
        self.problems.push(Problem::new(self.origins.near(&key), key, what));
    }

    pub(super) fn warn(&mut self, key: impl Into<String>, what: impl Into<String>) {
        let key = key.into();
        self.warnings.push(Problem::new(self.origins.near(&key), key, what));
    }
}

/// Completes `config`. `declared` tells which of `providers` and `models` somebody wrote down.
pub(super) fn complete(
    config: &mut Config,
    layers: &Layers,
    cwd: &Path,
    declared: [bool; 2],
    report: &mut Report,
) {
    builtin_entries(config, layers, declared, report);
    paths(config, layers, cwd, report);
    secrets(config, layers, report);
}

/// Providers and models of an installation that has none: the scripted one, and those whose usual
/// key is in the environment.
fn builtin_entries(config: &mut Config, layers: &Layers, declared: [bool; 2], report: &mut Report) {
    match declared {
        [false, false] => {}
        // `Config::default` brings the scripted pair; half of it would refer to nothing.
        [_, true] | [true, _] => {
            if !declared[0] {
                config.providers.clear();
            }
            if !declared[1] {
                config.models.clear();
            }
            return;
        }
    }
    let vendors = [
        (ProviderKind::Anthropic, "claude", "Claude Sonnet 4.5", "claude-sonnet-4-5", 200_000),
        (ProviderKind::Openai, "gpt", "GPT-4o mini", "gpt-4o-mini", 128_000),
    ];
    for (kind, name, display_name, model, context_limit) in vendors {
        let Some(variable) = kind.usual_key_env().filter(|variable| layers.env.get(variable).is_some())
        else {
            continue;
        };
        let origin = layers.env.origin(variable);
        report.origins.0.insert(format!("providers[{}]", config.providers.len()), origin.clone());
        report.origins.0.insert(format!("models[{}]", config.models.len()), origin);
        // The first vendor found takes the default over from the scripted model.
        let default = config.models.iter().all(|other| !other.default || other.provider == "scripted");
        if default {
            config.models.iter_mut().for_each(|other| other.default = false);
        }
        config.providers.push(Provider {
            name: kind.as_str().into(),
            kind,
            api_key_env: Some(variable.into()),
            ..Provider::default()
        });
        config.models.push(Model {
            name: name.into(),
            display_name: Some(display_name.into()),
            provider: kind.as_str().into(),
            model: model.into(),
            default,
            context_limit,
            ..Model::default()
        });
    }
}

/// Makes paths absolute: those of the file start at its folder, all others at the working directory.
fn paths(config: &mut Config, layers: &Layers, cwd: &Path, report: &mut Report) {
    let home = layers.env.folder("HOME");
    let file_folder = layers.file.as_ref().map(|(_, folder)| folder.as_path());
    let settle = |key: &str, path: &Path, report: &Report| -> PathBuf {
        let base = match (report.origins.near(key), file_folder) {
            (Origin::File { .. }, Some(folder)) => folder,
            _ => cwd,
        };
        absolute(path, base, home)
    };
    if config.data_dir.as_os_str().is_empty() {
        let data_home = layers.env.folder("XDG_DATA_HOME").map(Path::to_path_buf);
        match data_home.or_else(|| home.map(|home| home.join(".local/share"))) {
            Some(folder) => config.data_dir = folder.join("chatd"),
            None => report.fault("data_dir", "set it, since neither XDG_DATA_HOME nor HOME names a folder"),
        }
    } else {
        config.data_dir = settle("data_dir", &config.data_dir, report);
    }
    if let super::DatabaseUrl::Sqlite(file) = &mut config.database.url
        && file.starts_with("~")
    {
        *file = absolute(file, cwd, home);
    }
    for (i, provider) in config.providers.iter_mut().enumerate() {
        if let Some(path) = &mut provider.api_key_file {
            *path = settle(&format!("providers[{i}].api_key_file"), path, report);
        }
        if let Some(path) = &mut provider.script {
            *path = settle(&format!("providers[{i}].script"), path, report);
        }
    }
    for (i, server) in config.mcp_servers.iter_mut().enumerate() {
        if let Some(path) = &mut server.api_key_file {
            *path = settle(&format!("mcp_servers[{i}].api_key_file"), path, report);
        }
        if let Some(path) = &mut server.oauth2_client_secret_file {
            *path = settle(&format!("mcp_servers[{i}].oauth2_client_secret_file"), path, report);
        }
    }
    if let Some(path) = &mut config.secrets.encryption_key_file {
        *path = settle("secrets.encryption_key_file", path, report);
    }
    if let Some(path) = config.auth.oidc.as_mut().and_then(|oidc| oidc.client_secret_file.as_mut()) {
        *path = settle("auth.oidc.client_secret_file", path, report);
    }
}

/// The three ways to give one secret.
struct Ways<'a> {
    /// Path of the key that holds it in clear; the others end in `_env` and `_file`.
    key: String,
    clear: &'a Option<Secret>,
    env: &'a Option<String>,
    file: &'a Option<PathBuf>,
    /// Variable to look into when none of the three is used.
    usual: Option<&'static str>,
}

fn secrets(config: &mut Config, layers: &Layers, report: &mut Report) {
    for (i, provider) in config.providers.iter_mut().enumerate() {
        provider.key = fetch(
            &Ways {
                key: format!("providers[{i}].api_key"),
                clear: &provider.api_key,
                env: &provider.api_key_env,
                file: &provider.api_key_file,
                usual: provider.kind.usual_key_env(),
            },
            layers,
            report,
        );
    }
    for (i, server) in config.mcp_servers.iter_mut().enumerate() {
        let key = format!("mcp_servers[{i}]");
        server.key = fetch(
            &Ways {
                key: format!("{key}.api_key"),
                clear: &server.api_key,
                env: &server.api_key_env,
                file: &server.api_key_file,
                usual: None,
            },
            layers,
            report,
        );
        server.client_secret = fetch(
            &Ways {
                key: format!("{key}.oauth2_client_secret"),
                clear: &server.oauth2_client_secret,
                env: &server.oauth2_client_secret_env,
                file: &server.oauth2_client_secret_file,
                usual: None,
            },
            layers,
            report,
        );
        server.resolved_headers = server.headers.clone();
        for (header, variable) in &server.headers_env {
            let key = format!("{key}.headers_env.{header}");
            if server.headers.contains_key(header) {
                report.fault(&key, "this header is in headers already; give it once");
            } else if let Some(value) = variable_value(&key, variable, layers, report) {
                server.resolved_headers.insert(header.clone(), value);
            }
        }
    }
    if let Some(variable) = &config.secrets.encryption_key_env {
        let key = "secrets.encryption_key_env";
        if config.secrets.encryption_key_file.is_some() {
            report.fault(key, "give only one of encryption_key_env and encryption_key_file");
        } else {
            let warnings = report.warnings.len();
            config.secrets.keys = variable_value(key, variable, layers, report);
            // Without its keys the daemon could not open what is stored: more than a warning.
            if let Some(warning) = report.warnings.drain(warnings..).next() {
                report.problems.push(warning);
            }
        }
    }
    if let Some(oidc) = &mut config.auth.oidc {
        oidc.secret = fetch(
            &Ways {
                key: "auth.oidc.client_secret".into(),
                clear: &oidc.client_secret,
                env: &oidc.client_secret_env,
                file: &oidc.client_secret_file,
                usual: None,
            },
            layers,
            report,
        );
    }
}

fn fetch(ways: &Ways<'_>, layers: &Layers, report: &mut Report) -> Option<Secret> {
    let key = &ways.key;
    let short = key.rsplit('.').next().unwrap_or(key);
    match (ways.clear, ways.env, ways.file) {
        (Some(secret), None, None) => Some(secret.clone()),
        (None, Some(variable), None) => variable_value(&format!("{key}_env"), variable, layers, report),
        (None, None, Some(path)) => match fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => {
                report.fault(format!("{key}_file"), format!("{} is empty", path.display()));
                None
            }
            Ok(text) => Some(Secret::new(text.trim())),
            Err(error) => {
                report.fault(format!("{key}_file"), format!("cannot read {}: {error}", path.display()));
                None
            }
        },
        (None, None, None) => ways.usual.and_then(|variable| secret_in(variable, layers)),
        _ => {
            let what = format!("give only one of {short}, {short}_env and {short}_file");
            report.fault(key.clone(), what);
            None
        }
    }
}

/// The secret in a variable, without what a file that was read into it has left around it.
fn secret_in(variable: &str, layers: &Layers) -> Option<Secret> {
    let text = layers.env.get(variable)?.trim();
    (!text.is_empty()).then(|| Secret::new(text))
}

fn variable_value(key: &str, variable: &str, layers: &Layers, report: &mut Report) -> Option<Secret> {
    if !super::dotenv::is_name(variable) {
        // Not repeated: people put the key itself here.
        report.fault(key, "expected the name of an environment variable, such as \"ANTHROPIC_API_KEY\"");
        return None;
    }
    let value = secret_in(variable, layers);
    if value.is_none() {
        report.warn(key, format!("the environment variable {variable} is not set"));
    }
    value
}
