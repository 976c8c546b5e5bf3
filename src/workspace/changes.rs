//! What is not committed in the repositories of a workspace: asked of its agent, and what the chats there show of it
//! (api.md §2.9, §3.3). chatd speaks to no git provider, so nothing is known of pull requests.

use super::{
    connection::Dialer,
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
/// Largest answer without diffs.
const MAX_COUNTS: usize = 1 << 20;

/// Looks at the repositories, and keeps with the chat what lists show of them. Without `diffs` the agent counts only.
///
/// # Errors
/// Why there is nothing to be seen; for people.
pub async fn look(
    dialer: &Dialer,
    agent: AgentId,
    chat: ChatId,
    owner: UserId,
    diffs: bool,
) -> Result<GitChanges, String> {
    let began = dialer.clock.now();
    let seen = ask(dialer, agent, diffs).await?;
    if let Err(e) = keep(&dialer.store, owner, chat, began, &seen.repositories).await {
        tracing::warn!(%chat, error = %e, "what a chat shows of its changes was not kept");
    }
    Ok(seen)
}

/// Asks the agent. The way to it is found anew each time: its link may have moved meanwhile.
async fn ask(dialer: &Dialer, agent: AgentId, diffs: bool) -> Result<GitChanges, String> {
    let path = format!("{BASE}git/changes?diff={diffs}");
    let limit = if diffs { MAX_ANSWER } else { MAX_COUNTS };
    let scan = async {
        let client = match dialer.at_hand(agent).await {
            Ok(Some(client)) => client,
            Ok(None) | Err(store::Error::NotFound) => return Err(LOST.to_owned()),
            Err(e) => {
                tracing::warn!(%agent, error = %e, "the way to an agent cannot be found");
                return Err("The database is not available. Try again.".to_owned());
            }
        };
        let answer =
            client.request(hyper::Method::GET, &path, hyper::HeaderMap::new(), bytes::Bytes::new()).await;
        let answer = answer.map_err(|e| e.to_string())?;
        let ok = answer.status().is_success();
        let body = Limited::new(answer.into_body(), limit).collect().await.map_err(|e| e.to_string())?;
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
        status.changed_files += repository.changed_files;
        status.additions += repository.additions;
        status.deletions += repository.deletions;
    }
    let changed = seen.iter().find(|r| r.changed_files > 0).or_else(|| seen.first());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_changed_repository_says_where() {
        let repository = |root: &str, remote: Option<&str>, changed: i64| GitRepository {
            repo_root: root.into(),
            branch: Some(root.into()),
            remote_origin: remote.map(str::to_owned),
            changed_files: 3 * changed,
            additions: 4 * changed,
            deletions: 2 * changed,
            ..GitRepository::default()
        };
        let (status, at) = summary(&[
            repository("a", Some("https://h.example/a.git"), 0),
            repository("b", Some("git@github.com:acme/shop.git"), 1),
            repository("c", None, 1),
        ]);
        assert_eq!((status.changed_files, status.additions, status.deletions), (6, 8, 4));
        assert_eq!(
            (at.provider.as_deref(), at.branch.as_deref(), at.diff),
            (Some("github"), Some("b"), None)
        );
        assert_eq!(status.head_branch.as_deref(), Some("b"));
        let (_, clean) = summary(&[repository("a", Some("https://h.example/a.git"), 0)]);
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
