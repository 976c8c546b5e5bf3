//! Where the plan of a chat lies, and places that a plan must not be written to (tools.md §2): chats that share a workspace would
//! overwrite each other's.

/// The place that earlier versions used.
const LEGACY: &str = "/home/coder/PLAN.md";
/// Below the home directory, one file a chat.
const FOLDER: &str = ".coder/plans";

/// Where the plan of a chat lies.
#[must_use]
pub fn path(home: &str, chat: &str) -> String {
    format!("{}/{FOLDER}/PLAN-{chat}.md", home.trim_end_matches('/'))
}

/// Whether a file has the name of a plan that all chats share.
#[must_use]
pub fn is_named_so(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("plan.md"))
}

/// Whether a path is a place that all chats share. `homes`: the home directory, and where that leads.
#[must_use]
pub fn is_shared(path: &str, homes: [&str; 2]) -> bool {
    let path = clean(path);
    let in_home = |(folder, _): (&str, &str)| homes.iter().any(|home| folder == home.trim_end_matches('/'));
    is_named_so(&path) && (path.eq_ignore_ascii_case(LEGACY) || path.rsplit_once('/').is_some_and(in_home))
}

/// The path without `.`, `..` and doubled slashes.
#[must_use]
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, cleaned) in [
            ("/home/a/PLAN.md", "/home/a/PLAN.md"),
            ("/home//a/./b/../PLAN.md", "/home/a/PLAN.md"),
            ("/../..", "/"),
        ] {
            assert_eq!(clean(path), cleaned);
        }
    }

    #[test]
    fn shared_places_are_known() {
        for (path, shared) in [
            ("/home/a/PLAN.md", true),
            ("/home/a//x/../plan.MD", true),
            ("/real/a/Plan.md", true),
            ("/home/coder/plan.md", true),
            ("/home/a/b/PLAN.md", false),
            ("/home/PLAN.md", false),
            ("/home/a/plan.txt", false),
        ] {
            assert_eq!(is_shared(path, ["/home/a/", "/real/a"]), shared, "{path}");
        }
    }
}
