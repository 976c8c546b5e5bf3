//! System texts that are resolved anew for each turn and stand behind the stored ones
//! (agent-loop.md §5.3).

/// The user's own prompt as a system text (block 5), or nothing when it is blank.
#[must_use]
pub fn user_instructions(prompt: &str) -> Option<String> {
    let prompt = prompt.trim();
    (!prompt.is_empty()).then(|| format!("<user-instructions>\n{prompt}\n</user-instructions>"))
}

/// Where the chat's tools work (block 3).
#[must_use]
pub fn workspace_context(folder: &std::path::Path) -> String {
    format!(
        "<workspace-context>\nOperating System: {}\nWorking Directory: {}\n</workspace-context>",
        std::env::consts::OS,
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_trimmed_or_absent() {
        assert_eq!(
            user_instructions("  be brief\n").as_deref(),
            Some("<user-instructions>\nbe brief\n</user-instructions>")
        );
        assert_eq!(user_instructions(" \n"), None);
    }
}
