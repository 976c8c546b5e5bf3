//! `chatd workspace list | start | stop | logs`: workspaces, straight on the database. What is to be done is
//! written there; a daemon on the same database does it.

use super::{Exit, Failure, Options, Outcome, daemon, output, user};
use crate::{
    clock::Clock,
    ids::BuildId,
    store::{
        self, Store,
        records::workspaces::{
            BuildReason, BuildStatus, NewBuild, Transition, WorkspaceFilter, WorkspaceView,
        },
    },
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::{fmt::Write, time::Duration};

/// What to do with workspaces.
#[derive(Debug, Clone, Subcommand)]
pub enum WorkspaceCommand {
    /// List workspaces and how they are
    List(ListArgs),
    /// Start a workspace
    Start(BuildArgs),
    /// Stop a workspace; its files stay
    Stop(BuildArgs),
    /// Show what the newest build of a workspace printed
    Logs(LogsArgs),
}

/// Arguments of `chatd workspace list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Only those of this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `chatd workspace start` and `stop`.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// The workspace: OWNER/NAME, an id, or a name that only one has
    #[arg(value_name = "WORKSPACE")]
    pub workspace: String,
    /// Return at once instead of waiting for the end of the build
    #[arg(long)]
    pub no_wait: bool,
}

/// Arguments of `chatd workspace logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The workspace: OWNER/NAME, an id, or a name that only one has
    #[arg(value_name = "WORKSPACE")]
    pub workspace: String,
    /// Go on until the build is over
    #[arg(long, short)]
    pub follow: bool,
}

/// Workspaces read at once.
const PAGE: i64 = 500;
/// Lines read at once.
const LINES: i64 = 1000;
/// How often a build that goes on is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a build may wait for a daemon before somebody is told that there may be none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lists, starts, stops workspaces, or shows logs.
///
/// # Errors
/// When the database cannot be had, there is no such workspace, or the build fails.
pub fn run(command: &WorkspaceCommand, options: &Options) -> Outcome {
    let config = options.load()?.config;
    match command {
        WorkspaceCommand::List(args) => list(args, &config),
        WorkspaceCommand::Start(args) => build(args, Transition::Start, &config),
        WorkspaceCommand::Stop(args) => build(args, Transition::Stop, &config),
        WorkspaceCommand::Logs(args) => daemon::on_existing_database(&config, async |store| {
            let view = find(store, &args.workspace).await?;
            print_log(store, view.build.id, args.follow, false).await?;
            Ok(Exit::Done)
        }),
    }
}

fn list(args: &ListArgs, config: &crate::config::Config) -> Outcome {
    let views = daemon::on_existing_database(config, async |store| {
        let owner = match &args.user {
            Some(name) => Some(user::named(store, name).await?.id),
            None => None,
        };
        let mut all = Vec::new();
        loop {
            let offset = i64::try_from(all.len()).unwrap_or(i64::MAX);
            let page = WorkspaceFilter { owner, limit: PAGE, offset, ..WorkspaceFilter::default() };
            let views = store.workspaces(page).await?;
            if views.is_empty() {
                return Ok(all);
            }
            all.extend(views);
        }
    })?;
    if args.json {
        let rows: Vec<_> = views
            .iter()
            .map(|v| {
                json!({ "id": v.workspace.id, "owner": v.owner_name, "name": v.workspace.name,
                        "template": v.template.name, "transition": v.build.transition,
                        "status": v.build.status, "build_number": v.build.build_number,
                        "deadline": v.workspace.deadline, "last_used_at": v.workspace.last_used_at })
            })
            .collect();
        return output::data(format!("{}\n", json!(rows)).as_bytes());
    }
    let mut text =
        String::from("WORKSPACE                         TEMPLATE         BUILD            LAST USED\n");
    for v in views {
        let name = format!("{}/{}", v.owner_name, v.workspace.name);
        let build = format!("{} {}", v.build.transition.as_str(), v.build.status.as_str());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<33} {:<16} {build:<16} {}", v.template.name, v.workspace.last_used_at);
    }
    output::data(text.as_bytes())
}

/// The workspace that somebody means.
async fn find(store: &Store, text: &str) -> Result<WorkspaceView, Failure> {
    let none =
        || Failure::failed(format!("there is no workspace {text:?}; `chatd workspace list` shows them"));
    let mut filter = WorkspaceFilter { limit: 2, ..WorkspaceFilter::default() };
    match (text.parse(), text.split_once('/')) {
        (Ok(id), _) => filter.id = Some(id),
        (_, Some((owner, name))) => {
            filter.owner = Some(user::named(store, owner).await?.id);
            filter.name = Some(name.to_owned());
        }
        _ => filter.name = Some(text.to_owned()),
    }
    let mut found = store.workspaces(filter).await?;
    if found.len() > 1 {
        return Err(Failure::failed(format!("several users have a workspace {text:?}; say OWNER/{text}")));
    }
    found.pop().ok_or_else(none)
}

fn build(args: &BuildArgs, transition: Transition, config: &crate::config::Config) -> Outcome {
    daemon::on_existing_database(config, async |store| {
        let view = find(store, &args.workspace).await?;
        if transition == Transition::Start && view.template.deleted {
            return Err(Failure::failed(
                "the template of this workspace was deleted, so it cannot be started; make a workspace from another one",
            ));
        }
        let new = NewBuild {
            id: BuildId::fresh(),
            workspace_id: view.workspace.id,
            transition,
            reason: BuildReason::Operator,
            initiator_id: None,
        };
        let build = store.begin_build(new, Clock::system().now()).await?;
        if args.no_wait {
            return Ok(Exit::Done);
        }
        print_log(store, build.id, true, true).await?;
        let end = store.build(build.id).await?;
        match end.error {
            None => Ok(Exit::Done),
            Some(why) => Err(Failure::failed(format!("the {} failed: {why}", transition.as_str()))),
        }
    })
}

/// Prints a log: to the end of the build, or what there is of it. As notes, where the log is no data.
async fn print_log(store: &Store, build: BuildId, follow: bool, notes: bool) -> Result<(), Failure> {
    let (mut after, mut waited, mut told, mut seen) = (0, Duration::ZERO, false, false);
    loop {
        // First whether it is over: then the read after that finds everything.
        let status = match store.build(build).await {
            // A deletion that worked takes its own build along.
            Err(store::Error::NotFound) if seen => {
                output::note("chatd: the workspace is deleted");
                return Ok(());
            }
            build => build?.status,
        };
        seen = true;
        loop {
            let lines = store.build_logs(build, after, LINES).await?;
            let Some(last) = lines.last() else { break };
            after = last.seq;
            for line in &lines {
                match notes {
                    true => output::note(&line.output),
                    false => drop(output::data(format!("{}\n", line.output).as_bytes())?),
                }
            }
        }
        if !follow || status.is_final() {
            return Ok(());
        }
        if status == BuildStatus::Pending && waited >= PATIENCE && !told {
            output::note("chatd: the build waits for a daemon; is one running on this database?");
            told = true;
        }
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
}
