//! The whole benchmark: all servers up, rounds in turns, one table.

mod limits;

use crate::{
    PATIENCE, Result, clock,
    http::Client,
    load::{self, Run, quantile},
    process::{Daemon, Server},
    report::{self, Column, Ledger},
    session::{Session, Target},
    transitions::{self, CLIENTS},
};
use clap::Args;
use serde::Deserialize;
use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    process::Command,
    task::JoinSet,
    time::{Instant, sleep},
};

/// Chats at once, turns of all of them, conversations that share these: ten turns each or fewer.
const LEVELS: [(usize, usize, usize); 3] = [(1, 150, 16), (8, 400, 48), (32, 640, 64)];
/// The same where a delta comes each [`PACE`] and latencies are taken.
const PACED: (usize, usize, usize) = (8, 200, 32);
/// Microseconds between deltas: 500 a second is faster than models speak, and 8 chats of it leave the
/// cores idle half of the time.
const PACE: u64 = 2000;
/// Chats that are open when memory is read.
const OPEN: usize = 1000;
/// How long transitions are counted, a round.
const COUNTED: Duration = Duration::from_secs(2);
/// After the last turn, before memory is read or another server's round begins: what runs behind
/// the answer (titles, release of the runner) belongs to the server that caused it.
const SETTLE: Duration = Duration::from_millis(300);

/// Options of `chatd-bench all`.
#[derive(Args)]
pub struct Options {
    /// The program to measure; without it only the floors are.
    #[arg(long)]
    chatd: Option<PathBuf>,
    /// Folder of a PostgreSQL server's socket, with databases `chatd`, `takeover` and `floor` of user
    /// `chatd`.
    #[arg(long)]
    postgres: Option<PathBuf>,
    /// Rounds, of which medians are taken.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where databases are written: the disk that is measured.
    #[arg(long, default_value = "/var/tmp")]
    disk: PathBuf,
    /// The table goes here too.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Stats {
    active: u64,
}

/// A server under test.
struct Subject {
    server: Server,
    target: Target,
    column: Column,
    /// Coalescing of deltas switched off: only paced rounds, other rows.
    bare: bool,
}

struct Suite {
    model: Server,
    control: Client,
    subjects: Vec<Subject>,
    ledger: Ledger,
    notes: Vec<String>,
    home: PathBuf,
    floor_url: Option<String>,
}

/// `chatd-bench all`.
pub async fn run(options: &Options) -> Result<()> {
    let begin = Instant::now();
    let home = tempfile::Builder::new().prefix("chatd-bench-").tempdir_in(&options.disk)?;
    let mut suite = Suite::start(options, home.path()).await?;
    suite.model_alone().await?;
    suite.lone_commit().await?;
    suite.memory().await?;
    for round in 1..=options.rounds {
        eprintln!("round {round} of {} ({:.0} s)", options.rounds, begin.elapsed().as_secs_f64());
        suite.turns().await?;
        suite.paced().await?;
        suite.transitions().await?;
    }
    // What was measured is told even if the rest cannot be.
    let limits = async {
        suite.scale(options).await?;
        suite.takeover(options).await?;
        suite.warm_start(options).await?;
        suite.links(options).await?;
        suite.round_trip(options).await?;
        suite.library(options).await
    };
    let limits = limits.await;
    let table = suite.ledger.table();
    let mut text = heading(options).await;
    write!(text, "\n{table}\n")?;
    for note in &suite.notes {
        writeln!(text, "* {note}")?;
    }
    writeln!(text, "* {} rounds in {:.0} s.", options.rounds, begin.elapsed().as_secs_f64())?;
    print!("{text}");
    if let Some(out) = &options.out {
        std::fs::write(out, text)?;
    }
    for subject in suite.subjects {
        subject.server.stop().await?;
    }
    suite.model.stop().await?;
    limits
}

impl Options {
    /// A database of the PostgreSQL server, if there is one.
    fn database(&self, name: &str) -> Option<String> {
        let folder = self.postgres.as_ref()?.display();
        Some(format!("postgres:///{name}?host={folder}&port=5432&user=chatd"))
    }
}

