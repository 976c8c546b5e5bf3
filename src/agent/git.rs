//! `GET git/changes`: what is not committed in the repositories of the agent's folder, for people to
//! look at (api.md §4.9); with `diff=false` only how much that is.
//!
//! A repository may come from anybody, and its configuration can name programs: hooks, pager, external
//! diff, text conversion and file system monitor are not run here, and nothing is written to it. (The
//! filters that its attributes name do run, as for every git command; the agent's rights are the fence.)

use super::{
    answer::{Answer, Query, Refusal},
    settings::Settings,
};
use crate::{
    clock::Clock,
    workspace::{
        group::{Group, drain},
        wire::{GitChanges, GitRepository},
    },
};
use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// Time for one command.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a diff that are kept.
const MAX_DIFF: usize = 1 << 20;
/// Most repositories.
const MAX_REPOSITORIES: usize = 20;
/// Folders below the agent's that are looked through, in depth and number.
const MAX_DEPTH: usize = 3;
/// See [`MAX_DEPTH`].
const MAX_FOLDERS: usize = 2000;

/// Settings that stand above those of a repository.
const OVERRIDES: [&str; 8] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.quotePath=false",
    "color.ui=false",
    "diff.external=",
    "diff.submodule=short",
    "gc.auto=0",
];

/// All repositories of the agent's folder, or of the folder that `path` names.
pub async fn changes(settings: &Settings, clock: &Clock, query: &Query) -> Result<Answer, Refusal> {
    query.only(&["path", "diff"])?;
    let diffs = query.get("diff") != Some("false");
    let folder = match query.get("path").filter(|path| !path.is_empty()) {
        Some(path) if !Path::new(path).is_absolute() => {
            return Err(Refusal::field("path", "must be absolute"));
        }
        Some(path) => PathBuf::from(path),
        None => settings.directory.clone(),
    };
    let mut roots = BTreeSet::new();
    match git(settings, &folder, &["rev-parse", "--show-toplevel"], None).await {
        Ok(output) => {
            roots.insert(PathBuf::from(output.text().trim_end_matches('\n')));
        }
        Err(Failed::NoGit(error)) => {
            let message = format!("git cannot be run here: {error}; install it to see changes");
            return Err(Refusal::new(hyper::StatusCode::FAILED_DEPENDENCY, message));
        }
        // It is in no repository; there may be some in it.
        Err(_) => {
            let found = tokio::task::spawn_blocking(move || below(&folder)).await;
            roots.extend(found.unwrap_or_default());
        }
    }
    let mut repositories = Vec::new();
    for root in roots.into_iter().take(MAX_REPOSITORIES) {
        repositories.push(repository(settings, &root, diffs).await);
    }
    Ok(Answer::ok(&GitChanges { scanned_at: clock.now(), repositories }))
}

/// Folders with a repository below this one, none within another.
fn below(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut seen) = (Vec::new(), 0);
    let mut rest = VecDeque::from([(folder.to_owned(), 0)]);
    while let Some((folder, depth)) = rest.pop_front() {
        seen += 1;
        if seen > MAX_FOLDERS || found.len() == MAX_REPOSITORIES {
            break;
        }
        if folder.join(".git").exists() {
            found.push(folder);
            continue;
        }
        if depth == MAX_DEPTH {
            continue;
        }
        // What cannot be read has no repositories for us.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        // The entry's own type: links are not followed.
        let dirs = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut dirs: Vec<PathBuf> = dirs
            .filter(|entry| entry.file_name() != "node_modules")
            .map(|entry| entry.path())
            .take(MAX_FOLDERS)
            .collect();
        dirs.sort();
        rest.extend(dirs.into_iter().map(|dir| (dir, depth + 1)));
    }
    found
}

