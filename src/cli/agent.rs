//! `chatd agent`: gives a chat the files and commands of this machine.

use super::{Exit, Failure, Options, Outcome, daemon, output};
use crate::{
    agent::{
        Agent, Settings,
        link::{self, Daemon},
        supervise::{self, End, Leash},
    },
    clock::Clock,
    config::log::Log,
    logging,
    workspace::{
        marked,
        wire::{ENV_TOKEN, ENV_URL, ENV_URL_FILE},
    },
};
use clap::Args;
use std::path::PathBuf;
use tokio::signal::unix::SignalKind;

/// Arguments of `chatd agent`.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// Address of the daemon [default: $CHATD_URL]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Token of the workspace's agent; in $CHATD_AGENT_TOKEN other users of this machine cannot see it
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Folder to work in [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Name of this agent, as people see it
    #[arg(long, value_name = "NAME", default_value = "")]
    pub name: String,
    /// Set by a daemon that starts the agent: what its commands are marked with
    #[arg(long, hide = true, value_name = "ID")]
    pub run: Option<String>,
    /// Set by the supervisor for the process below it
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// Runs the agent until a signal ends it. It does not end by itself: a daemon that cannot be reached is
/// dialled again and again.
///
/// # Errors
/// Why it cannot start.
pub fn run(args: &AgentArgs, options: &Options) -> Outcome {
    let given = |flag: &Option<String>, variable: &str, name: &str| {
        let value = flag.clone().or_else(|| std::env::var(variable).ok()).unwrap_or_default();
        if value.trim().is_empty() {
            return Err(Failure::new(Exit::Usage, format!("give {name} or set {variable}")));
        }
        Ok(value.trim().to_owned())
    };
    let url = given(&args.url, ENV_URL, "--url")?;
    let token = given(&args.token, ENV_TOKEN, "--token")?;
    let wrong = |error: link::BadDaemon| Failure::new(Exit::Usage, error.to_string());
    let daemon = Daemon::new(&url, &token).map_err(wrong)?;
    let daemon = daemon.read_from(std::env::var_os(ENV_URL_FILE).map(PathBuf::from));
    let directory = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let directory = directory.canonicalize().ok().filter(|path| path.is_dir()).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("there is no folder {}; make it, or give another --dir", directory.display()),
        )
    })?;
    // Commands run as the same user: without this they could read the token out of /proc.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)
        .map_err(|e| Failure::failed(format!("cannot protect the token: {e}")))?;
    if cfg!(target_os = "linux") && !args.supervised {
        return supervised(args, options, &url, &token, &directory);
    }
    if args.supervised {
        // A session without a terminal: Ctrl-C is heard once, from the supervisor, and a command that asks for a password
        // on the terminal fails instead of waiting on that of whoever has started the agent.
        nix::unistd::setsid().map_err(|e| Failure::failed(format!("no session of its own: {e}")))?;
    }
    let log = Log {
        format: options.log_format.unwrap_or(Log::default().format),
        filter: options.log_filter.clone().unwrap_or_else(|| Log::default().filter),
    };
    logging::init(&log).map_err(|e| Failure::new(Exit::Config, e.to_string()))?;
    let mut settings = Settings::new(args.name.clone(), directory, std::env::vars_os());
    if let Some(run) = &args.run {
        settings = settings.marked(run.clone());
    }
    daemon::single_threaded()?.block_on(work(settings, daemon, args.supervised))
}

async fn work(settings: Settings, daemon: Daemon, supervised: bool) -> Outcome {
    let mut terminate = daemon::on(SignalKind::terminate())?;
    let mut interrupt = daemon::on(SignalKind::interrupt())?;
    let cannot = |e: std::io::Error| Failure::failed(format!("the supervisor cannot be watched: {e}"));
    let mut leash = if supervised { Some(Leash::of_stdin().map_err(cannot)?) } else { None };
    let unsupervised = async {
        match &mut leash {
            Some(leash) => leash.gone().await,
            None => std::future::pending().await,
        }
    };
    tracing::info!(directory = %settings.directory.display(), "agent {} started", env!("CARGO_PKG_VERSION"));
    let agent = Agent::new(settings, Clock::system());
    let exit = tokio::select! {
        () = link::run(agent.clone(), daemon) => Some(Exit::Failed),
        _ = terminate.recv() => Some(Exit::Terminated),
        _ = interrupt.recv() => Some(Exit::Interrupted),
        () = unsupervised => None,
    };
    tracing::info!("agent stopping; ending what it has started");
    agent.stop().await;
    if exit.is_none() {
        marked::end_marked(&agent.settings().run).await;
    }
    Ok(exit.unwrap_or(Exit::Failed))
}

/// Runs the agent as a process below this one. The token goes by the environment, which other users
/// cannot read; the command line they can.
fn supervised(
    args: &AgentArgs,
    options: &Options,
    url: &str,
    token: &str,
    directory: &std::path::Path,
) -> Outcome {
    let cannot = |e: std::io::Error| Failure::failed(format!("the agent cannot be run: {e}"));
    let mut command = std::process::Command::new(std::env::current_exe().map_err(cannot)?);
    command.arg("agent").arg("--supervised").arg("--dir").arg(directory);
    command.arg("--name").arg(&args.name).arg("--url").arg(url).env(ENV_TOKEN, token);
    if let Some(run) = &args.run {
        command.arg("--run").arg(run);
    }
    if let Some(filter) = &options.log_filter {
        command.arg("--log-filter").arg(filter);
    }
    if let Some(crate::config::log::LogFormat::Json) = options.log_format {
        command.arg("--log-format").arg("json");
    }
    match daemon::single_threaded()?.block_on(supervise::supervise(&mut command)).map_err(cannot)? {
        End::Exited(status) => {
            match [Exit::Done, Exit::Usage, Exit::Config, Exit::Interrupted, Exit::Terminated]
                .into_iter()
                .find(|exit| *exit as i32 == status)
            {
                Some(exit) => Ok(exit),
                None => Ok(Exit::Failed),
            }
        }
        End::Killed(signal) => {
            output::note(format_args!(
                "chatd: the agent was ended by {signal}; its processes were ended with it"
            ));
            Ok(Exit::Failed)
        }
    }
}
