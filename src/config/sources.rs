//! Where configuration is looked for, and how the layers are laid over each other.

use super::{
    dotenv,
    problem::{Origin, Problem},
    tree::{Node, parse_file},
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// A value given by a flag of the command line.
#[derive(Clone)]
pub struct Flag {
    /// The flag, dashes included.
    pub name: &'static str,
    /// The key it sets: `server.listen`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// Everything outside of the program that configuration is made of. Holds secrets in clear, hence
/// no `Debug`.
#[derive(Clone)]
pub struct Sources {
    /// `--config FILE`.
    pub config_file: Option<PathBuf>,
    /// The environment of the process.
    pub env: BTreeMap<String, String>,
    /// The working directory: where `chatd.toml` and `.env` are looked for.
    pub cwd: PathBuf,
    /// The file of the whole machine; another one in tests.
    pub system_file: PathBuf,
    /// Flags that set a key, the strongest source.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// The sources of this process.
    ///
    /// # Errors
    /// When the working directory is gone, or a `CHATD…` variable is not UTF-8.
    pub fn of_process(config_file: Option<PathBuf>, flags: Vec<Flag>) -> io::Result<Self> {
        let mut env = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            // A foreign variable in another encoding is none of our business.
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => {
                    env.insert(name, value);
                }
                (Ok(name), Err(_)) if name.starts_with("CHATD_") => {
                    return Err(io::Error::other(format!("{name} is not valid UTF-8")));
                }
                _ => {}
            }
        }
        Ok(Self {
            config_file,
            env,
            cwd: std::env::current_dir()?,
            system_file: PathBuf::from("/etc/chatd/config.toml"),
            flags,
        })
    }
}

/// The environment, `.env` included, and where each variable came from.
pub(super) struct Environment(BTreeMap<String, (String, Origin)>);

impl Environment {
    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Where that variable came from.
    pub(super) fn origin(&self, name: &str) -> Origin {
        self.0.get(name).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// A folder named by a variable. Relative ones are ignored, as the XDG specification asks.
    pub(super) fn folder(&self, name: &str) -> Option<&Path> {
        self.get(name).map(Path::new).filter(|path| path.is_absolute())
    }
}

/// All sources laid over each other.
pub(super) struct Layers {
    pub tree: Node,
    pub env: Environment,
    /// The file that was read: as it is shown, and the folder it lies in.
    pub file: Option<(PathBuf, PathBuf)>,
}

/// Prefix of the variables that set a key.
const PREFIX: &str = "CHATD__";

/// Reads and merges all sources.
pub(super) fn layers(sources: &Sources) -> Result<(Layers, Vec<Problem>), Vec<Problem>> {
    let mut problems = Vec::new();
    let env = environment(sources, &mut problems);
    let mut tree = Node::empty();
    let mut file = None;
    if let Some((shown, origin)) = find_file(sources, &env) {
        let real = sources.cwd.join(&shown);
        match fs::read_to_string(&real) {
            Ok(text) => match parse_file(&text, shown.clone()) {
                Ok(node) => tree.merge(node),
                Err(more) => {
                    problems.extend(more);
                    return Err(problems);
                }
            },
            Err(error) => {
                let what = format!("cannot read {}: {error}", shown.display());
                problems.push(Problem::new(&origin, "", what));
                return Err(problems);
            }
        }
        let folder = real.parent().map_or_else(|| sources.cwd.clone(), Path::to_path_buf);
        file = Some((shown, folder));
    }
    let mut overrides = Node::empty();
    for (name, (value, origin)) in &env.0 {
        if let Some(key) = name.strip_prefix(PREFIX) {
            let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
            if let Err(problem) = list_item(&path, origin).and_then(|()| overrides.set(&path, value.clone(), origin.clone())) {
                problems.push(problem);
            }
        }
    }
    tree.merge(overrides);
    let mut overrides = Node::empty();
    for flag in &sources.flags {
        let path: Vec<String> = flag.key.split('.').map(str::to_owned).collect();
        if let Err(problem) = overrides.set(&path, flag.value.clone(), Origin::Flag(flag.name)) {
            problems.push(problem);
        }
    }
    tree.merge(overrides);
    Ok((Layers { tree, env, file }, problems))
}

/// Lists of tables cannot be set item by item: say how they can be.
fn list_item(path: &[String], origin: &Origin) -> Result<(), Problem> {
    match path {
        [list, _, ..] if super::LISTS.contains(&list.as_str()) => {
            let name = list.to_uppercase();
            let what = format!("a list is set as a whole, in TOML: {PREFIX}{name}='[{{ name = \"…\" }}]'");
            Err(Problem::new(origin, path.join("."), what))
        }
        _ => Ok(()),
    }
}

fn environment(sources: &Sources, problems: &mut Vec<Problem>) -> Environment {
    let mut all = BTreeMap::new();
    match fs::read_to_string(sources.cwd.join(".env")) {
        Ok(text) => match dotenv::parse(&text) {
            Ok(entries) => {
                for entry in entries {
                    let origin = Origin::DotEnv { name: entry.name.clone(), line: entry.line };
                    all.insert(entry.name, (entry.value, origin));
                }
            }
            Err(line) => problems.push(Problem {
                place: format!(".env:{line}"),
                key: String::new(),
                what: "expected NAME=value".into(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => problems.push(Problem {
            place: ".env".into(),
            key: String::new(),
            what: format!("cannot be read: {error}"),
        }),
    }
    for (name, value) in &sources.env {
        all.insert(name.clone(), (value.clone(), Origin::Env(name.clone())));
    }
    Environment(all)
}

/// The first file there is. One that was asked for by name is taken whether it is there or not.
fn find_file(sources: &Sources, env: &Environment) -> Option<(PathBuf, Origin)> {
    if let Some(path) = &sources.config_file {
        return Some((path.clone(), Origin::Flag("--config")));
    }
    if let Some(path) = env.get("CHATD_CONFIG") {
        return Some((PathBuf::from(path), env.origin("CHATD_CONFIG")));
    }
    let user = env
        .folder("XDG_CONFIG_HOME")
        .map(Path::to_path_buf)
        .or_else(|| env.folder("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("chatd/config.toml"));
    [Some(PathBuf::from("chatd.toml")), user, Some(sources.system_file.clone())]
        .into_iter()
        .flatten()
        // A file that is there and cannot be read is an error, and not a reason to take the next one.
        .find(|path| sources.cwd.join(path).symlink_metadata().is_ok())
        .map(|path| (path, Origin::Default))
}
