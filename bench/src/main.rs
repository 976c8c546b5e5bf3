//! What chatd costs, as ratios to a floor measured in the same run. See `README.md`.

mod clock;
mod floor;
mod http;
mod library;
mod links;
mod load;
mod mock_model;
mod process;
mod proxy;
mod report;
mod round_trip;
mod scale;
mod session;
mod suite;
mod takeover;
mod transitions;

use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// As chatd has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever went wrong ends the program.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long anything may take before the benchmark counts as broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Benchmarks of chatd.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything, as a table.
    All(suite::Options),
    /// A Chat Completions server with answers of 50 deltas.
    MockModel {
        /// Microseconds between deltas.
        #[arg(long, default_value_t = 0)]
        pace: u64,
    },
    /// The floor: forwards the mock model's deltas to a WebSocket.
    Proxy {
        /// Address of the mock model, `http://127.0.0.1:PORT`.
        #[arg(long)]
        model: String,
    },
    /// Turns against one server that runs already.
    Load(load::Options),
    /// Queued messages sent and deleted, against one chatd that runs already.
    Transitions(transitions::Options),
    /// Memory of a daemon with linked agents that have nothing to do, in MiB.
    Links(links::Options),
    /// A read of a file through the link to an agent, and a bare HTTP request that brings as much.
    RoundTrip(round_trip::Options),
    /// The floor of a round trip: an HTTP server that answers the same bytes to everything.
    BareHttp,
    /// The floor of a database: one update and one insert a transition, in groups.
    Floor {
        /// Folder for an SQLite file, or `postgres://…`.
        place: String,
        /// How long, in seconds.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// Writers at the same time.
        #[arg(long, default_value_t = transitions::CLIENTS)]
        clients: usize,
    },
}

fn main() -> ExitCode {
    match run(Options::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("chatd-bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    // Load and mock model keep to one thread: what they take is missing to the server under test.
    let one = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    match command {
        Command::All(options) => one()?.block_on(suite::run(&options)),
        Command::MockModel { pace } => one()?.block_on(mock_model::serve(Duration::from_micros(pace))),
        Command::Proxy { model } => tokio::runtime::Runtime::new()?.block_on(proxy::serve(&model)),
        Command::Load(options) => one()?.block_on(load::command(&options)),
        Command::Transitions(options) => one()?.block_on(transitions::command(&options)),
        Command::Links(options) => one()?.block_on(links::command(&options)),
        Command::RoundTrip(options) => one()?.block_on(round_trip::command(&options)),
        Command::BareHttp => tokio::runtime::Runtime::new()?.block_on(round_trip::serve_bare()),
        Command::Floor { place, seconds, clients } => {
            let time = Duration::from_secs_f64(seconds);
            let rate = if place.starts_with("postgres") {
                tokio::runtime::Runtime::new()?.block_on(floor::postgres(&place, clients, time))?
            } else {
                tokio::runtime::Runtime::new()?.block_on(floor::sqlite(
                    &PathBuf::from(place),
                    clients,
                    time,
                ))?
            };
            println!("{rate:.0}");
            Ok(())
        }
    }
}