async fn repository(settings: &Settings, root: &Path, diffs: bool) -> GitRepository {
    let line = async |args: &[&str]| {
        let output = git(settings, root, args, None).await.ok()?;
        let text = output.text().trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let mut repository = GitRepository {
        repo_root: root.to_string_lossy().into_owned(),
        branch: line(&["symbolic-ref", "--quiet", "--short", "HEAD"]).await,
        remote_origin: line(&["remote", "get-url", "origin"]).await.map(|url| without_credentials(&url)),
        ..GitRepository::default()
    };
    match diff(settings, root, diffs).await {
        Ok(output) => {
            let text = output.text();
            let (counts, patch) = text.split_once('\n').unwrap_or((&text, ""));
            (repository.changed_files, repository.additions, repository.deletions) = counted(counts);
            patch.strip_prefix('\n').unwrap_or(patch).clone_into(&mut repository.unified_diff);
            repository.truncated = output.cut;
        }
        Err(error) => repository.error = Some(error.to_string()),
    }
    repository
}

/// Files, added and removed lines, as git counts them: ` 3 files changed, 4 insertions(+), 1 deletion(-)`.
fn counted(line: &str) -> (i64, i64, i64) {
    let of = |what: &str| {
        let part = line.split(", ").find(|part| part.contains(what));
        part.and_then(|part| part.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
    };
    (of(" file"), of("(+)"), of("(-)"))
}

/// How much is not as in the last commit, in one line, and, where the diff itself is wanted, that behind an empty one. New files
/// are among it. They are entered, without their content, into a copy of the index, which is what the diff then goes by.
async fn diff(settings: &Settings, root: &Path, wanted: bool) -> Result<Output, Failed> {
    let head = git(settings, root, &["rev-parse", "--verify", "--quiet", "HEAD"], None).await;
    let base = match head {
        Ok(commit) => commit.text(),
        // No commit yet: everything is new against nothing.
        Err(Failed::Status(_)) => {
            git(settings, root, &["hash-object", "-t", "tree", "/dev/null"], None).await?.text()
        }
        Err(error) => return Err(error),
    };
    let index = git(settings, root, &["rev-parse", "--git-path", "index"], None).await?.text();
    let index = root.join(index.trim_end_matches('\n'));
    let copy = std::env::temp_dir().join(format!("chatd-index-{}", super::answer::fresh_id()));
    let copy = Temporary(copy);
    let to = copy.0.clone();
    let copied = tokio::task::spawn_blocking(move || copy_index(&index, &to)).await;
    match copied.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(Failed::Io(e)),
    }
    git(settings, root, &["add", "--intent-to-add", "--all", "--ignore-errors", "."], Some(&copy.0)).await?;
    let mut args = vec!["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--shortstat"];
    if wanted {
        args.extend(["--patch", "--unified=3"]);
    }
    args.extend([base.trim(), "--"]);
    git(settings, root, &args, Some(&copy.0)).await
}

/// Copies an index with its time. By that git tells which files were changed within the second in which the index was
/// written, and looks into those: with a younger copy it would miss such a change if the file has kept its size.
fn copy_index(from: &Path, to: &Path) -> std::io::Result<()> {
    let written = fs::metadata(from)?.modified()?;
    fs::copy(from, to)?;
    fs::File::open(to)?.set_modified(written)
}

/// A file that goes with its owner.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may never have been made.
        drop(fs::remove_file(&self.0));
    }
}

/// What git wrote.
struct Output {
    bytes: Vec<u8>,
    cut: bool,
}

impl Output {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("git cannot be run: {0}")]
    NoGit(std::io::Error),
    #[error("{0}")]
    Io(std::io::Error),
    #[error("git says: {0}")]
    Status(String),
    #[error("git took longer than {TIMEOUT:?}")]
    Timeout,
}

async fn git(
    settings: &Settings,
    root: &Path,
    args: &[&str],
    index: Option<&Path>,
) -> Result<Output, Failed> {
    let mut command = Command::new("git");
    command.arg("--no-optional-locks").arg("-C").arg(root);
    for setting in OVERRIDES {
        command.arg("-c").arg(setting);
    }
    command.args(args).current_dir("/").env_clear().envs(&settings.environment);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF", "GIT_TRACE"] {
        command.env_remove(variable);
    }
    command
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_PAGER", "cat")
        .env("LC_ALL", "C");
    if let Some(index) = index {
        command.env("GIT_INDEX_FILE", index);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(&mut command).map_err(Failed::NoGit)?;
    let pipes = group.child().and_then(|child| Some((child.stdout.take()?, child.stderr.take()?)));
    let Some((mut output, mut errors)) = pipes else {
        return Err(Failed::NoGit(std::io::Error::other("it has no pipes")));
    };
    let (mut bytes, mut said) = (Vec::new(), Vec::new());
    let ended = timeout(TIMEOUT, async {
        // Both to their ends, keeping what fits: a full pipe would stop it.
        let (read, errors_read) = tokio::join!(
            drain(&mut output, |piece| keep(&mut bytes, piece, MAX_DIFF + 1)),
            drain(&mut errors, |piece| keep(&mut said, piece, 1024)),
        );
        read.and(errors_read)?;
        group.wait().await
    })
    .await;
    group.end().await;
    let status = ended.map_err(|_| Failed::Timeout)?.map_err(Failed::Io)?;
    if !status.success() {
        return Err(Failed::Status(String::from_utf8_lossy(&said).trim().to_owned()));
    }
    let cut = bytes.len() > MAX_DIFF;
    if cut {
        bytes.truncate(MAX_DIFF);
        // To the last whole line.
        let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(end);
    }
    Ok(Output { bytes, cut })
}

fn keep(kept: &mut Vec<u8>, piece: &[u8], max: usize) {
    kept.extend_from_slice(&piece[..piece.len().min(max - kept.len())]);
}

/// An address without user and password, which stay with the repository.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_counts_is_read() {
        for (line, counts) in [
            ("", (0, 0, 0)),
            (" 1 file changed, 1 insertion(+)", (1, 1, 0)),
            (" 12 files changed, 3 deletions(-)", (12, 0, 3)),
            (" 2 files changed, 400000 insertions(+), 1 deletion(-)", (2, 400_000, 1)),
            (" 1 file changed, 0 insertions(+), 0 deletions(-)", (1, 0, 0)),
        ] {
            assert_eq!(counted(line), counts, "{line}");
        }
    }

    #[test]
    fn credentials_stay() {
        for (url, shown) in [
            ("https://me:secret@h.example/r.git", "https://h.example/r.git"),
            ("https://token@h:1/r@v", "https://h:1/r@v"),
            ("https://h/r@v", "https://h/r@v"),
            ("https://a:b@c@h", "https://h"),
            ("git@h:r.git", "git@h:r.git"),
            ("/srv/r.git", "/srv/r.git"),
        ] {
            assert_eq!(without_credentials(url), shown, "{url}");
        }
    }
}
