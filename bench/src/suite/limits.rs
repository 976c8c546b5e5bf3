//! Limits that are not a matter of rounds: subscribers, history, takeover, start.

use super::{OPEN, Options, Subject, Suite, create, name};
use crate::{
    Result,
    http::Client,
    library, links,
    process::Daemon,
    report::{self, Column},
    round_trip,
    scale::{self, Place},
    session::Target,
    takeover::{self, Replicas},
};
use std::time::Duration;
use tokio::time::Instant;

/// How often each is measured, whatever the rounds.
const TIMES: usize = 3;
/// A replica looks for chats each second, counted from its start: each loss meets it elsewhere.
const PHASE: Duration = Duration::from_millis(330);
/// Chats in the database of a warm start.
const WARM: usize = 10_000;

impl Suite {
    /// What many subscribers and a long history cost.
    pub(super) async fn scale(&mut self, options: &Options) -> Result<()> {
        self.pace(0).await?;
        for index in 0..self.subjects.len() {
            let Subject { server, target, column, bare } = &self.subjects[index];
            let place = match column {
                Column::Floor => continue,
                _ if *bare => continue,
                Column::Sqlite => Place::Sqlite(self.home.join("sqlite/data/chatd.db")),
                Column::Postgres => Place::Postgres(options.database("chatd").ok_or("no PostgreSQL")?),
            };
            let (pid, target, column) = (server.pid, target.clone(), *column);
            eprintln!("subscribers and history of {}", name(column));
            for (row, subscribers) in report::STATEMENTS.into_iter().zip([1, OPEN]) {
                self.quiet().await?;
                let statements = scale::statements(&target, subscribers).await?;
                self.ledger.add(row, column, statements);
            }
            self.quiet().await?;
            let mut chats =
                [scale::grown(&target, &place, 10).await?, scale::grown(&target, &place, 10_000).await?];
            for _ in 0..TIMES {
                for (case, chat) in chats.iter_mut().enumerate() {
                    self.quiet().await?;
                    let cost = scale::turns(&target, pid, chat).await?;
                    self.ledger.add(report::LONG_SEND[case], column, cost.accepted);
                    self.ledger.add(report::LONG_REACH[case], column, cost.reach);
                    self.ledger.add(report::LONG_CPU[case], column, cost.cpu);
                }
            }
        }
        Ok(())
    }

    /// How long chats of a replica that dies or leaves wait for another one.
    pub(super) async fn takeover(&mut self, options: &Options) -> Result<()> {
        let (Some(program), Some(url)) = (&options.chatd, options.database("takeover")) else {
            return Ok(());
        };
        let program = std::path::absolute(program)?;
        let replicas =
            Replicas { program: &program, home: &self.home, postgres: &url, model: self.model.address };
        for n in 0..TIMES {
            for (row, signal) in [(report::KILLED, takeover::KILL), (report::STOPPED, takeover::STOP)] {
                eprintln!("takeover after {signal}");
                self.control.expect(200, "PUT", "/gate", "").await?;
                let late = replicas.lose(&mut self.control, signal, PHASE * u32::try_from(n)?).await?;
                self.ledger.add(row, Column::Postgres, late);
            }
        }
        Ok(())
    }

    /// What links cost that nobody uses.
    pub(super) async fn links(&mut self, options: &Options) -> Result<()> {
        let Some(program) = &options.chatd else { return Ok(()) };
        eprintln!("links of {OPEN} agents");
        let grown = links::memory(program, &self.home, OPEN).await?;
        self.ledger.add(report::LINKS, Column::Sqlite, grown);
        Ok(())
    }

    /// What a request through a link takes.
    pub(super) async fn round_trip(&mut self, options: &Options) -> Result<()> {
        let Some(program) = &options.chatd else { return Ok(()) };
        eprintln!("reads through a link");
        for times in round_trip::measure(program, &self.home, TIMES).await? {
            for (row, floor) in report::ROUND_TRIP.into_iter().zip([times.bare, times.lone, times.warm]) {
                self.ledger.add(row, Column::Floor, floor);
                self.ledger.add(row, Column::Sqlite, times.link);
            }
        }
        Ok(())
    }

    /// From start to ready, on a database that has been used.
    pub(super) async fn warm_start(&mut self, options: &Options) -> Result<()> {
        let Some(program) = &options.chatd else { return Ok(()) };
        eprintln!("start with {WARM} chats");
        self.pace(0).await?;
        let program = std::path::absolute(program)?;
        let daemon = Daemon {
            program: &program,
            home: self.home.join("warm"),
            postgres: None,
            model: self.model.address,
            coalesce: None,
            server: "",
            limits: "",
            worker: "",
        };
        let (mut server, token) = daemon.start().await?;
        let target = Target::chatd(server.address, &token).await?;
        create(&target, server.address, &token, WARM).await?;
        self.quiet().await?;
        for _ in 0..TIMES {
            server.stop().await?;
            let begin = Instant::now();
            server = daemon.launch().await?;
            self.ledger.add(report::START, Column::Sqlite, begin.elapsed().as_secs_f64() * 1e3);
        }
        server.stop().await
    }
    /// What reads take in a database of many chats.
    pub(super) async fn library(&mut self, options: &Options) -> Result<()> {
        let Some(program) = &options.chatd else { return Ok(()) };
        eprintln!("reads of {} chats of {} messages", library::CHATS, library::MESSAGES);
        self.pace(0).await?;
        let program = std::path::absolute(program)?;
        let home = self.home.join("library");
        let database = home.join("data/chatd.db");
        let daemon = Daemon {
            program: &program,
            home,
            postgres: None,
            model: self.model.address,
            coalesce: None,
            server: "",
            limits: "",
            worker: "",
        };
        let (server, token) = daemon.start().await?;
        let target = Target::chatd(server.address, &token).await?;
        let chats = create(&target, server.address, &token, library::CHATS).await?;
        self.quiet().await?;
        library::fill(&database)?;
        let mut http = Client::connect(server.address, &token).await?;
        for _ in 0..TIMES {
            let times = library::read(&mut http, &chats).await?;
            for (row, p99) in report::READ.into_iter().zip(times) {
                self.ledger.add(row, Column::Sqlite, p99);
            }
        }
        server.stop().await
    }
}
