//! The search terms of a list (api.md §2.4): `key:value`, quotes allowed, AND between terms.

use super::problem::{Problem, Result};
use crate::{
    chat::state::Status,
    store::{
        records::{DiffFilter, DiffStates},
        words,
    },
};

/// What `q` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Archived ones instead of the others.
    pub archived: bool,
    /// Substring of the title.
    pub title: Option<String>,
    /// Status.
    pub status: Option<Status>,
    /// Only unread, or only read ones.
    pub has_unread: Option<bool>,
    /// Chats of others that are shared with the caller.
    pub shared_with_me: bool,
    /// Words of one of its messages; none when all that was asked for says nothing.
    pub words: Option<Vec<String>>,
    /// What is asked of its changes to code.
    pub diff: DiffFilter,
}

/// Keys that look at a title, beside which `search` cannot stand.
const TITLES: [&str; 3] = ["title", "pr", "pr_title"];

/// Reads the terms.
///
/// # Errors
/// 400 that names the key, or `q`.
pub fn parse(text: &str) -> Result<Search> {
    let mut search = Search::default();
    let mut seen = Vec::new();
    for term in terms(text)? {
        let Some((key, value)) = term.split_once(':') else {
            return Err(Problem::field("q", format!("{:?} must be written as key:value.", clip(&term))));
        };
        let key = key.trim().to_ascii_lowercase();
        if seen.contains(&key) {
            return Err(Problem::field(key.clone(), format!("{} is given more than once.", clip(&key))));
        }
        match key.as_str() {
            "archived" => search.archived = boolean(&key, value)?,
            "has_unread" => search.has_unread = Some(boolean(&key, value)?),
            "title" => search.title = Some(some(&key, value)?),
            "search" => search.words = Some(words::asked(&some(&key, value)?)),
            "pr_status" => search.diff.states = Some(states(value)?),
            "diff_url" => search.diff.url = Some(some(&key, value)?),
            "pr" => {
                let number = value.trim_start_matches('#').parse().ok().filter(|n: &i64| *n > 0);
                let rule = "pr must be the number of a pull request.";
                search.diff.number = Some(number.ok_or_else(|| Problem::field("pr", rule))?);
            }
            "repo" => search.diff.repository = Some(repository(value)?),
            "pr_title" => search.diff.title = Some(some(&key, value)?),
            "status" => {
                let status = Status::ALL.into_iter().find(|s| s.as_str() == value);
                search.status = Some(status.ok_or_else(|| {
                    let all = Status::ALL.map(Status::as_str).join(", ");
                    Problem::field("status", format!("status must be one of {all}."))
                })?);
            }
            "source" => {
                search.shared_with_me = match value {
                    "created_by_me" => false,
                    "shared_with_me" => true,
                    _ => {
                        let rule = "source must be created_by_me or shared_with_me.";
                        return Err(Problem::field("source", rule));
                    }
                };
            }
            unknown => {
                let unknown = clip(unknown);
                return Err(Problem::field(unknown.clone(), format!("There is no search key {unknown:?}.")));
            }
        }
        seen.push(key);
    }
    let beside = seen.iter().find(|key| TITLES.contains(&key.as_str()));
    if let (Some(_), Some(key)) = (&search.words, beside) {
        return Err(Problem::field("search", format!("search cannot be used together with {key}.")));
    }
    Ok(search)
}

/// A text that is not empty.
fn some(key: &str, value: &str) -> Result<String> {
    // PostgreSQL has no text with a NUL character in it.
    if value.trim().is_empty() || value.contains('\0') {
        return Err(Problem::field(key, format!("{key} must be a text to look for.")));
    }
    Ok(value.to_owned())
}

