//! The search terms of a list (api.md §2.4): `key:value`, quotes allowed, AND between terms.

use super::problem::{Problem, Result};
use crate::chat::state::Status;

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
    /// Chats of others that are shared with the caller. Nothing can be shared on this server yet.
    pub shared_with_me: bool,
}

/// Documented keys that need something this server does not have yet.
const LATER: [&str; 6] = ["pr_status", "diff_url", "pr", "repo", "pr_title", "search"];

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
            "title" if value.is_empty() || value.contains('\0') => {
                return Err(Problem::field(key, "title must be a text to look for."));
            }
            "title" => search.title = Some(value.to_owned()),
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
            later if LATER.contains(&later) => {
                return Err(Problem::field(later, format!("{later} is not available on this server yet.")));
            }
            unknown => {
                let unknown = clip(unknown);
                return Err(Problem::field(unknown.clone(), format!("There is no search key {unknown:?}.")));
            }
        }
        seen.push(key);
    }
    Ok(search)
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
                shared_with_me: false,
            }
        );
        assert!(parse("source:shared_with_me").unwrap().shared_with_me);
        assert_eq!(parse(r#""title:a b""#).unwrap().title.as_deref(), Some("a b"));
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
            ("pr:5", "\"pr\""),
            ("search:x", "\"search\""),
            ("title:", "\"title\""),
            ("archived:true archived:false", "\"archived\""),
        ] {
            let problem = format!("{:?}", parse(q).unwrap_err());
            assert!(problem.contains(&format!("field: {field}")), "{q}: {problem}");
        }
    }
}