/// Machine, time and commit.
async fn heading(options: &Options) -> String {
    let said = async |program: &str, arguments: &[&str]| {
        let out = Command::new(program).args(arguments).output().await;
        out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
    };
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!(
        "{}; {} at {}; {cores} cores of {}; Linux {}; databases on {}\n",
        said("date", &["-u", "+%Y-%m-%d %H:%M"]).await,
        match &options.chatd {
            Some(program) => said(&program.display().to_string(), &["--version"]).await,
            None => "no chatd".to_owned(),
        },
        said("git", &["describe", "--always", "--dirty"]).await,
        cpu.map_or("an unknown processor", |(_, name)| name),
        said("uname", &["-r"]).await,
        said("df", &["--output=source,fstype", &options.disk.display().to_string()])
            .await
            .lines()
            .last()
            .unwrap_or_default(),
    )
}

impl Suite {
    async fn start(options: &Options, home: &Path) -> Result<Self> {
        let model = Server::own(home, &["mock-model"]).await?;
        let control = Client::connect(model.address, "").await?;
        let url = format!("http://{}", model.address);
        let proxy = Server::own(home, &["proxy", "--model", &url]).await?;
        let target = Target::proxy(proxy.address);
        let subjects = vec![Subject { server: proxy, target, column: Column::Floor, bare: false }];
        let database = |name: &str| options.database(name);
        let mut suite = Self {
            control,
            subjects,
            ledger: Ledger::default(),
            notes: Vec::new(),
            home: home.to_owned(),
            floor_url: database("floor"),
            model,
        };
        let Some(program) = &options.chatd else { return Ok(suite) };
        let program = std::path::absolute(program)?;
        let model = suite.model.address;
        let daemon = |name: &str, postgres, coalesce| Daemon {
            program: &program,
            home: home.join(name),
            postgres,
            model,
            coalesce,
            server: "",
            limits: "",
            worker: "",
        };
        suite.add(&daemon("sqlite", None, None), Column::Sqlite).await?;
        let bare = daemon("bare", None, Some("0s"));
        if bare.accepts().await? {
            suite.add(&bare, Column::Sqlite).await?;
        } else {
            suite.notes.push("This chatd has no `stream.coalesce`: its deltas are never held back.".into());
        }
        if let Some(url) = database("chatd") {
            suite.add(&daemon("postgres", Some(&url), None), Column::Postgres).await?;
        }
        Ok(suite)
    }

    async fn add(&mut self, daemon: &Daemon<'_>, column: Column) -> Result<()> {
        let (server, token) = daemon.start().await?;
        let target = Target::chatd(server.address, &token).await?;
        self.subjects.push(Subject { server, target, column, bare: daemon.coalesce.is_some() });
        Ok(())
    }

    async fn pace(&mut self, micros: u64) -> Result<()> {
        self.control.expect(200, "PUT", &format!("/pace/{micros}"), "").await.map(drop)
    }

