//! Servers as processes of their own, ended with the benchmark.

use crate::{PATIENCE, Result, http::Client};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// How often a starting process is looked at: it has no event to wait for.
const POLL: Duration = Duration::from_millis(2);
const SAYS: &str = "listening on http://";

/// A server that listens.
pub struct Server {
    child: Child,
    pub pid: u32,
    pub address: SocketAddr,
    /// From start to the line that says where it listens.
    pub started: Duration,
}

/// What differs between daemons.
pub struct Daemon<'a> {
    pub program: &'a Path,
    pub home: PathBuf,
    /// `None`: an SQLite file in its folder.
    pub postgres: Option<&'a str>,
    pub model: SocketAddr,
    /// `stream.coalesce`; `None` leaves the default.
    pub coalesce: Option<&'a str>,
    /// Further lines of `[server]`, of `[limits]` and of `[worker]`.
    pub server: &'a str,
    pub limits: &'a str,
    pub worker: &'a str,
}

impl Server {
    /// Another command of this program.
    pub async fn own(home: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
        Self::start(command, &home.join(format!("{}.log", arguments[0]))).await
    }

    /// Starts a program and waits until it says where it listens; what it says goes to `log`.
    async fn start(mut command: Command, log: &Path) -> Result<Self> {
        let out = File::create(log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).kill_on_drop(true);
        let begin = Instant::now();
        let mut child = command.spawn()?;
        let pid = child.id().ok_or("a process that is gone at once")?;
        loop {
            let said = std::fs::read_to_string(log)?;
            if let Some(address) = said.lines().find_map(address) {
                return Ok(Self { child, pid, address, started: begin.elapsed() });
            }
            let ended = child.try_wait()?;
            if ended.is_some() || begin.elapsed() > PATIENCE {
                return Err(format!("{command:?} does not listen ({ended:?}):\n{said}").into());
            }
            sleep(POLL).await;
        }
    }

    /// Sends a signal and does not wait.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.pid)?), signal)?)
    }

    /// SIGTERM, and SIGKILL for who does not care.
    pub async fn stop(mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        self.signal(Signal::SIGTERM)?;
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(ended) => drop(ended?),
            Err(_) => self.child.kill().await?,
        }
        Ok(())
    }
}

/// The address in a line `… listening on http://127.0.0.1:PORT …`.
fn address(line: &str) -> Option<SocketAddr> {
    let rest = line.split_once(SAYS)?.1;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

impl Daemon<'_> {
    fn configure(&self) -> Result<PathBuf> {
        let Self { home, model, server, limits, worker, .. } = self;
        std::fs::create_dir_all(home)?;
        let data = home.join("data");
        // Replicas of one database have the same keys.
        let keys = home.with_file_name("keys");
        let database = self.postgres.unwrap_or("sqlite:chatd.db");
        let coalesce = self.coalesce.map(|time| format!("coalesce = {time:?}\n")).unwrap_or_default();
        // Prepared conversations are not read until their turn comes, so they answer no pings.
        let text = format!(
            "data_dir = {data:?}\n[server]\nlisten = \"127.0.0.1:0\"\n{server}\n\
             [limits]\nrequests_per_minute = 0\n{limits}\n[secrets]\nencryption_key_file = {keys:?}\n\
             [database]\nurl = {database:?}\n[worker]\n{worker}\n[stream]\nping_interval = \"5m\"\n{coalesce}\
             [[providers]]\nname = \"mock\"\ntype = \"openai-compatible\"\n\
             base_url = \"http://{model}/v1\"\napi_key = \"x\"\n\
             [[models]]\nname = \"mock\"\nprovider = \"mock\"\nmodel = \"mock\"\ndefault = true\n"
        );
        let file = home.join("chatd.toml");
        std::fs::write(&file, text)?;
        Ok(file)
    }

    fn command(&self, arguments: &[&str], config: &Path) -> Command {
        let mut command = Command::new(self.program);
        command.args(arguments).arg("--config").arg(config).current_dir(&self.home);
        // Nothing of the developer's own machine: keys, configuration, proxies.
        command.env_clear().env("HOME", &self.home);
        command.envs(std::env::vars().filter(|(key, _)| key == "PATH" || key == "RUST_BACKTRACE"));
        command
    }

    /// Whether the program takes this configuration.
    pub async fn accepts(&self) -> Result<bool> {
        let config = self.configure()?;
        Ok(self.command(&["config", "check"], &config).output().await?.status.success())
    }

    /// Starts it; returns it with its first user's token.
    pub async fn start(&self) -> Result<(Server, String)> {
        let server = self.launch().await?;
        let token = std::fs::read_to_string(self.home.join("data/token"))?;
        Ok((server, token.trim().to_owned()))
    }

    /// Starts it and waits until it is ready.
    pub async fn launch(&self) -> Result<Server> {
        let config = self.configure()?;
        let server = Server::start(self.command(&["serve"], &config), &self.home.join("log")).await?;
        let mut http = Client::connect(server.address, "").await?;
        let begin = Instant::now();
        while http.call("GET", "/readyz", "").await?.0 != 200 {
            if begin.elapsed() > PATIENCE {
                return Err("chatd is not ready".into());
            }
            sleep(POLL).await;
        }
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses() {
        let here = "127.0.0.1:80".parse().ok();
        assert_eq!(address("listening on http://127.0.0.1:80"), here);
        assert_eq!(address("INFO chatd: listening on http://127.0.0.1:80/ (sqlite)"), here);
        assert_eq!(address("http://127.0.0.1:80"), None);
    }
}