fn states(value: &str) -> Result<DiffStates> {
    let mut states = DiffStates::default();
    for state in value.split(',') {
        match state.trim() {
            "draft" => states.draft = true,
            "open" => states.open = true,
            "merged" => states.merged = true,
            "closed" => states.closed = true,
            "none" => states.none = true,
            _ => {
                let rule =
                    "pr_status must be a list of draft, open, merged, closed, none, with commas between.";
                return Err(Problem::field("pr_status", rule));
            }
        }
    }
    Ok(states)
}

fn repository(value: &str) -> Result<String> {
    match value.split_once('/') {
        Some((owner, name))
            if !owner.is_empty() && !name.is_empty() && !name.contains('/') && !value.contains('\0') =>
        {
            Ok(value.to_owned())
        }
        _ => Err(Problem::field("repo", "repo must be written as owner/name.")),
    }
}

/// Splits at spaces outside of quotes; the quotes go.
fn terms(text: &str) -> Result<Vec<String>> {
    let (mut all, mut term, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            '"' => (quoted, begun) = (!quoted, true),
            c if c.is_whitespace() && !quoted => {
                if begun {
                    all.push(std::mem::take(&mut term));
                }
                begun = false;
            }
            c => {
                term.push(c);
                begun = true;
            }
        }
    }
    if quoted {
        return Err(Problem::field("q", "A quote is not closed."));
    }
    if begun {
        all.push(term);
    }
    Ok(all)
}

fn boolean(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::field(key, format!("{key} must be true or false."))),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_joined_by_and() {
        assert_eq!(parse("").unwrap(), Search::default());
        let s = parse(r#" archived:true  title:"fix the: bug" status:error has_unread:false "#).unwrap();
        assert_eq!(
            s,
            Search {
                archived: true,
                title: Some("fix the: bug".into()),
                status: Some(Status::Error),
                has_unread: Some(false),
                ..Search::default()
            }
        );
        assert!(parse("source:shared_with_me").unwrap().shared_with_me);
        assert_eq!(parse(r#""title:a b""#).unwrap().title.as_deref(), Some("a b"));
        let s =
            parse(r#"pr_status:draft,open diff_url:https://h/a/b/pull/7 pr:#7 repo:a/b pr_title:"add x""#)
                .unwrap();
        assert_eq!(s.diff.states, Some(DiffStates { draft: true, open: true, ..DiffStates::default() }));
        assert_eq!((s.diff.url.as_deref(), s.diff.number), (Some("https://h/a/b/pull/7"), Some(7)));
        assert_eq!((s.diff.repository.as_deref(), s.diff.title.as_deref()), (Some("a/b"), Some("add x")));
        let words = parse(r#"search:"the login Test" archived:true"#).unwrap().words;
        assert_eq!(words, Some(vec!["login".to_owned(), "test".to_owned()]));
        assert_eq!(parse("search:the").unwrap().words, Some(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (q, field) in [
            ("hello", "\"q\""),
            ("\"\"", "\"q\""),
            ("title:\"x", "\"q\""),
            ("archived:yes", "\"archived\""),
            ("has_unread:", "\"has_unread\""),
            ("status:paused", "\"status\""),
            ("source:x", "\"source\""),
            ("colour:red", "\"colour\""),
            ("pr:x", "\"pr\""),
            ("pr:0", "\"pr\""),
            ("pr_status:", "\"pr_status\""),
            ("pr_status:open,shut", "\"pr_status\""),
            ("repo:x", "\"repo\""),
            ("repo:a/b/c", "\"repo\""),
            ("diff_url:", "\"diff_url\""),
            ("pr_title:\"\"", "\"pr_title\""),
            ("search:", "\"search\""),
            ("search:\" \"", "\"search\""),
            ("search:x title:y", "\"search\""),
            ("pr:1 search:x", "\"search\""),
            ("search:x pr_title:y", "\"search\""),
            ("title:", "\"title\""),
            ("archived:true archived:false", "\"archived\""),
        ] {
            let problem = format!("{:?}", parse(q).unwrap_err());
            assert!(problem.contains(&format!("field: {field}")), "{q}: {problem}");
        }
    }
}
