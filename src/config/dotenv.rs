//! `.env` files: `NAME=value` lines, with `#` comments, an optional `export`, and quotes.

/// One variable and the line it starts on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub value: String,
    pub line: usize,
}

/// Reads a `.env` file; the error is the number of the line that is none of the known forms.
/// Single quotes keep everything as it stands; double quotes know `\n`, `\t`, `\"` and `\\`. Both
/// may span lines. An unquoted value ends at the line or at ` #`.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, usize> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, raw)) = lines.next() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let (name, value) = line.split_once('=').ok_or(number)?;
        let name = name.trim();
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        if !is_name(name) {
            return Err(number);
        }
        let value = value.trim();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut open = value[1..].to_owned();
                loop {
                    if let Some(closed) = quoted(&open, quote) {
                        break closed;
                    }
                    let (_, more) = lines.next().ok_or(number)?;
                    open.push('\n');
                    open.push_str(more);
                }
            }
            _ => value.find(" #").map_or(value, |cut| value[..cut].trim_end()).to_owned(),
        };
        entries.push(Entry { name: name.to_owned(), value, line: number });
    }
    Ok(entries)
}

/// Whether `name` can be the name of an environment variable.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The text up to the closing quote; `None` while it is still open.
fn quoted(text: &str, quote: char) -> Option<String> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return Some(value),
            '\\' if quote == '"' => match chars.next()? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                c @ ('"' | '\\') => value.push(c),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_are_read() {
        let text = "# note\n\nA=1\nexport B = two # rest\nC='x # y'\nD=\"a\\nb\"\nE=\"one\ntwo\"\nF=\n";
        let read: Vec<_> = parse(text).unwrap().into_iter().map(|e| (e.name, e.value, e.line)).collect();
        let expected = [
            ("A", "1", 3),
            ("B", "two", 4),
            ("C", "x # y", 5),
            ("D", "a\nb", 6),
            ("E", "one\ntwo", 7),
            ("F", "", 9),
        ];
        assert_eq!(read, expected.map(|(n, v, l)| (n.to_owned(), v.to_owned(), l)));
    }

    #[test]
    fn other_lines_are_refused_by_number() {
        assert_eq!(parse("A=1\nwhat is this"), Err(2));
        assert_eq!(parse("A-B=1"), Err(1));
        assert_eq!(parse("\nA=\"open"), Err(2));
    }
}