    /// Waits until the model has had nothing to do for [`SETTLE`].
    async fn quiet(&mut self) -> Result<()> {
        let begin = Instant::now();
        let mut since = begin;
        while since.elapsed() < SETTLE {
            let stats: Stats = serde_json::from_slice(&self.control.expect(200, "GET", "/stats", "").await?)?;
            if stats.active > 0 {
                since = Instant::now();
            }
            if begin.elapsed() > PATIENCE {
                return Err("the model does not come to rest".into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Turns that the model gives to a client that does nothing with them.
    async fn model_alone(&mut self) -> Result<()> {
        const EACH: usize = 100;
        let (clients, address) = (LEVELS[2].0, self.model.address);
        let body = r#"{"model":"mock","stream":true,"messages":[]}"#;
        let (cpu, start) = (clock::cpu(self.model.pid)?, clock::mono());
        let mut running = JoinSet::new();
        for _ in 0..clients {
            running.spawn(async move {
                let mut http = Client::connect(address, "").await?;
                for _ in 0..EACH {
                    http.expect(200, "POST", "/v1/chat/completions", body).await?;
                }
                Result::Ok(())
            });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        let turns = (clients * EACH) as f64;
        let rate = turns / ((clock::mono() - start) as f64 / 1e9);
        let cpu = (clock::cpu(self.model.pid)? - cpu) as f64 / 1e6 / turns * 1000.0;
        self.notes.push(format!(
            "The mock model alone, {clients} clients: {rate:.0} turns/s, {cpu:.0} ms CPU per 1000 turns."
        ));
        Ok(())
    }

    /// How long one commit takes when nobody shares it: what a lone turn waits for, several times.
    async fn lone_commit(&mut self) -> Result<()> {
        let rate = bare_database(&self.home.display().to_string(), 1).await?;
        self.notes.push(format!("A lone commit of the bare SQLite takes {:.2} ms.", 1e3 / rate));
        Ok(())
    }

    /// Memory of each server: idle, and with [`OPEN`] chats that have had a turn and are watched.
    async fn memory(&mut self) -> Result<()> {
        self.pace(0).await?;
        self.quiet().await?;
        for index in 0..self.subjects.len() {
            let subject = &self.subjects[index];
            if subject.bare {
                continue;
            }
            let (column, pid, target) = (subject.column, subject.server.pid, subject.target.clone());
            eprintln!("memory of {}", name(column));
            let started = subject.server.started.as_secs_f64() * 1e3;
            if column != Column::Floor {
                self.notes.push(format!(
                    "chatd on {} listened {started:.0} ms after its start, database made anew.",
                    name(column)
                ));
            }
            self.ledger.add(report::IDLE, column, clock::resident_kib(pid)? / 1024.0);
            let (before, open) = if let Target::Chatd { address, token, .. } = &target {
                let chats = create(&target, *address, token, OPEN).await?;
                self.quiet().await?;
                let before = clock::resident_kib(pid)?;
                let mut open = Vec::with_capacity(OPEN);
                for chat in chats {
                    open.push(target.subscribe(chat).await?);
                }
                (before, open)
            } else {
                let before = clock::resident_kib(pid)?;
                (before, load::prepare(&target, OPEN).await?)
            };
            self.quiet().await?;
            let (cpu, start) = (clock::cpu(pid)?, clock::mono());
            sleep(COUNTED).await;
            let cpu = (clock::cpu(pid)? - cpu) as f64 / 1e6 / ((clock::mono() - start) as f64 / 1e9);
            let after = clock::resident_kib(pid)?;
            self.ledger.add(report::OPEN, column, after / 1024.0);
            self.ledger.add(report::EACH, column, (after - before) / OPEN as f64);
            self.ledger.add(report::IDLE_CPU, column, cpu);
            close(open).await?;
        }
        Ok(())
    }

    /// As fast as it goes.
    async fn turns(&mut self) -> Result<()> {
        self.pace(0).await?;
        for (level, (at_once, turns, conversations)) in LEVELS.into_iter().enumerate() {
            for index in 0..self.subjects.len() {
                if self.subjects[index].bare {
                    continue;
                }
                let (column, run) = self.measure(index, at_once, turns, conversations).await?;
                self.ledger.add(report::TURNS[level], column, run.rate);
                if level == 0 {
                    self.ledger.add(report::REACH_P50, column, quantile(&run.reach, 0.5));
                    self.ledger.add(report::REACH_P99, column, quantile(&run.reach, 0.99));
                }
                if level == LEVELS.len() - 1 {
                    self.ledger.add(report::CPU_BURST, column, run.cpu);
                    self.ledger.add(report::LIVE[0], column, run.live * 100.0);
                }
            }
        }
        Ok(())
    }

    /// As a model speaks.
    async fn paced(&mut self) -> Result<()> {
        self.pace(PACE).await?;
        let (at_once, turns, conversations) = PACED;
        for index in 0..self.subjects.len() {
            let (column, run) = self.measure(index, at_once, turns, conversations).await?;
            let [p50, p99] = [0.5, 0.99].map(|share| quantile(&run.delays, share));
            let floor = column == Column::Floor;
            if floor || self.subjects[index].bare {
                self.ledger.add(report::BARE_P50, column, p50);
                self.ledger.add(report::BARE_P99, column, p99);
                self.ledger.add(report::BARE_FIRST_P50, column, quantile(&run.first, 0.5));
                self.ledger.add(report::BARE_FIRST_P99, column, quantile(&run.first, 0.99));
                self.ledger.add(report::CPU_BARE, column, run.cpu);
            }
            if floor || !self.subjects[index].bare {
                self.ledger.add(report::DELTA_P50, column, p50);
                self.ledger.add(report::DELTA_P99, column, p99);
                self.ledger.add(report::FIRST_P50, column, quantile(&run.first, 0.5));
                self.ledger.add(report::FIRST_P99, column, quantile(&run.first, 0.99));
                self.ledger.add(report::CPU_PACED, column, run.cpu);
                self.ledger.add(report::LIVE[1], column, run.live * 100.0);
            }
        }
        Ok(())
    }

    async fn measure(
        &mut self,
        index: usize,
        at_once: usize,
        turns: usize,
        conversations: usize,
    ) -> Result<(Column, Run)> {
        let target = self.subjects[index].target.clone();
        let sessions = load::prepare(&target, conversations).await?;
        self.quiet().await?;
        let Subject { server, column, .. } = &self.subjects[index];
        let [model, own] = [self.model.pid, std::process::id()];
        let (before, start) = ([clock::cpu(model)?, clock::cpu(own)?], clock::mono());
        let run = load::run(&target, Some(server.pid), sessions, at_once, turns).await?;
        if at_once == LEVELS[2].0 {
            let all = (clock::mono() - start) as f64 * std::thread::available_parallelism()?.get() as f64;
            let share = |pid, before| Result::Ok((clock::cpu(pid)? - before) as f64 / all * 100.0);
            let note = format!("With {at_once} chats, of all cores: {}", name(*column));
            self.notes.retain(|old| !old.starts_with(&note));
            self.notes.push(format!(
                "{note} {:.0} %, mock model {:.0} %, load {:.0} % (last round).",
                run.share * 100.0,
                share(model, before[0])?,
                share(own, before[1])?
            ));
        }
        Ok((*column, run))
    }

    /// Queue changes through the API, and the bare databases.
    async fn transitions(&mut self) -> Result<()> {
        let folder = self.home.display().to_string();
        let mut floors = vec![(Column::Sqlite, folder)];
        floors.extend(self.floor_url.clone().map(|url| (Column::Postgres, url)));
        for (column, place) in floors {
            let rate = bare_database(&place, CLIENTS).await?;
            if column == Column::Sqlite {
                self.ledger.add(report::TRANSITIONS, Column::Floor, rate);
            } else {
                self.ledger.add(report::TRANSITIONS_POSTGRES, Column::Floor, rate);
            }
        }
        for index in 0..self.subjects.len() {
            let Subject { server, target, column, bare } = &self.subjects[index];
            if *bare || *column == Column::Floor {
                continue;
            }
            let (pid, target, column) = (server.pid, target.clone(), *column);
            self.control.expect(200, "PUT", "/gate", "").await?;
            let measured = transitions::run(&target, pid, COUNTED).await?;
            self.pace(0).await?;
            self.quiet().await?;
            let row =
                if column == Column::Sqlite { report::TRANSITIONS } else { report::TRANSITIONS_POSTGRES };
            self.ledger.add(row, column, measured.rate);
            self.ledger.add(report::TRANSITION_CPU, column, measured.cpu);
            for (row, path) in [(report::ALIVE_CPU, "/healthz"), (report::USER_CPU, "/api/v2/users/me")] {
                self.ledger.add(row, column, transitions::reads(&target, pid, path).await?);
            }
        }
        Ok(())
    }
}

fn name(column: Column) -> &'static str {
    match column {
        Column::Floor => "proxy",
        Column::Sqlite => "SQLite",
        Column::Postgres => "PostgreSQL",
    }
}

/// The floor of a database, in a process of its own as chatd's is.
async fn bare_database(place: &str, clients: usize) -> Result<f64> {
    let (seconds, clients) = (COUNTED.as_secs_f64().to_string(), clients.to_string());
    let out = Command::new(std::env::current_exe()?)
        .args(["floor", place, "--seconds", &seconds, "--clients", &clients])
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&out.stdout);
    said.trim().parse().map_err(|_| {
        format!("the bare database with {clients} clients: {}", String::from_utf8_lossy(&out.stderr)).into()
    })
}

/// Makes chats that nobody watches.
async fn create(target: &Target, address: SocketAddr, token: &str, count: usize) -> Result<Vec<String>> {
    const MAKERS: usize = 8;
    let mut makers = JoinSet::new();
    for _ in 0..MAKERS {
        let (target, token) = (target.clone(), token.to_owned());
        makers.spawn(async move {
            let mut http = Client::connect(address, &token).await?;
            let mut made = Vec::with_capacity(count / MAKERS);
            for _ in 0..count / MAKERS {
                made.push(target.create(&mut http).await?);
            }
            Result::Ok(made)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(made) = makers.join_next().await {
        all.append(&mut made??);
    }
    Ok(all)
}

async fn close(sessions: Vec<Session>) -> Result<()> {
    for session in sessions {
        session.close().await?;
    }
    Ok(())
}
