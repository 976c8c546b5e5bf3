//! What is not committed in the repositories of a workspace: asked of its agent, and what the chats there show of it
//! (api.md §2.9, §3.3). chatd speaks to no git provider, so nothing is known of pull requests.

use super::{
    connection::Dialer,
    link::full,
    wire::{BASE, GitChanges, GitRepository},
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, ChatId, UserId},
    store::{
        self, Store,
        records::{DiffRecord, DiffReference},
    },
};
use http_body_util::{BodyExt as _, Limited};
use std::time::Duration;
use tokio::time::timeout;

/// How long a look at the repositories may take: the agent ends each of its commands after 20 s.
const SCAN_TIMEOUT: Duration = Duration::from_secs(60);
/// What is said where an agent was there by its row, and is not.
pub const LOST: &str = "Its link was lost just now; it makes another by itself. Try again in a moment.";
/// Largest answer of an agent: the diffs of twenty repositories of 1 MiB each, escaped.
const MAX_ANSWER: usize = 64 << 20;

/// Looks at the repositories, and keeps with the chat what lists show of them.
///
/// # Errors
/// Why there is nothing to be seen; for people.
pub async fn look(
    dialer: &Dialer,
    agent: AgentId,
    chat: ChatId,
    owner: UserId,
) -> Result<GitChanges, String> {
    let began = dialer.clock.now();
    let seen = ask(dialer, agent).await?;
    if let Err(e) = keep(&dialer.store, owner, chat, began, &seen.repositories).await {
        tracing::warn!(%chat, error = %e, "what a chat shows of its changes was not kept");
    }
    Ok(seen)
}

/// Asks the agent. The way to it is found anew each time: its link may have moved meanwhile.
async fn ask(dialer: &Dialer, agent: AgentId) -> Result<GitChanges, String> {
    let scan = async {
        let client = match dialer.at_hand(agent).await {
            Ok(Some(client)) => client,
            Ok(None) | Err(store::Error::NotFound) => return Err(LOST.to_owned()),
            Err(e) => {
                tracing::warn!(%agent, error = %e, "the way to an agent cannot be found");
                return Err("The database is not available. Try again.".to_owned());
            }
        };
        let answer = client
            .request(hyper::Method::GET, &format!("{BASE}git/changes"), hyper::HeaderMap::new(), full(""))
            .await;
        let answer = answer.map_err(|e| e.to_string())?;
        let ok = answer.status().is_success();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|e| e.to_string())?;
        match ok {
            true => serde_json::from_slice(&body.to_bytes()).map_err(|e| e.to_string()),
            false => Err("The agent could not look at the repositories.".to_owned()),
        }
    };
    timeout(SCAN_TIMEOUT, scan).await.unwrap_or_else(|_| Err("The agent takes too long.".to_owned()))
}

/// Announced only if it is something else than what was known.
async fn keep(
    store: &Store,
    owner: UserId,
    chat: ChatId,
    began: Timestamp,
    seen: &[GitRepository],
) -> store::Result<()> {
    let known = store.diff_status(chat).await?.unwrap_or_default();
    let first = known.refreshed_at.is_none();
    // Two looks may end in another order than they began. A pull request that is known says more than a folder.
    if known.refreshed_at.is_some_and(|at| at >= began) || known.url.is_some() || (first && seen.is_empty()) {
        return Ok(());
    }
    let (status, at) = summary(seen);
    let same = status == (DiffRecord { refreshed_at: None, ..known });
    if same && at == store.diff_reference(chat).await? {
        return Ok(());
    }
    store.set_diff_status(owner, chat, DiffRecord { refreshed_at: Some(began), ..status }, at).await
}

/// The figures of all repositories, and where the first one lies that was changed. Without a token for its provider a
/// chat has no diff (api.md §2.9); people see it on `stream/git`.
fn summary(seen: &[GitRepository]) -> (DiffRecord, DiffReference) {
    let mut status = DiffRecord::default();
    for repository in seen {
        let Counts { files, added, removed } = counts(&repository.unified_diff);
        status.changed_files += files;
        status.additions += added;
        status.deletions += removed;
    }
    let changed = seen.iter().find(|r| !r.unified_diff.is_empty()).or_else(|| seen.first());
    let Some(GitRepository { branch, remote_origin, .. }) = changed else {
        return (status, DiffReference::default());
    };
    status.head_branch.clone_from(branch);
    let at = DiffReference {
        provider: remote_origin.as_deref().and_then(provider).map(str::to_owned),
        remote_origin: remote_origin.clone(),
        branch: branch.clone(),
        ..DiffReference::default()
    };
    (status, at)
}

