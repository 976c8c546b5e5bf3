//! The command line: one file per subcommand, the exit codes, and where output goes.
//!
//! Data goes to stdout, everything else to stderr. Each command is a function `run` that returns an
//! [`Outcome`]; [`main`] turns it into a status and, on failure, one sentence on stderr.

pub mod agent;
pub mod backup;
pub mod chat;
pub mod completions;
pub mod config;
mod daemon;
pub mod demo;
pub mod doctor;
mod exit;
pub mod export;
pub mod healthcheck;
pub mod import;
pub mod keys;
pub mod man;
pub mod migrate;
pub mod openapi;
mod options;
pub mod output;
mod part;
pub mod serve;
pub mod token;
pub mod user;
pub mod workspace;

pub use exit::{Exit, Failure, Outcome};
pub use options::Options;

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};
use std::ffi::OsString;

/// A self-hosted daemon that keeps conversations with AI agents alive
#[derive(Debug, Parser)]
#[command(name = "chatd", version, max_term_width = 100, infer_long_args = false)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub options: Options,
    /// What to do; the daemon when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Serve(serve::ServeArgs),
    /// Watch one real turn of an agent in a throw-away daemon
    Demo(demo::DemoArgs),
    /// Talk with an agent in the terminal, through a daemon that runs
    Chat(chat::ChatArgs),
    /// Give chats the files and commands of this machine; run it in a workspace
    Agent(agent::AgentArgs),
    /// Apply the database's migrations, or show them
    Migrate(migrate::MigrateArgs),
    /// Make, list or revoke API tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Make, list, suspend, sign in users
    #[command(subcommand)]
    User(user::UserCommand),
    /// List, start or stop workspaces, or show what their builds printed
    #[command(subcommand)]
    Workspace(workspace::WorkspaceCommand),
    /// Show or change the keys that secrets in the database are encrypted with
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Copy the embedded database, while the daemon runs or not
    Backup(backup::BackupArgs),
    /// Write everything that the database holds as lines of JSON, while the daemon runs or not
    Export(export::ExportArgs),
    /// Enter what `chatd export` wrote into an empty database, of either engine
    Import(import::ImportArgs),
    /// Print the OpenAPI document
    Openapi,
    /// Check, show or begin a configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look at everything that the daemon stands on, and say what is wrong; changes nothing
    Doctor(doctor::DoctorArgs),
    /// Ask a running daemon whether it is alive; status 0 says yes
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, for `man -l -`
    Man,
}

/// Runs the program with these arguments, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return parse_error(&error),
    };
    match run(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            output::note(format_args!("chatd: {failure}"));
            failure.exit
        }
    }
}

fn run(cli: Cli) -> Outcome {
    let options = cli.options;
    match cli.command {
        None => serve::run(&serve::ServeArgs::default(), &options),
        Some(Command::Serve(args)) => serve::run(&args, &options),
        Some(Command::Demo(args)) => demo::run(&args, &options),
        Some(Command::Chat(args)) => chat::run(&args, &options),
        Some(Command::Agent(args)) => agent::run(&args, &options),
        Some(Command::Migrate(args)) => migrate::run(&args, &options),
        Some(Command::Token(command)) => token::run(&command, &options),
        Some(Command::User(command)) => user::run(&command, &options),
        Some(Command::Workspace(command)) => workspace::run(&command, &options),
        Some(Command::Keys(command)) => keys::run(&command, &options),
        Some(Command::Backup(args)) => backup::run(&args, &options),
        Some(Command::Export(args)) => export::run(&args, &options),
        Some(Command::Import(args)) => import::run(&args, &options),
        Some(Command::Openapi) => openapi::run(),
        Some(Command::Config(command)) => config::run(command, &options),
        Some(Command::Doctor(args)) => doctor::run(&args, &options),
        Some(Command::Healthcheck(args)) => healthcheck::run(&args, &options),
        Some(Command::Completions(args)) => completions::run(&args),
        Some(Command::Man) => man::run(),
    }
}

/// Help and version are data and no failure; everything else is wrong usage.
fn parse_error(error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match output::data(error.render().to_string().as_bytes()) {
                Ok(exit) => exit,
                Err(failure) => failure.exit,
            }
        }
        _ => {
            output::note(error.render().to_string().trim_end());
            Exit::Usage
        }
    }
}

/// The command line as clap knows it: for completions, and for checking it in tests.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
