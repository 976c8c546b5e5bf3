//! `chatd import FILE`: what `chatd export` wrote, into an empty database of either engine.

use super::{Exit, Failure, Options, Outcome, daemon, output};
use crate::{
    app::open,
    config::Config,
    store::transfer::{self, Imported, Source},
};
use clap::Args;
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};
use tokio::signal::unix::SignalKind;

/// Arguments of `chatd import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The file to read; `-` is stdin
    pub file: PathBuf,
}

/// Bytes that are read at a time.
const BUFFER: usize = 256 * 1024;

/// Who was first: the end of the work, or a signal. The other one gives way.
#[derive(Clone, Default)]
struct Race(Arc<AtomicU8>);

impl Race {
    const COMMITS: u8 = 1;
    const STOPPED: u8 = 2;

    /// Whether this one is first.
    fn won_by(&self, who: u8) -> bool {
        self.0.compare_exchange(0, who, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Enters the file into the database: all of it, or nothing.
///
/// # Errors
/// Status 69 when the database is not to be had or a daemon serves it, 1 when it is not empty or the file is not
/// whole; 130 and 143 after a signal. The database is empty then.
pub fn run(args: &ImportArgs, options: &Options) -> Outcome {
    let config = options.load()?.config;
    let shown = if args.file == Path::new("-") { "stdin".into() } else { args.file.display().to_string() };
    let race = Race::default();
    let runtime = daemon::runtime()?;
    let ended = runtime.block_on(async {
        let mut terminate = daemon::on(SignalKind::terminate())?;
        let mut interrupt = daemon::on(SignalKind::interrupt())?;
        let panicked = |e: tokio::task::JoinError| Failure::failed(e.to_string());
        // A task of its own: a database that is locked is waited for, and signals are heard meanwhile.
        let mut done = tokio::spawn(entered(config, args.file.clone(), shown.clone(), race.clone()));
        let signalled = tokio::select! {
            done = &mut done => return done.map_err(panicked)?.map(|()| Exit::Done),
            _ = interrupt.recv() => Exit::Interrupted,
            _ = terminate.recv() => Exit::Terminated,
        };
        if race.won_by(Race::STOPPED) {
            return Ok(signalled);
        }
        // It is being committed: what becomes of it is known in a moment.
        done.await.map_err(panicked)?.map(|()| Exit::Done)
    });
    // What still reads or writes ends with the process, and its transaction is undone.
    runtime.shutdown_background();
    let exit = ended?;
    if exit != Exit::Done {
        output::note(format_args!("chatd: interrupted; nothing of {shown} was entered"));
    }
    Ok(exit)
}

async fn entered(config: Config, file: PathBuf, shown: String, race: Race) -> Result<(), Failure> {
    let panicked = |e: tokio::task::JoinError| Failure::failed(e.to_string());
    let failed = |e: transfer::Failure| match e {
        transfer::Failure::Store(e) => e.into(),
        transfer::Failure::File(e) => Failure::failed(format!("cannot read {shown}: {e}")),
        transfer::Failure::NotEmpty(table) => Failure::failed(format!(
            "the database has rows in {table} already, and an import needs an empty one: name another with \
             database.url or data_dir"
        )),
        other => Failure::failed(format!("{shown} cannot be imported: {other}; nothing was entered")),
    };
    // What the file is comes first: for a wrong one no database is made.
    let source = tokio::task::spawn_blocking(move || Source::open(input(&file)?));
    let source = source.await.map_err(panicked)?.map_err(failed)?;
    let opened = open::open_alone(&config).await?;
    let store = opened.store.clone();
    let work = tokio::task::spawn_blocking(move || store.import(source, || race.won_by(Race::COMMITS)));
    let imported = work.await.map_err(panicked)?.map_err(failed)?;
    opened.store.settle().await?;
    let listed: Vec<String> = opened.store.keys().listed().iter().map(ToString::to_string).collect();
    tell(&imported, &listed, &shown, &config);
    Ok(())
}

fn input(file: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, io::stdin())));
    }
    Ok(Box::new(BufReader::with_capacity(BUFFER, File::open(file)?)))
}

fn tell(imported: &Imported, listed: &[String], shown: &str, config: &Config) {
    output::note(format_args!("chatd: entered {} rows of {shown}", imported.rows));
    let missing: Vec<&String> = imported.header.keys.iter().filter(|key| !listed.contains(*key)).collect();
    if !missing.is_empty() {
        let missing = missing.into_iter().cloned().collect::<Vec<_>>().join(", ");
        let place = daemon::place_of_keys(config);
        output::note(format_args!(
            "chatd: its secrets need the encryption keys {missing}, which are not in {place}: copy them there \
             before the daemon starts"
        ));
    }
}
