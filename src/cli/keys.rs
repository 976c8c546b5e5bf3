//! `chatd keys list | rotate | generate`: the keys that secrets in the database are encrypted with.

use super::{Exit, Failure, Options, Outcome, daemon, output};
use crate::store::{self, RotateError, sealing};
use clap::{Args, Subcommand};
use serde_json::json;
use std::fmt::Write as _;

/// What to do with encryption keys.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// List the keys, by name only, and how many secrets need each
    List(KeysListArgs),
    /// Encrypt every secret with a fresh key and drop the old one; a running daemon follows
    Rotate,
    /// Print a fresh key, for secrets.encryption_key_env or a file of your own
    Generate,
}

/// Arguments of `chatd keys list`.
#[derive(Debug, Clone, Args)]
pub struct KeysListArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

impl From<RotateError> for Failure {
    fn from(e: RotateError) -> Self {
        match e {
            RotateError::Keys(e) => Self::new(Exit::Config, e.to_string()),
            RotateError::Store(store::Error::Sealed(why)) => Self::new(Exit::Config, why),
            RotateError::Store(e) => e.into(),
        }
    }
}

/// Shows or changes the keys.
///
/// # Errors
/// When the keys or the database cannot be had.
pub fn run(command: &KeysCommand, options: &Options) -> Outcome {
    match command {
        KeysCommand::List(args) => list(args, options),
        KeysCommand::Rotate => rotate(options),
        KeysCommand::Generate => output::data(format!("{}\n", *sealing::fresh_text()).as_bytes()),
    }
}

fn list(args: &KeysListArgs, options: &Options) -> Outcome {
    let config = options.load()?.config;
    let (states, place) = daemon::on_existing_database(&config, async |store| {
        Ok((store.key_states().await?, store.keys().place().to_string()))
    })?;
    if args.json {
        let rows: Vec<_> = states
            .iter()
            .map(|k| {
                json!({ "id": k.id.to_string(), "seals": k.seals, "present": k.listed, "secrets": k.secrets })
            })
            .collect();
        return output::data(format!("{}\n", json!(rows)).as_bytes());
    }
    let mut text = String::from("ID                SECRETS  STATE\n");
    for key in &states {
        let state = match (key.seals, key.listed) {
            (true, true) => "in use".to_owned(),
            (_, false) => format!("MISSING from {place}"),
            (false, true) if key.secrets > 0 => "old; `chatd keys rotate` replaces it".to_owned(),
            (false, true) => "not in use".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<17} {:>7}  {state}", key.id.to_string(), key.secrets);
    }
    output::data(text.as_bytes())
}

fn rotate(options: &Options) -> Outcome {
    let config = options.load()?.config;
    let rotated = daemon::on_existing_database(&config, async |store| Ok(store.rotate_keys().await?))?;
    match (&config.secrets.encryption_key_env, rotated.resumed) {
        (Some(_), _) => output::note(format_args!("chatd: the key {} seals from now on", rotated.key)),
        (None, false) => output::note(format_args!("chatd: made the key {}", rotated.key)),
        (None, true) => output::note(format_args!(
            "chatd: went on to the key {}, which was there already; run it again for a fresh one",
            rotated.key
        )),
    }
    output::note(format_args!("chatd: encrypted {} secrets anew", rotated.resealed));
    for id in &rotated.dropped {
        match &config.secrets.encryption_key_env {
            Some(variable) => {
                output::note(format_args!("chatd: nothing needs {id} any more; take it out of {variable}"));
            }
            None => output::note(format_args!("chatd: dropped the key {id}")),
        }
    }
    output::data(format!("{}\n", rotated.key).as_bytes())
}
