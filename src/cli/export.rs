//! `chatd export FILE`: everything that the database holds, in a form of neither engine.

use super::{Exit, Failure, Options, Outcome, daemon, output, part::Part};
use crate::{
    app::open,
    clock::Clock,
    config::Config,
    ids::WorkerId,
    store::{
        Store,
        transfer::{self, Exported},
    },
};
use clap::Args;
use std::{
    fs::File,
    io::{self, BufWriter, ErrorKind, Write as _},
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
    let shown = if is_stdout(&args.file) { "stdout".into() } else { args.file.display().to_string() };
    let runtime = daemon::runtime()?;
    let ended = runtime.block_on(async {
        let mut terminate = daemon::on(SignalKind::terminate())?;
        let mut interrupt = daemon::on(SignalKind::interrupt())?;
        tokio::select! {
            done = written(&config, &args.file, &shown) => done,
            _ = interrupt.recv() => Ok((Exit::Interrupted, None)),
            _ = terminate.recv() => Ok((Exit::Terminated, None)),
        }
    });
    // What still reads ends with the process.
    runtime.shutdown_background();
    let (exit, exported) = ended?;
    match exported {
        Some(exported) => tell(&exported, &shown, &config),
        None if exit != Exit::Done => {
            let what = if is_stdout(&args.file) { "is not whole" } else { "was not written" };
            output::note(format_args!("chatd: interrupted; {shown} {what}"));
        }
        None => {}
    }
    Ok(exit)
}

fn is_stdout(file: &Path) -> bool {
    file == Path::new("-")
}

/// `None` when whoever reads stdout wants no more.
async fn written(config: &Config, file: &Path, shown: &str) -> Result<(Exit, Option<Exported>), Failure> {
    let cannot = |e: io::Error| match e.kind() {
        ErrorKind::AlreadyExists => Failure::failed(format!("{shown} exists already; name another file")),
        _ => Failure::failed(format!("cannot write {shown}: {e}")),
    };
    let target = match is_stdout(file) {
        true => None,
        false => Some(std::path::absolute(file).map_err(cannot)?),
    };
    if target.as_ref().is_some_and(|target| target.symlink_metadata().is_ok()) {
        return Err(cannot(ErrorKind::AlreadyExists.into()));
    }
    let part = target.as_deref().map(Part::beside).transpose().map_err(cannot)?;
    let opened = open::open(config, WorkerId::fresh(), false).await?;
    let (store, path) = (opened.store.clone(), part.as_ref().map(|part| part.path().to_owned()));
    let work = tokio::task::spawn_blocking(move || write(&store, path.as_deref()));
    let exported = match work.await.map_err(|panicked| Failure::failed(panicked.to_string()))? {
        Ok(exported) => exported,
        // As with all data: a reader that went away has what it wanted.
        Err(transfer::Failure::File(e)) if part.is_none() && e.kind() == ErrorKind::BrokenPipe => {
            return Ok((Exit::Done, None));
        }
        Err(transfer::Failure::File(e)) => return Err(cannot(e)),
        Err(transfer::Failure::Store(e)) => return Err(e.into()),
        Err(other) => return Err(Failure::failed(format!("cannot export to {shown}: {other}"))),
    };
    if let (Some(part), Some(target)) = (part, target) {
        part.publish(&target).map_err(cannot)?;
    }
    Ok((Exit::Done, Some(exported)))
}

fn write(store: &Store, path: Option<&Path>) -> Result<Exported, transfer::Failure> {
    let now = Clock::system().now();
    let Some(path) = path else {
        let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
        return store.export(now, &mut out);
    };
    let file = File::options().write(true).open(path)?;
    let mut out = BufWriter::with_capacity(BUFFER, &file);
    let exported = store.export(now, &mut out)?;
    out.flush()?;
    file.sync_all()?;
    Ok(exported)
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
