//! `chatd export FILE`: everything that the database holds, in a form of neither engine.

use super::{Exit, Failure, Options, Outcome, daemon, output, part::Part};
use crate::{
    app::{StartError, open},
    clock::Clock,
    config::Config,
    ids::WorkerId,
    store::transfer::{self, Exported},
};
use clap::Args;
use std::{
    fs::File,
    io::{self, BufWriter, ErrorKind},
    path::{Path, PathBuf},
};
use tokio::signal::unix::SignalKind;

/// Arguments of `chatd export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// The file to write; one that exists is left alone. `-` is stdout
    pub file: PathBuf,
}

/// Bytes that are written at a time.
const BUFFER: usize = 256 * 1024;

/// Writes the export: everything that was committed when it began, and nothing of what came later.
///
/// # Errors
/// Status 69 when there is no database, 1 when the export cannot be written; 130 and 143 after a signal, with
/// nothing left behind.
pub fn run(args: &ExportArgs, options: &Options) -> Outcome {
    let config = options.load()?.config;
    daemon::there_is_a_database(&config)?;
    let to_stdout = args.file == Path::new("-");
    let shown = if to_stdout { "stdout".into() } else { args.file.display().to_string() };
    let cannot = |e: io::Error| match e.kind() {
        ErrorKind::AlreadyExists => Failure::failed(format!("{shown} exists already; name another file")),
        _ => Failure::failed(format!("cannot write {shown}: {e}")),
    };
    let target = match to_stdout {
        true => None,
        false => Some(std::path::absolute(&args.file).map_err(cannot)?),
    };
    if target.as_ref().is_some_and(|target| target.symlink_metadata().is_ok()) {
        return Err(cannot(ErrorKind::AlreadyExists.into()));
    }
    let runtime = daemon::runtime()?;
    let ended = runtime.block_on(async {
        let mut terminate = daemon::on(SignalKind::terminate())?;
        let mut interrupt = daemon::on(SignalKind::interrupt())?;
        let part = target.as_deref().map(Part::beside).transpose().map_err(cannot)?;
        let path = part.as_ref().map(|part| part.path().to_owned());
        // A task of its own: a database that is locked is waited for, and signals are heard meanwhile.
        let done = tokio::select! {
            done = tokio::spawn(write(config.clone(), path)) => done,
            _ = interrupt.recv() => return Ok(Err(Exit::Interrupted)),
            _ = terminate.recv() => return Ok(Err(Exit::Terminated)),
        };
        let exported = match done.map_err(|panicked| Failure::failed(panicked.to_string()))? {
            Ok(exported) => exported,
            // As with all data: a reader that went away has what it wanted.
            Err(Ended::Export(transfer::Failure::File(e)))
                if to_stdout && e.kind() == ErrorKind::BrokenPipe =>
            {
                return Ok(Err(Exit::Done));
            }
            Err(Ended::Export(transfer::Failure::File(e))) => return Err(cannot(e)),
            Err(Ended::Export(transfer::Failure::Store(e))) => return Err(e.into()),
            Err(Ended::Export(e)) => return Err(Failure::failed(format!("cannot export to {shown}: {e}"))),
            Err(Ended::Start(e)) => return Err(e.into()),
        };
        if let (Some(part), Some(target)) = (part, &target) {
            part.publish(target).map_err(cannot)?;
        }
        Ok(Ok(exported))
    });
    // What still reads ends with the process.
    runtime.shutdown_background();
    match ended? {
        Ok(exported) => {
            tell(&exported, &shown, &config);
            Ok(Exit::Done)
        }
        Err(Exit::Done) => Ok(Exit::Done),
        Err(signalled) => {
            let what = if to_stdout { "is not whole" } else { "was not written" };
            output::note(format_args!("chatd: interrupted; {shown} {what}"));
            Ok(signalled)
        }
    }
}

/// Why there is no export.
enum Ended {
    Start(StartError),
    Export(transfer::Failure),
}

/// Writes to this file, or to stdout.
async fn write(config: Config, path: Option<PathBuf>) -> Result<Exported, Ended> {
    let opened = open::open(&config, WorkerId::fresh(), false).await.map_err(Ended::Start)?;
    let store = opened.store.clone();
    let work = tokio::task::spawn_blocking(move || match path {
        None => {
            let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
            store.export(Clock::system().now(), &mut out)
        }
        Some(path) => {
            let file = File::options().write(true).open(path)?;
            let exported =
                store.export(Clock::system().now(), &mut BufWriter::with_capacity(BUFFER, &file))?;
            file.sync_all()?;
            Ok(exported)
        }
    });
    work.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked).into())).map_err(Ended::Export)
}

fn tell(exported: &Exported, shown: &str, config: &Config) {
    let rows = exported.rows;
    output::note(format_args!("chatd: wrote {rows} rows to {shown}; `chatd import` reads them"));
    if exported.keys.is_empty() {
        return;
    }
    let keys: Vec<String> = exported.keys.iter().map(ToString::to_string).collect();
    let (keys, place) = (keys.join(", "), daemon::place_of_keys(config));
    output::note(format_args!(
        "chatd: the secrets in it need the encryption keys {keys} of {place}; keep a copy of those too"
    ));
}
