//! `chatd config check | show | init`

use super::{Exit, Failure, Options, Outcome, options::load, output};
use crate::config::{EXAMPLE, to_toml};
use clap::{Args, Subcommand};
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What to do with the configuration.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Say everything that is wrong with the configuration; status 78 if anything is
    Check,
    /// Print the effective configuration as TOML, secrets masked
    Show(ShowArgs),
    /// Write a commented configuration file with every key and its default
    Init(InitArgs),
}

/// Arguments of `chatd config show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// Say behind each value where it came from
    #[arg(long)]
    pub origin: bool,
}

/// Arguments of `chatd config init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The file to write; one that exists is left alone
    #[arg(default_value = "chatd.toml")]
    pub file: PathBuf,
}

/// Runs one of them.
///
/// # Errors
/// Status 78 when the configuration is not valid, 1 when a file cannot be written.
pub fn run(command: ConfigCommand, options: &Options) -> Outcome {
    match command {
        ConfigCommand::Check => check(options),
        ConfigCommand::Show(args) => show(&args, options),
        ConfigCommand::Init(args) => init(&args.file),
    }
}

fn check(options: &Options) -> Outcome {
    match load(&options.sources()?) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                output::note(format_args!("warning: {warning}"));
            }
            let read =
                loaded.file.map_or_else(|| "no file was read".into(), |file| file.display().to_string());
            output::data(format!("The configuration is valid ({read}).\n").as_bytes())
        }
        Err(error) => {
            // Each on its own line, without the program's name: an editor can jump to `FILE:LINE:`.
            for problem in &error.problems {
                output::note(problem);
            }
            Ok(Exit::Config)
        }
    }
}

fn show(args: &ShowArgs, options: &Options) -> Outcome {
    let loaded = options.load()?;
    let origins = args.origin.then_some(&loaded.origins);
    let text = to_toml(&loaded.config, origins)
        .map_err(|error| Failure::failed(format!("cannot write the configuration as TOML: {error}")))?;
    output::data(text.as_bytes())
}

fn init(file: &Path) -> Outcome {
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", file.display()));
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(cannot)?;
    }
    // 0600: sooner or later somebody writes a key into it.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut open) => open.write_all(EXAMPLE.as_bytes()).map_err(cannot)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let message =
                format!("{} exists already; name another file, or move it away first", file.display());
            return Err(Failure::failed(message));
        }
        Err(error) => return Err(cannot(error)),
    }
    output::note(format_args!("Wrote {}; `chatd config check` tells whether it is valid.", file.display()));
    Ok(Exit::Done)
}
