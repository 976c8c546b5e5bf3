//! A daemon under test: a real process on a port of its own, that can be killed and started again.

use super::{client::Api, logs::Log};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
};

/// How long a daemon may take to be ready or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often readiness is asked for: there is no event to wait for across processes.
const POLL: Duration = Duration::from_millis(10);
const ADDRESS: &str = "http://127.0.0.1:";

/// Merges `over` into `base`, table by table.
pub fn merge(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(over)) => merge(inner, over),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// The port behind the first `http://127.0.0.1:` of a line.
fn port_of(line: &str) -> Option<u16> {
    let digits = line.split_once(ADDRESS)?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok().filter(|port| *port != 0)
}

/// A line of a JSON log, or of a plain one, that reports an ERROR.
fn is_error(line: &str) -> bool {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(entry) => entry["level"].as_str().is_some_and(|level| level.eq_ignore_ascii_case("error")),
        Err(_) => line.contains(" ERROR ") || (line.contains("thread '") && line.contains("panicked at")),
    }
}

/// A program `chatd serve` of this build.
pub struct DaemonProcess {
    program: PathBuf,
    config: toml::Table,
    /// Where the configuration and, below, the data lie.
    home: PathBuf,
    environment: Vec<(String, String)>,
    log: Log,
    child: Option<Child>,
    /// They end with the output of the child.
    readers: Vec<JoinHandle<()>>,
    url: String,
}

