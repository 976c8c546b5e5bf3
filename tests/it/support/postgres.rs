//! A private PostgreSQL cluster for the tests of one process: unix socket only, no durability.
//!
//! A small shell, the guardian, owns the server. It holds the reading end of a pipe from us; when the
//! pipe closes, however this process ended, it stops the server and removes the directory.
//!
//! `CHATD_TEST_PG` (a `postgres://` URL of a superuser) names a cluster to use instead, for runners that
//! start one process per test.

use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// The oldest server the product supports.
const OLDEST_MAJOR: u32 = 15;

/// `$1` binaries, `$2` directory, `$3` further options of the server. Signals of the terminal are for the tests, not for the guardian:
/// it has to outlive them. Each pg_ctl waits until the server is up or down.
const GUARDIAN: &str = r#"
trap '' INT TERM HUP PIPE
bin=$1 dir=$2 more=$3
fail() { echo "failed: $1"; cat "$dir/log"; rm -rf "$dir"; exit 1; }
"$bin/initdb" -D "$dir/data" -U chatd -A trust --no-sync --locale=C --encoding=UTF8 >"$dir/log" 2>&1 || fail initdb
"$bin/pg_ctl" -D "$dir/data" -w -t 60 -l "$dir/log" -o "-c listen_addresses= \
  -c unix_socket_directories=$dir -c port=5432 -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
  -c max_connections=400 -c shared_buffers=64MB $more" start >>"$dir/log" 2>&1 || fail "pg_ctl start"
echo ready
cat >/dev/null
"$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1
rm -rf "$dir"
"#;

/// A running cluster. Lives until the process ends.
pub struct Cluster {
    /// URL of database `postgres`, over a unix socket.
    pub admin: String,
    /// Closing it is what stops the server; `None` for a cluster that somebody else runs.
    _lifeline: Option<ChildStdin>,
}

/// Path of the server's folder of programs: the newest one installed, at least version 15.
fn server_binaries() -> Result<PathBuf, String> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for root in ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt"] {
        for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
            found.extend(major_version(&entry.path().join("bin")));
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        found.extend(major_version(&folder));
    }
    found.into_iter().filter(|(major, _)| *major >= OLDEST_MAJOR).max().map(|(_, bin)| bin).ok_or_else(|| {
        format!("no PostgreSQL server >= {OLDEST_MAJOR} found; ./scripts/test.sh installs one")
    })
}

/// The major version of the server in this folder, if there is one (`postgres (PostgreSQL) 15.4 …`).
fn major_version(bin: &Path) -> Option<(u32, PathBuf)> {
    if !bin.join("initdb").exists() {
        return None;
    }
    let out = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let number = text.split_whitespace().nth(2)?.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((number.parse().ok()?, bin.to_owned()))
}

/// User and group id of the account `postgres`, for root only: the server refuses to run as root.
fn server_account() -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let account = nix::unistd::User::from_name("postgres").ok().flatten();
    let account = account.expect("we are root and there is no account `postgres` to run the server as");
    Some((account.uid.as_raw(), account.gid.as_raw()))
}

fn start() -> Cluster {
    if let Ok(admin) = std::env::var("CHATD_TEST_PG") {
        return Cluster { admin, _lifeline: None };
    }
    start_with(|_| String::new())
        .unwrap_or_else(|why| panic!("the PostgreSQL test cluster did not start: {why}"))
}

/// Starts a cluster. `prepare` may put files into its directory, which the server will own, and answers with further
/// options of the server.
///
/// # Errors
/// What the server wrote when it did not start.
#[expect(clippy::zombie_processes, reason = "the guardian outlives us: init waits for it")]
pub fn start_with(prepare: impl FnOnce(&Path) -> String) -> Result<Cluster, String> {
    let bin = server_binaries().unwrap_or_else(|why| panic!("{why}"));
    let account = server_account();
    // `/tmp`, not $TMPDIR: the path of a unix socket must be shorter than 108 bytes.
    let dir =
        tempfile::Builder::new().prefix("chatd-pg-").tempdir_in("/tmp").expect("make a directory").keep();
    let options = prepare(&dir);
    let mut guardian = Command::new("sh");
    guardian.args(["-c", GUARDIAN, "guardian"]).arg(&bin).arg(&dir).arg(options);
    guardian.current_dir("/").process_group(0);
    guardian.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some((uid, gid)) = account {
        let files =
            std::fs::read_dir(&dir).expect("list the directory").map(|file| file.expect("a file").path());
        for path in files.chain([dir.clone()]) {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("hand it to the server");
        }
        guardian.uid(uid).gid(gid);
    }
    let mut guardian = guardian.spawn().expect("start a shell");
    let lifeline = guardian.stdin.take();
    let mut said = BufReader::new(guardian.stdout.take().expect("stdout is piped")).lines();
    match said.next() {
        Some(Ok(line)) if line == "ready" => {}
        other => {
            let log: Vec<String> = said.map_while(Result::ok).collect();
            return Err(format!("{other:?}\n{}", log.join("\n")));
        }
    }
    let admin = format!("postgres:///postgres?host={}&port=5432&user=chatd", dir.display());
    Ok(Cluster { admin, _lifeline: lifeline })
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(start)
}

