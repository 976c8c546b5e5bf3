//! What an agent was started with: its folder, and what its environment says about the project's
//! context (tools.md §15.5).

use crate::workspace::{
    marked::ENV_RUN,
    wire::{ENV_TOKEN, LinkQuery},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Beginnings of the names under which a variable of the agent is found: ours, and those that
/// templates made for this program's ancestor set.
const PREFIXES: [&str; 3] = ["CHATD_AGENT_", "CHATD_AGENT_EXP_", "CODER_AGENT_EXP_"];
/// Commands must not get them: they are the agent's own.
const OWN: [&str; 2] = ["CHATD_AGENT_", "CODER_AGENT_"];

/// The settings of an agent.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name given on the command line; may be empty.
    pub name: String,
    /// Where commands run; an absolute path.
    pub directory: PathBuf,
    /// Value of [`ENV_RUN`], which no other agent has.
    pub run: String,
    /// The home directory of its user.
    pub home: PathBuf,
    /// Environment of every command: the agent's own, without what is the agent's alone.
    pub environment: BTreeMap<OsString, OsString>,
    /// Folders with a file of instructions.
    pub instructions_dirs: Vec<String>,
    /// Name of that file, compared without letter case.
    pub instructions_file: String,
    /// Folders with skills.
    pub skills_dirs: Vec<String>,
    /// Name of the file that describes a skill.
    pub skill_meta_file: String,
    /// Files that name tool servers.
    pub mcp_config_files: Vec<String>,
}

impl Settings {
    /// The settings of an agent in `directory` with these variables of its environment.
    #[must_use]
    pub fn new(
        name: String,
        directory: PathBuf,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let all: BTreeMap<OsString, OsString> = environment.into_iter().collect();
        let text = |name: &str, default: &str| {
            let found = PREFIXES.iter().find_map(|prefix| {
                let value = all.get(&OsString::from(format!("{prefix}{name}")))?.to_str()?.trim();
                (!value.is_empty()).then(|| value.to_owned())
            });
            found.unwrap_or_else(|| default.to_owned())
        };
        let list = |name: &str, default: &str| -> Vec<String> {
            let value = text(name, default);
            value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        let home = all.get(&OsString::from("HOME")).filter(|home| Path::new(home).is_absolute());
        let mut commands: BTreeMap<_, _> =
            all.iter().filter(|(name, _)| !is_own(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        let run = super::answer::fresh_id();
        commands.insert(ENV_RUN.into(), run.clone().into());
        Self {
            name,
            run,
            home: home.map_or_else(|| directory.clone(), PathBuf::from),
            directory,
            instructions_dirs: list("INSTRUCTIONS_DIRS", "~/.chatd"),
            instructions_file: text("INSTRUCTIONS_FILE", "AGENTS.md"),
            skills_dirs: list("SKILLS_DIRS", ".agents/skills,~/.chatd/skills"),
            skill_meta_file: text("SKILL_META_FILE", "SKILL.md"),
            mcp_config_files: list("MCP_CONFIG_FILES", ".mcp.json"),
            environment: commands,
        }
    }

    /// The same with a mark that whoever has started the agent knows. No other agent may have it.
    #[must_use]
    pub fn marked(mut self, run: String) -> Self {
        self.environment.insert(ENV_RUN.into(), run.clone().into());
        self.run = run;
        self
    }

    /// The place a configured path means: `~` is home, anything relative lies in the agent's folder.
    #[must_use]
    pub fn place(&self, path: &str) -> PathBuf {
        match path.strip_prefix('~') {
            Some("") => self.home.clone(),
            Some(rest) if rest.starts_with('/') => self.home.join(rest.trim_start_matches('/')),
            _ => self.directory.join(path),
        }
    }

    /// What the agent tells about itself when it dials.
    #[must_use]
    pub fn link_query(&self) -> LinkQuery {
        LinkQuery {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            directory: self.directory.to_string_lossy().into_owned(),
        }
    }
}

fn is_own(name: &OsString) -> bool {
    let Some(name) = name.to_str() else { return false };
    name == ENV_TOKEN || OWN.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Settings::new("n".into(), "/work".into(), environment)
    }

    #[test]
    fn defaults_and_variables() {
        let plain = settings(&[("HOME", "/home/u")]);
        assert_eq!(plain.instructions_dirs, ["~/.chatd"]);
        assert_eq!(
            (plain.instructions_file.as_str(), plain.skill_meta_file.as_str()),
            ("AGENTS.md", "SKILL.md")
        );
        assert_eq!(plain.mcp_config_files, [".mcp.json"]);
        let set = settings(&[
            ("CHATD_AGENT_INSTRUCTIONS_DIRS", " /etc/x , ~/y,"),
            ("CODER_AGENT_EXP_INSTRUCTIONS_FILE", "CLAUDE.md"),
            ("CHATD_AGENT_SKILLS_DIRS", " "),
        ]);
        assert_eq!(set.instructions_dirs, ["/etc/x", "~/y"]);
        assert_eq!(set.instructions_file, "CLAUDE.md");
        assert_eq!(set.skills_dirs, [".agents/skills", "~/.chatd/skills"]);
    }

    #[test]
    fn places() {
        let s = settings(&[("HOME", "/home/u")]);
        for (path, place) in
            [("~", "/home/u"), ("~/a", "/home/u/a"), ("~x", "/work/~x"), ("b/c", "/work/b/c"), ("/d", "/d")]
        {
            assert_eq!(s.place(path), Path::new(place), "{path}");
        }
        assert_eq!(settings(&[("HOME", "here")]).home, Path::new("/work"));
    }

    #[test]
    fn commands_do_not_get_what_is_the_agents() {
        let s = settings(&[
            ("PATH", "/bin"),
            ("CHATD_AGENT_TOKEN", "secret"),
            ("CHATD_AGENT_SKILLS_DIRS", "x"),
            ("CODER_AGENT_TOKEN", "secret"),
            ("CHATD_URL", "http://h"),
        ]);
        let names: Vec<&str> = s.environment.keys().filter_map(|name| name.to_str()).collect();
        assert_eq!(names, [ENV_RUN, "CHATD_URL", "PATH"]);
    }
}