impl DaemonProcess {
    /// Starts a daemon with this configuration in this folder and waits until it is ready. `data_dir`
    /// and `server.listen` are set here.
    pub async fn start(home: &Path, config: toml::Table, log: &Log) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_chatd")), home, config, log).await
    }

    async fn start_program(program: &Path, home: &Path, config: toml::Table, log: &Log) -> Self {
        let place: toml::Table = toml::toml! {
            [server]
            listen = "127.0.0.1:0"
            [log]
            format = "json"
        };
        let mut base = place;
        base.insert("data_dir".into(), home.join("data").display().to_string().into());
        merge(&mut base, config);
        let mut daemon = Self {
            program: program.to_owned(),
            config: base,
            home: home.to_owned(),
            environment: Vec::new(),
            log: log.clone(),
            child: None,
            readers: Vec::new(),
            url: String::new(),
        };
        daemon.launch().await;
        daemon
    }

    /// The address it listens on, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The token that the first start wrote for the first user.
    pub fn token(&self) -> String {
        let path = self.data_dir().join("token");
        let token = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        token.trim().to_owned()
    }

    /// A caller with that token.
    pub fn api(&self) -> Api {
        Api::new(&self.url, Some(&self.token()))
    }

    async fn launch(&mut self) {
        std::fs::create_dir_all(&self.home).expect("make the home of the daemon");
        let file = self.home.join("chatd.toml");
        std::fs::write(&file, self.config.to_string()).expect("write the configuration");
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(&file).current_dir(&self.home).kill_on_drop(true);
        // Nothing of the developer's own machine: keys, configuration, proxies.
        command.env_clear().env("HOME", &self.home);
        command.envs(std::env::vars().filter(|(key, _)| key == "PATH" || key == "RUST_BACKTRACE"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start chatd");
        let (found, mut port) = watch::channel(None);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        self.readers = vec![
            tokio::spawn(read(stdout.expect("stdout is piped"), self.log.clone(), found.clone())),
            tokio::spawn(read(stderr.expect("stderr is piped"), self.log.clone(), found)),
        ];
        let listening = tokio::time::timeout(PATIENCE, port.wait_for(Option::is_some)).await;
        let port = match listening {
            Ok(Ok(port)) => port.expect("waited for it"),
            other => {
                panic!("the daemon did not say where it listens: {:?}\n{}", other.is_err(), self.log.tail())
            }
        };
        self.url = format!("{ADDRESS}{port}");
        self.child = Some(child);
        // A restart must be found where it was, as a deployed one is.
        let address = format!("127.0.0.1:{port}");
        self.config["server"]
            .as_table_mut()
            .expect("set at the start")
            .insert("listen".into(), address.into());
        self.ready().await;
    }

    /// Waits until `/readyz` answers 200.
    async fn ready(&mut self) {
        let api = Api::new(&self.url, None);
        let wait = async {
            let mut tick = tokio::time::interval(POLL);
            loop {
                tick.tick().await;
                let child = self.child.as_mut().expect("just started");
                if let Some(status) = child.try_wait().expect("ask for the state of a child") {
                    return Err(status);
                }
                if api.try_call(reqwest::Method::GET, "//readyz", None).await.is_ok_and(|a| a.status == 200) {
                    return Ok(());
                }
            }
        };
        let result = tokio::time::timeout(PATIENCE, wait).await;
        match result {
            Ok(Ok(())) => {}
            Ok(Err(status)) => {
                panic!("the daemon ended with {status} before it was ready\n{}", self.log.tail())
            }
            Err(_) => panic!("the daemon was not ready within {PATIENCE:?}\n{}", self.log.tail()),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("the daemon runs");
        let pid = child.id().expect("not waited for yet");
        Pid::from_raw(i32::try_from(pid).expect("a process id is an i32"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("signal the daemon");
    }

    /// The configuration it was started with, for commands beside it.
    pub fn config_file(&self) -> PathBuf {
        self.home.join("chatd.toml")
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the daemon runs");
        let Ok(status) = tokio::time::timeout(PATIENCE, child.wait()).await else {
            panic!("the daemon did not end within {PATIENCE:?}\n{}", self.log.tail());
        };
        for reader in self.readers.drain(..) {
            // An agent process that outlives the daemon may hold the pipe; its words are not awaited.
            drop(tokio::time::timeout(POLL, reader).await);
        }
        status.expect("wait for a child")
    }

    /// Kills it as a power cut would.
    pub async fn kill_9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait().await;
    }

    /// Asks it to end, without waiting.
    pub fn sigterm(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Asks it to end and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.sigterm();
        self.wait().await
    }

    /// It has been started and not yet ended by us.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Gives it this variable from its next start on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Merges TOML into the configuration of the next start.
    pub fn configure(&mut self, toml: &str) {
        merge(&mut self.config, toml.parse().unwrap_or_else(|e| panic!("{e}: {toml}")));
    }

    /// Starts it again on the same data and the same address.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "the daemon still runs");
        self.launch().await;
    }
}

async fn read(stream: impl AsyncRead + Unpin, log: Log, port: watch::Sender<Option<u16>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.line(is_error(&line), &line);
        // Only the first address: later lines may name agents or models.
        let listens = line.contains("listening on").then(|| port_of(&line)).flatten();
        port.send_if_modified(|port| {
            let first = port.is_none() && listens.is_some();
            *port = port.or(listens);
            first
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn the_port_is_found_in_any_sentence() {
        assert_eq!(port_of("listening on http://127.0.0.1:40123"), Some(40123));
        assert_eq!(port_of(r#"{"message":"listening on http://127.0.0.1:7777/"}"#), Some(7777));
        assert_eq!(port_of("listening on http://127.0.0.1:0"), None);
        assert_eq!(port_of("nothing here"), None);
    }

    #[test]
    fn errors_are_told_from_talk_about_errors() {
        assert!(is_error(r#"{"level":"ERROR","message":"x"}"#));
        assert!(!is_error(r#"{"level":"INFO","message":"an ERROR was shown"}"#));
        assert!(is_error("2026-06-10T09:00:00Z ERROR chatd: x"));
        assert!(is_error("thread 'main' (12) panicked at src/main.rs:1:1:"));
    }

    /// Answers every request with 200, as a ready daemon does on `/readyz`.
    async fn always_ready() -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = socket.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                socket.write_all(answer).await.unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn a_process_is_found_killed_and_started_again_where_it_was() {
        let port = always_ready().await;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("daemon");
        let script = format!(
            "#!/bin/sh\nmkdir -p data; echo secret >data/token\n\
             echo '{{\"level\":\"ERROR\",\"message\":\"no disk\"}}'\n\
             echo \"listening on http://127.0.0.1:{port}\" >&2\ncp \"$3\" seen.toml; echo \"$1 $2 ${{SECRET-none}}\"\n\
             exec sleep 600\n"
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (home, log) = (folder.path().join("home"), Log::default());
        let config = "[worker]\nlease = '2s'".parse().unwrap();
        let mut daemon = DaemonProcess::start_program(&program, &home, config, &log).await;
        assert_eq!(daemon.url(), format!("http://127.0.0.1:{port}"));
        assert_eq!(daemon.token(), "secret");
        daemon.kill_9().await;
        assert!(!daemon.runs());
        daemon.restart().await;
        let status = daemon.stop().await;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGTERM as i32));
        let seen: toml::Table = std::fs::read_to_string(home.join("seen.toml")).unwrap().parse().unwrap();
        assert_eq!(seen["server"]["listen"].as_str(), Some(format!("127.0.0.1:{port}").as_str()));
        assert_eq!(seen["worker"]["lease"].as_str(), Some("2s"));
        assert_eq!(seen["data_dir"].as_str(), daemon.data_dir().to_str());
        assert!(log.tail().contains("serve --config none"), "{}", log.tail());
        assert_eq!(log.verdict().len(), 2, "one ERROR a start");
    }

    #[test]
    fn tables_are_merged_and_values_replaced() {
        let mut base = "a = 1\n[worker]\nlease = '1s'\nenabled = true".parse().unwrap();
        merge(&mut base, "a = 2\n[worker]\nlease = '2s'".parse().unwrap());
        assert_eq!(base, "a = 2\n[worker]\nlease = '2s'\nenabled = true".parse().unwrap());
    }
}
