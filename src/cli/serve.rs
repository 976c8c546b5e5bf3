//! `chatd serve`, and `chatd` alone.

use super::{Exit, Failure, Options, Outcome, daemon, output};
use crate::{app, clock::Clock, logging};
use clap::Args;
use tokio::signal::unix::SignalKind;

/// Arguments of `chatd serve`: none of its own. `--config` and the flags that set a key are those
/// of every command ([`super::Options`]).
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// Why it could not start.
pub fn run(_: &ServeArgs, options: &Options) -> Outcome {
    let loaded = options.load()?;
    daemon::warn(&loaded);
    logging::init(&loaded.config.log).map_err(|e| Failure::new(Exit::Config, e.to_string()))?;
    daemon::many_files();
    daemon::runtime()?.block_on(async {
        let mut terminate = daemon::on(SignalKind::terminate())?;
        let mut interrupt = daemon::on(SignalKind::interrupt())?;
        // Once it is watched, a file that may not grow is an error of its write and not the end of the process.
        let _too_large = daemon::on(SignalKind::from_raw(nix::sys::signal::Signal::SIGXFSZ as i32))?;
        // A database that does not answer may hold the start up for long.
        let running = tokio::select! {
            started = app::start(loaded.config, Clock::system()) => started?,
            _ = terminate.recv() => leave(Exit::Terminated)?,
            _ = interrupt.recv() => leave(Exit::Interrupted)?,
        };
        announce(&running);
        let exit = tokio::select! {
            _ = terminate.recv() => Exit::Terminated,
            _ = interrupt.recv() => Exit::Interrupted,
            () = running.ended() => return Err(Failure::failed("the daemon ended by itself; the log says why")),
        };
        output::note("chatd: stopping; a second signal ends at once");
        tokio::select! {
            () = running.stop() => Ok(exit),
            _ = terminate.recv() => leave(Exit::Terminated),
            _ = interrupt.recv() => leave(Exit::Interrupted),
        }
    })
}

/// Ends at once: threads that still work are cut off, which every commit survives.
fn leave<R>(exit: Exit) -> Result<R, Failure> {
    std::process::exit(i32::from(exit as u8))
}

fn announce(running: &app::Running) {
    output::note(format_args!("chatd {} is listening on {}", env!("CARGO_PKG_VERSION"), running.local_url()));
    if running.public_url != running.local_url() {
        output::note(format_args!("  public address: {}", running.public_url));
    }
    if let Some(link) = &running.first_login {
        output::note(format_args!("  first start: sign in once, within an hour, at {link}"));
    }
    if let Some(path) = &running.first_token {
        output::note(format_args!(
            "  made the user \"admin\"; its API token lies in {} (only you can read it)",
            path.display()
        ));
        output::note(format_args!(
            "  try: curl -H \"Coder-Session-Token: $(cat {})\" {}/api/v2/users/me",
            path.display(),
            running.local_url()
        ));
    }
}