/// The kind of provider behind the address of a remote, for those that are known by their names.
fn provider(remote: &str) -> Option<&'static str> {
    let rest = remote.split_once("://").map_or(remote, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    match host.rsplit('@').next().unwrap_or_default() {
        "github.com" | "ssh.github.com" => Some("github"),
        "gitlab.com" | "altssh.gitlab.com" => Some("gitlab"),
        "bitbucket.org" | "altssh.bitbucket.org" => Some("bitbucket"),
        _ => None,
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    files: i64,
    added: i64,
    removed: i64,
}

/// What a unified diff changes. The lengths of its hunks tell its own lines from those of files, which may look the same.
fn counts(diff: &str) -> Counts {
    let mut counts = Counts::default();
    let (mut old, mut new) = (0_u64, 0_u64);
    for line in diff.lines() {
        if old == 0 && new == 0 {
            if line.starts_with("diff --git ") {
                counts.files += 1;
            } else if let Some(lengths) = line.strip_prefix("@@ ").and_then(hunk) {
                (old, new) = lengths;
            }
            continue;
        }
        match line.as_bytes().first() {
            Some(b'+') => {
                counts.added += 1;
                new = new.saturating_sub(1);
            }
            Some(b'-') => {
                counts.removed += 1;
                old = old.saturating_sub(1);
            }
            // "\ No newline at end of file"
            Some(b'\\') => {}
            _ => (old, new) = (old.saturating_sub(1), new.saturating_sub(1)),
        }
    }
    counts
}

/// The numbers of old and new lines in `-1,4 +1,6 @@ …`.
fn hunk(header: &str) -> Option<(u64, u64)> {
    let mut sides = header.split(' ');
    let mut length = |sign| {
        let side = sides.next()?.strip_prefix(sign)?;
        side.split_once(',').map_or(Some(1), |(_, length)| length.parse().ok())
    };
    Some((length('-')?, length('+')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@ fn f()\n a\n--- old\n\
                        +++ new\n c\n@@ -9 +9,2 @@\n-z\n+y\n+z\n\\ No newline at end of file\ndiff --git a/n b/n\nnew file \
                        mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+diff --git a/q b/q\ndiff --git a/b b/b\n\
                        Binary files a/b and b/b differ\n";

    #[test]
    fn lines_and_files_of_a_diff_are_counted() {
        assert_eq!(counts(DIFF), Counts { files: 3, added: 4, removed: 2 });
        assert_eq!(counts(""), Counts::default());
        // Cut anywhere, and nonsense, it counts what there is.
        for (end, _) in DIFF.char_indices() {
            counts(&DIFF[..end]);
        }
        assert_eq!(
            counts("@@ -1,x +2 @@\n+a\n@@\n@@ -1,99999999999999999999 +1 @@\n+b\n"),
            Counts::default()
        );
    }

    #[test]
    fn the_first_changed_repository_says_where() {
        let repository = |root: &str, remote: Option<&str>, diff: &str| GitRepository {
            repo_root: root.into(),
            branch: Some(root.into()),
            remote_origin: remote.map(str::to_owned),
            unified_diff: diff.into(),
            ..GitRepository::default()
        };
        let (status, at) = summary(&[
            repository("a", Some("https://h.example/a.git"), ""),
            repository("b", Some("git@github.com:acme/shop.git"), DIFF),
            repository("c", None, DIFF),
        ]);
        assert_eq!((status.changed_files, status.additions, status.deletions), (6, 8, 4));
        assert_eq!(
            (at.provider.as_deref(), at.branch.as_deref(), at.diff),
            (Some("github"), Some("b"), None)
        );
        assert_eq!(status.head_branch.as_deref(), Some("b"));
        let (_, clean) = summary(&[repository("a", Some("https://h.example/a.git"), "")]);
        assert_eq!((clean.provider, clean.branch.as_deref()), (None, Some("a")));
        assert_eq!(summary(&[]), (DiffRecord::default(), DiffReference::default()));
    }

    #[test]
    fn providers_are_known_by_their_hosts() {
        for (remote, expected) in [
            ("git@github.com:a/b.git", Some("github")),
            ("https://gitlab.com/a/b", Some("gitlab")),
            ("ssh://git@bitbucket.org:22/a/b", Some("bitbucket")),
            ("https://github.com.evil.example/a", None),
            ("/srv/git/x", None),
            ("", None),
        ] {
            assert_eq!(provider(remote), expected, "{remote}");
        }
    }
}