/// The same URL with another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let authority = base.find("://").map_or(0, |at| at + 3);
    let path = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &base[..path])
}

async fn admin(sql: &str) {
    let cluster = tokio::task::spawn_blocking(cluster).await.expect("start the cluster");
    let mut conn = AsyncPgConnection::establish(&cluster.admin).await.expect("connect to the test cluster");
    conn.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// An empty database of one test.
#[derive(Debug, Clone)]
pub struct Database {
    name: String,
    /// `postgres:///NAME?host=DIR&port=5432&user=chatd`.
    pub url: String,
}

impl Database {
    /// Creates an empty database whose name starts with `hint`.
    pub async fn create(hint: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let hint: String = hint
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .collect();
        let tail = &hint[hint.len().saturating_sub(40)..]; // names are cut at 63 bytes
        let name = format!("t{}_{number}_{tail}", std::process::id());
        admin(&format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        Self { url: with_database(&cluster().admin, &name), name }
    }

    /// Ends every connection to it and takes no new one.
    pub async fn shut(&self) {
        admin(&format!("UPDATE pg_database SET datallowconn = false WHERE datname = '{}'", self.name)).await;
        admin(&format!(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'",
            self.name
        ))
        .await;
    }

    /// Takes connections again.
    pub async fn reopen(&self) {
        admin(&format!("UPDATE pg_database SET datallowconn = true WHERE datname = '{}'", self.name)).await;
    }

    /// Drops it, connections or not.
    pub async fn remove(&self) {
        admin(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await;
    }
}

/// Creates an empty database and returns its URL, in a form that tokio-postgres accepts. It is dropped
/// with the cluster; [`Database`] can be dropped earlier.
pub async fn create_database(name: &str) -> String {
    Database::create(name).await.url
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::{QueryableByName, sql_query, sql_types::Text};
    use diesel_async::RunQueryDsl as _;

    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        name: String,
    }

    #[tokio::test]
    async fn two_databases_are_two_worlds() {
        let one = Database::create("one").await;
        let two = create_database("Ünusual name::two").await;
        let mut a = AsyncPgConnection::establish(&one.url).await.unwrap();
        let mut b = AsyncPgConnection::establish(&two).await.unwrap();
        a.batch_execute("CREATE TABLE t (x int)").await.unwrap();
        b.batch_execute("CREATE TABLE t (x int)").await.unwrap();
        let seen: Name =
            sql_query("SELECT current_database()::text AS name").get_result(&mut a).await.unwrap();
        assert_eq!(seen.name, one.name);
        one.remove().await; // although `a` is still connected
        assert!(AsyncPgConnection::establish(&one.url).await.is_err());
    }

    #[test]
    fn the_database_of_a_url_is_replaced() {
        let url = "postgres:///postgres?host=/tmp/x&port=5432&user=chatd";
        assert_eq!(with_database(url, "new"), "postgres:///new?host=/tmp/x&port=5432&user=chatd");
        assert_eq!(with_database("postgres://u:p@h:5/old", "new"), "postgres://u:p@h:5/new");
        assert_eq!(with_database("postgres://u@h", "new"), "postgres://u@h/new");
    }

    /// Run by [`the_cluster_dies_with_its_process`] in a process of its own.
    #[tokio::test]
    async fn print_where_the_cluster_lies() {
        println!("cluster={}", create_database("probe").await);
    }

    #[test]
    fn the_cluster_dies_with_its_process() {
        if std::env::var_os("CHATD_TEST_PG").is_some() {
            return; // somebody else's cluster is theirs to stop
        }
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "support::postgres::tests::print_where_the_cluster_lies"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let dir = text.split("host=").nth(1).and_then(|rest| rest.split('&').next());
        let dir = PathBuf::from(dir.unwrap_or_else(|| panic!("{text}")));
        assert!(dir.starts_with("/tmp"), "{text}");
        super::super::wait_until_blocking("the guardian removed the directory", || !dir.exists());
    }
}
