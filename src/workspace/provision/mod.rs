//! How a build starts and stops a workspace: by an agent process on this host, by commands of the operator, or
//! by a person.

mod command;
mod local;

use super::parameters;
use crate::{
    ids::{AgentId, BuildId, WorkspaceId},
    store::records::workspaces::{LogSource, TemplateKind, TemplateRecord, Transition},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};
use tokio::sync::mpsc;

/// How long a start, a stop or a deletion may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Longest line of a log that is kept, in bytes.
const MAX_LINE: usize = 8 * 1024;
/// Most lines of a command that are kept.
const MAX_LINES: usize = 10_000;

/// Where lines of the log go.
pub type LogSink = mpsc::Sender<(LogSource, String)>;

/// What this replica knows of itself that provisioners need.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where agents reach the daemon.
    pub url: String,
    /// The daemon's folder, absolute.
    pub data_dir: PathBuf,
    /// The program that is the agent: this one.
    pub program: PathBuf,
    /// Variables of the environment that hold secrets of the daemon: commands of templates do not get them.
    pub secret_variables: BTreeSet<String>,
}

impl Host {
    /// Tells the agents of this host where the daemon is now.
    ///
    /// # Errors
    /// When the file that they read cannot be written.
    pub fn announce(&self) -> std::io::Result<()> {
        local::announce(self)
    }
}

/// A build as a provisioner sees it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which build.
    pub build: BuildId,
    /// What it does.
    pub transition: Transition,
    /// Of which workspace.
    pub workspace: WorkspaceId,
    /// Its name.
    pub name: String,
    /// Name of its owner.
    pub owner: String,
    /// What it is built from.
    pub template: TemplateRecord,
    /// The answers to what its template asks.
    pub parameters: BTreeMap<String, String>,
    /// After a start: the agent, and its token.
    pub agent: Option<(AgentId, String)>,
}

impl Job {
    /// The answers as variables.
    fn variables(&self) -> impl Iterator<Item = (String, &str)> {
        self.parameters.iter().map(|(name, value)| (parameters::variable(name), value.as_str()))
    }

    /// What a text is without the agent's token.
    fn without_token(&self, text: &str) -> String {
        match &self.agent {
            Some((_, token)) => text.replace(token.as_str(), "[agent token]"),
            None => text.to_owned(),
        }
    }
}

/// Starts or stops a workspace. Dropping the future ends a command that runs.
///
/// # Errors
/// Why it did not work, for people.
pub async fn run(host: &Host, job: &Job, log: &LogSink) -> Result<(), String> {
    match job.template.kind {
        TemplateKind::Local => match job.transition {
            Transition::Start => local::start(host, job, log).await,
            Transition::Stop => local::stop(host, job, log).await,
            Transition::Delete => local::delete(host, job, log).await,
        },
        TemplateKind::Command => {
            let Some(text) = command_of(job) else { return Ok(()) };
            command::run(host, job, text, log).await
        }
        TemplateKind::External => {
            if job.transition == Transition::Start {
                say(log, "The agent is started by a person: get its token, and run `chatd agent` with it.")
                    .await;
            }
            Ok(())
        }
    }
}

/// Whether a workspace runs, where that can be told: by the command of its template, or by the process of its agent.
///
/// # Errors
/// When that cannot be told.
pub async fn runs(host: &Host, job: &Job, agent: AgentId) -> Result<bool, String> {
    match &job.template.status_command {
        _ if job.template.kind == TemplateKind::Local => Ok(!local::has_ended(host, job, agent)),
        Some(text) => command::runs(host, job, text).await,
        None => Ok(true),
    }
}

/// Whether a start whose replica was killed in the middle has come to its end all the same. How far a command came is not
/// known.
pub async fn has_started(host: &Host, job: &Job, agent: AgentId) -> bool {
    job.template.kind == TemplateKind::Local
        && job.transition == Transition::Start
        && local::has_started(host, job, agent).await
}

fn command_of(job: &Job) -> Option<&str> {
    match job.transition {
        Transition::Start => job.template.start_command.as_deref(),
        Transition::Stop | Transition::Delete => job.template.stop_command.as_deref(),
    }
}

/// A line of the daemon's own.
async fn say(log: &LogSink, line: impl Into<String>) {
    // Nobody reads any more: the build is over, and with it whoever says this.
    let _ = log.send((LogSource::Chatd, line.into())).await;
}
