//! `GET context-config`: what the project says about itself, its instructions and its skills (tools.md
//! §15.5). Read anew for each request.

use super::{
    answer::{Answer, Refusal},
    settings::Settings,
};
use crate::workspace::{
    files,
    sanitize::sanitize,
    skill::Skill,
    wire::{ContextConfig, ContextPart},
};
use hyper::StatusCode;
use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Bytes of a file that are read; more is cut.
const MAX_FILE: usize = 64 << 10;
/// Most skills. Each costs the model a line in every prompt.
const MAX_SKILLS: usize = 200;
/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// Everything there is.
pub async fn context(settings: &Settings) -> Result<Answer, Refusal> {
    let settings = settings.clone();
    let parts = tokio::task::spawn_blocking(move || {
        let mut parts = instructions(&settings);
        parts.extend(skills(&settings));
        parts
    });
    match parts.await {
        Ok(parts) => Ok(Answer::ok(&ContextConfig { parts })),
        Err(error) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the context cannot be read: {error}"),
        )),
    }
}

/// Names in a folder, sorted. A folder that cannot be read has none: that is the usual case.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let names = entries.flatten().take(MAX_ENTRIES).filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn instructions(settings: &Settings) -> Vec<ContextPart> {
    let mut seen = BTreeSet::new();
    let dirs = settings.instructions_dirs.iter().map(|dir| settings.place(dir));
    let dirs = dirs.chain([settings.directory.clone()]);
    dirs.filter_map(|dir| dir.canonicalize().ok())
        .filter(|dir| seen.insert(dir.clone()))
        .filter_map(|dir| instruction_file(settings, &dir))
        .collect()
}

fn instruction_file(settings: &Settings, dir: &Path) -> Option<ContextPart> {
    let wanted = settings.instructions_file.to_lowercase();
    let name = names(dir).into_iter().find(|name| name.to_lowercase() == wanted)?;
    let path = dir.join(name);
    let (text, cut) = read(settings, &path)?;
    let content = sanitize(&text);
    (!content.is_empty()).then(|| ContextPart::ContextFile {
        context_file_path: path.to_string_lossy().into_owned(),
        context_file_content: content,
        context_file_truncated: cut,
    })
}

/// The beginning of a text file, and whether it was cut. What cannot be read is logged and left out.
fn read(settings: &Settings, path: &Path) -> Option<(String, bool)> {
    let read = || {
        let place = within(settings, path)?;
        let (file, _) = files::open(&place, &path.to_string_lossy()).map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        Ok::<_, String>(bytes)
    };
    let mut bytes = match read() {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a file of the project's context is left out");
            return None;
        }
    };
    let cut = bytes.len() > MAX_FILE;
    if cut {
        bytes.truncate(MAX_FILE);
        // A character cut in two is left out.
        if let Err(e) = std::str::from_utf8(&bytes)
            && e.error_len().is_none()
        {
            bytes.truncate(e.valid_up_to());
        }
    }
    Some((String::from_utf8_lossy(&bytes).into_owned(), cut))
}

/// Where a file leads. One of the project may be a link within the project, as `AGENTS.md` to another
/// name; but a project, which may come from anybody, must not name a file outside of it, such as a key,
/// for the model to read. Other folders are the user's own.
fn within(settings: &Settings, path: &Path) -> Result<PathBuf, String> {
    let place = path.canonicalize().map_err(|e| e.to_string())?;
    let project = settings.directory.canonicalize().map_err(|e| e.to_string())?;
    if path.starts_with(&project) && !place.starts_with(&project) {
        return Err("it is a link that leads out of the project".to_owned());
    }
    Ok(place)
}

fn skills(settings: &Settings) -> Vec<ContextPart> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for dir in &settings.skills_dirs {
        let place = settings.place(dir);
        // Where there is none, there are no skills.
        let Ok(dir) = place.canonicalize() else { continue };
        if let Err(error) = within(settings, &place) {
            tracing::warn!(path = %place.display(), error, "a folder of skills is left out");
            continue;
        }
        for name in names(&dir) {
            if found.len() == MAX_SKILLS {
                tracing::warn!(max = MAX_SKILLS, "there are more skills than are told");
                return found;
            }
            if let Some(part) = skill(settings, &dir.join(&name), &name)
                && seen.insert(name)
            {
                found.push(part);
            }
        }
    }
    found
}

fn skill(settings: &Settings, dir: &Path, name: &str) -> Option<ContextPart> {
    // Not through a link.
    if !fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir()) {
        return None;
    }
    let meta = dir.join(&settings.skill_meta_file);
    if fs::symlink_metadata(&meta).is_err() {
        return None;
    }
    let (text, _) = read(settings, &meta)?;
    let skill = match Skill::parse(&text) {
        Ok(skill) if skill.name == name => skill,
        Ok(skill) => {
            tracing::warn!(path = %meta.display(), name = skill.name, "a skill is left out: its name must be that of its folder");
            return None;
        }
        Err(error) => {
            tracing::warn!(path = %meta.display(), %error, "a skill is left out");
            return None;
        }
    };
    Some(ContextPart::Skill {
        skill_name: skill.name,
        skill_description: sanitize(&skill.description),
        skill_dir: dir.to_string_lossy().into_owned(),
        context_file_skill_meta_file: settings.skill_meta_file.clone(),
    })
}
