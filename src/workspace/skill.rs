//! Skills: Markdown with a front matter that names and describes it (workspace-and-providers.md §8).

use serde::{Deserialize, Serialize};

/// Largest file of a personal skill in bytes.
pub const MAX_PERSONAL_BYTES: usize = 64 * 1024;
/// Longest name of a personal skill in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Longest description of a personal skill in bytes.
const MAX_DESCRIPTION_BYTES: usize = 4096;
/// Bytes that are read of a supporting file of a workspace's skill; more is cut (workspace-and-providers.md §8.1).
pub const MAX_FILE_BYTES: usize = 512 * 1024;
/// Most skills of a user.
pub const MAX_PER_USER: i64 = 100;

/// A skill as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skill {
    /// Kebab-case name.
    pub name: String,
    /// What it is good for; may be empty.
    pub description: String,
    /// What the model reads: the text without HTML comments.
    pub body: String,
}

/// A skill that lies in a workspace, as its agent names it. Its text is read when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceSkill {
    /// Name, which is that of its folder.
    pub name: String,
    /// What it is good for; may be empty.
    pub description: String,
    /// Absolute path of its folder.
    pub dir: String,
    /// Name of the file in it that describes it.
    pub meta_file: String,
}

impl WorkspaceSkill {
    /// Absolute path of a file of it.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.dir.trim_end_matches('/'))
    }
}

/// Why a text is no skill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSkill {
    /// The first line is something else.
    #[error("the first line must be ---, followed by YAML with the skill's name and description")]
    NoFrontMatter,
    /// It has no end.
    #[error("the front matter must end with a line ---")]
    OpenFrontMatter,
    /// It is no YAML of the right shape.
    #[error("the front matter cannot be read: {0}")]
    Yaml(String),
    /// It has no name.
    #[error("the front matter must give a name")]
    NoName,
    /// The name has another form.
    #[error(
        "the name {0:?} must be lower-case letters and digits with single dashes between, as in my-skill"
    )]
    NameForm(String),
    /// Too long.
    #[error("{what} may have at most {max} bytes")]
    TooLarge {
        /// What is.
        what: &'static str,
        /// How many bytes it may have.
        max: usize,
    },
    /// Nothing follows the front matter.
    #[error("there must be text after the front matter")]
    EmptyBody,
}

#[derive(Deserialize)]
struct FrontMatter {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

impl Skill {
    /// Reads a skill, whose body may be empty.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, BadSkill> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.split_inclusive('\n');
        let first = lines.next().unwrap_or_default();
        if first.trim() != "---" {
            return Err(BadSkill::NoFrontMatter);
        }
        let begin = first.len();
        let mut end = begin;
        let mut body_at = None;
        for line in lines {
            if line.trim() == "---" {
                body_at = Some(end + line.len());
                break;
            }
            end += line.len();
        }
        let body_at = body_at.ok_or(BadSkill::OpenFrontMatter)?;
        let front = front_matter(&text[begin..end])?;
        let name = front.name.unwrap_or_default().trim_end_matches(['\r', '\n']).to_owned();
        if name.is_empty() {
            return Err(BadSkill::NoName);
        }
        if !is_name(&name) {
            return Err(BadSkill::NameForm(name.chars().take(64).collect()));
        }
        Ok(Self {
            name,
            description: front.description.unwrap_or_default(),
            body: without_comments(&text[body_at..]).trim().to_owned(),
        })
    }

    /// Reads a skill that a user wrote: its sizes are limited and it has a body.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse_personal(text: &str) -> Result<Self, BadSkill> {
        let within = |what, size: usize, max| {
            if size <= max { Ok(()) } else { Err(BadSkill::TooLarge { what, max }) }
        };
        within("content", text.len(), MAX_PERSONAL_BYTES)?;
        let skill = Self::parse(text)?;
        within("the name", skill.name.len(), MAX_NAME_BYTES)?;
        within("the description", skill.description.len(), MAX_DESCRIPTION_BYTES)?;
        if skill.body.is_empty() { Err(BadSkill::EmptyBody) } else { Ok(skill) }
    }
}

