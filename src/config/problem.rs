//! What can be wrong with a configuration, and where a value came from.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built into the program.
    Default,
    /// A line of the configuration file.
    File {
        /// As it was found or named.
        path: Arc<PathBuf>,
        /// Counted from 1.
        line: usize,
    },
    /// A variable of the environment.
    Env(String),
    /// A line of a `.env` file.
    DotEnv {
        /// Name of the variable.
        name: String,
        /// Counted from 1.
        line: usize,
    },
    /// A flag of the command line, dashes included.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::DotEnv { name, line } => write!(f, ".env:{line} {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The source of every key that is not a default, by its dotted path: `server.listen`,
/// `providers[0].name`.
#[derive(Debug, Clone, Default)]
pub struct Origins(pub(super) BTreeMap<String, Origin>);

impl Origins {
    /// Source of the value at `path`.
    #[must_use]
    pub fn of(&self, path: &str) -> &Origin {
        self.0.get(path).unwrap_or(&Origin::Default)
    }

    /// A fault at `path` that only those who use the configuration know of.
    #[must_use]
    pub fn problem(&self, path: impl Into<String>, what: impl Into<String>) -> Problem {
        let path = path.into();
        Problem::new(self.near(&path), path, what)
    }

    /// Source of the value at `path`, or of the table it would belong to: where to look for the fault.
    pub(super) fn near(&self, path: &str) -> &Origin {
        let mut path = path;
        loop {
            if let Some(origin) = self.0.get(path) {
                return origin;
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = &path[..cut],
                None => return &Origin::Default,
            }
        }
    }
}

/// One thing that is wrong. Reads `PLACE: KEY: WHAT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File and line, variable or flag; empty for a fault of a default or of an absence.
    pub place: String,
    /// Dotted path of the key; empty when the fault is not one of a key.
    pub key: String,
    /// What is wrong and what is expected. Never holds a secret.
    pub what: String,
}

impl Problem {
    pub(super) fn new(origin: &Origin, key: impl Into<String>, what: impl Into<String>) -> Self {
        let place = if *origin == Origin::Default { String::new() } else { origin.to_string() };
        Self { place, key: key.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.what)
    }
}

/// The sentence for a key that is none of the known ones.
#[must_use]
pub fn unknown_among(key: &str, known: &[&str]) -> String {
    match super::keys::nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key; did you mean \"{near}\"?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// The configuration cannot be used. Ends the program with status 78.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Everything that was found, at least one.
    pub problems: Vec<Problem>,
}

/// One sentence: the first problem, and where to see the rest.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [] => f.write_str("the configuration is not valid"),
            [only] => only.fmt(f),
            [first, rest @ ..] => {
                write!(f, "{first} (and {} more: see `chatd config check`)", rest.len())
            }
        }
    }
}
