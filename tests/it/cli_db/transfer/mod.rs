//! `chatd export` and `chatd import`: between both engines, and of files that are none.

mod between;
mod files;
mod large;
mod under_way;

use crate::support::{
    Engine, Harness,
    daemon::DaemonProcess,
    outside::{Ran, chatd_with_input},
    postgres::Database,
};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::{Child, Command};

/// Both engines.
const ENGINES: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];

/// An empty place for an import: a folder, and a database that is nobody's.
struct Target {
    home: PathBuf,
    config: toml::Table,
    database: Option<Database>,
}

impl Target {
    /// Makes one that has the configuration of the test and encryption keys of its own.
    async fn new(h: &Harness, engine: Engine, name: &str) -> Self {
        let home = h.folder().join(format!("{name}-{engine:?}"));
        std::fs::create_dir_all(&home).expect("make a folder");
        let database = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(Database::create(name).await),
        };
        let url = database.as_ref().map_or("sqlite:chatd.db", |database| &database.url);
        let mut config = h.config();
        config["database"].as_table_mut().expect("a table").insert("url".into(), url.into());
        let keys = home.join("keys").display().to_string();
        let secrets = toml::Table::from_iter([("encryption_key_file".to_owned(), keys.into())]);
        config.insert("secrets".into(), secrets.into());
        Self { home, config, database }
    }

    /// The configuration in a file, for commands where no daemon has run.
    fn config_file(&self) -> PathBuf {
        let mut config = self.config.clone();
        config.insert("data_dir".into(), self.home.join("data").display().to_string().into());
        let file = self.home.join("chatd.toml");
        std::fs::write(&file, config.to_string()).expect("write the configuration");
        file
    }

    /// Starts a command on it; its output and input are as `pipes` says.
    fn spawn(&self, args: &[&str], pipes: impl FnOnce(&mut Command) -> &mut Command) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatd"));
        command.args(args).arg("--config").arg(self.config_file()).current_dir(&self.home).env_clear();
        command.env("HOME", &self.home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        pipes(command.kill_on_drop(true)).spawn().expect("start chatd")
    }

    /// An import that waits for what is written to its stdin.
    fn importing(&self) -> Child {
        self.spawn(&["import", "-"], |command| command.stdin(Stdio::piped()))
    }

    /// Runs a command on it, with a text on stdin.
    async fn run(&self, args: &[&str], input: &str) -> Ran {
        let config = self.config_file();
        let config = config.to_str().expect("a folder of ours is text");
        chatd_with_input(&self.home, &[args, &["--config", config]].concat(), input).await
    }

    /// Imports a file.
    async fn import(&self, file: &Path) -> Ran {
        self.run(&["import", file.to_str().expect("a folder of ours is text")], "").await
    }

    /// What it holds, as lines.
    async fn exported(&self) -> String {
        let ran = self.run(&["export", "-"], "").await;
        assert_eq!(ran.status, 0, "{}", ran.err);
        ran.out
    }

    /// Serves it.
    async fn daemon(&self, h: &Harness) -> DaemonProcess {
        DaemonProcess::start(&self.home, self.config.clone(), &h.log).await
    }

    async fn remove(self) {
        if let Some(database) = self.database {
            database.remove().await;
        }
    }
}

/// Everything but the first line, which says when and from where.
fn rows(export: &str) -> &str {
    export.split_once('\n').expect("a first line").1
}

/// Where a daemon of this test has its encryption keys.
fn keys(h: &Harness, daemon: &DaemonProcess) -> PathBuf {
    if h.engine == Engine::Sqlite { daemon.data_dir().join("keys") } else { h.folder().join("keys") }
}