fn front_matter(yaml: &str) -> Result<FrontMatter, BadSkill> {
    // Nothing but a map counts; a front matter of comments is an empty map.
    if yaml.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(FrontMatter { name: None, description: None });
    }
    // `name: 12` is a number, and not the text "12".
    let options = serde_saphyr::options! { no_schema: true };
    serde_saphyr::from_str_with_options(yaml, options).map_err(|e| {
        let text = e.without_snippet().to_string();
        BadSkill::Yaml(text.lines().next().unwrap_or_default().to_owned())
    })
}

/// Whether this can be the name of a skill: `^[a-z0-9]+(-[a-z0-9]+)*$`
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.split('-')
        .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

/// The text without `<!-- … -->`; one that does not end goes on to the end of the text.
#[must_use]
pub fn without_comments(text: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find("<!--") {
        kept.push_str(&rest[..start]);
        let comment = &rest[start + 4..];
        rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_description_and_body_are_read() {
        let text = "\u{feff}---  \r\nname: go-home\ndescription: \"How: to\"\nlicense: [MIT]\n---\n\n<!-- x -->Walk.<!-- y\n";
        let skill = Skill::parse_personal(text).unwrap();
        assert_eq!((skill.name.as_str(), skill.description.as_str()), ("go-home", "How: to"));
        assert_eq!(skill.body, "Walk.");
        let block = Skill::parse("---\nname: |\n  a1\n---").unwrap();
        assert_eq!((block.name.as_str(), block.description.as_str(), block.body.as_str()), ("a1", "", ""));
    }

    #[test]
    fn what_is_wrong_is_told() {
        use BadSkill as B;
        let of = |text: &str| Skill::parse_personal(text).unwrap_err();
        assert_eq!(of(""), B::NoFrontMatter);
        assert_eq!(of("name: a\n---\nx"), B::NoFrontMatter);
        assert_eq!(of("---\nname: a\nx"), B::OpenFrontMatter);
        assert_eq!(of("---\ndescription: a\n---\nx"), B::NoName);
        assert_eq!(of("---\nname:\n---\nx"), B::NoName);
        assert_eq!(of("---\n# nothing\n---\nx"), B::NoName);
        for name in ["A", "a_b", "-a", "a-", "a--b", "ä", "a b"] {
            assert_eq!(of(&format!("---\nname: '{name}'\n---\nx")), B::NameForm(name.into()));
        }
        for yaml in [
            "name: 12",
            "name: [a]",
            "name: a\ndescription: 7",
            "name: a\ndescription: {}",
            "- a",
            "name: 'a",
            "x",
        ] {
            assert!(matches!(of(&format!("---\n{yaml}\n---\nx")), B::Yaml(_)), "{yaml}");
        }
        assert_eq!(of("---\nname: a\n---\n<!-- only this -->\n"), B::EmptyBody);
        let long = "x".repeat(MAX_PERSONAL_BYTES);
        assert!(matches!(of(&format!("---\nname: a\n---\n{long}")), B::TooLarge { what: "content", .. }));
        let name = "n".repeat(MAX_NAME_BYTES + 1);
        assert!(matches!(of(&format!("---\nname: {name}\n---\nx")), B::TooLarge { what: "the name", .. }));
        let about = "d".repeat(MAX_DESCRIPTION_BYTES + 1);
        assert!(matches!(of(&format!("---\nname: a\ndescription: {about}\n---\nx")), B::TooLarge { .. }));
    }

    /// References that double at each level would need all memory there is.
    #[test]
    fn a_document_that_grows_is_refused() {
        let mut yaml = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            yaml.push_str(&format!("a{level}: &a{level} [{}]\n", [below.as_str(); 9].join(", ")));
        }
        let text = format!("---\n{yaml}name: a\n---\nx");
        assert!(matches!(Skill::parse(&text), Err(BadSkill::Yaml(_))));
    }
}
