//! The effective configuration as TOML, secrets masked, and where each value came from.

use super::{Config, problem::Origins, secret::MASK};
use toml::de::{DeTable, DeValue};

/// The configuration as TOML, every secret masked; with `origins`, each value is followed by a
/// comment that names its source.
///
/// # Errors
/// When a value cannot be written as TOML.
pub fn to_toml(config: &Config, origins: Option<&Origins>) -> Result<String, toml::ser::Error> {
    debug_assert!(!MASK.contains('\n'));
    let mut text = toml::to_string(config)?;
    let Some(origins) = origins else { return Ok(text) };
    let mut notes = Vec::new();
    match DeTable::parse(&text) {
        Ok(document) => walk(document.get_ref(), "", origins, &mut notes),
        // Our own output: were it not readable, it is still worth showing.
        Err(_) => return Ok(text),
    }
    // From the end, so that the places before stay where they are.
    notes.sort_by_key(|(end, _)| std::cmp::Reverse(*end));
    for (end, note) in notes {
        text.insert_str(end, &note);
    }
    Ok(text)
}

fn walk(table: &DeTable<'_>, path: &str, origins: &Origins, notes: &mut Vec<(usize, String)>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => walk(inner, &path, origins, notes),
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                for (i, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        walk(inner, &format!("{path}[{i}]"), origins, notes);
                    }
                }
            }
            _ => {
                let found = builtin(&path, origins);
                notes.push((value.span().end, format!("  # {found}")));
            }
        }
    }
}

/// A key of a list item that nobody wrote is a default, except where the item itself was made up
/// from a variable: then the variable is the reason.
fn builtin<'a>(path: &str, origins: &'a Origins) -> &'a super::problem::Origin {
    use super::problem::Origin;
    match origins.of(path) {
        Origin::Default => match path.rsplit_once('.').map(|(item, _)| origins.of(item)) {
            Some(origin @ (Origin::Env(name) | Origin::DotEnv { name, .. })) if !name.starts_with("CHATD__") => origin,
            _ => &Origin::Default,
        },
        origin => origin,
    }
}
