//! Which places of a text an edit means, and what the text is afterwards (tools.md §15.3). Pure.
//!
//! Three passes, and the first that finds something decides: the exact text; whole lines with their
//! white space at the end ignored; whole lines with white space around them ignored.

use crate::workspace::wire::Edit;
use std::ops::Range;

/// Why an edit cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEdit {
    /// Nothing is looked for.
    #[error("the search text must not be empty")]
    EmptySearch,
    /// It is not there.
    #[error("the search text was not found; read the file again and copy the text as it stands there")]
    NotFound,
    /// It is there more than once.
    #[error(
        "the search text matches {0} places; add lines around it until it is the only one, or set replace_all"
    )]
    Ambiguous(usize),
}

/// Makes one edit.
///
/// # Errors
/// When the place it means cannot be told.
pub fn apply(text: &str, edit: &Edit) -> Result<String, BadEdit> {
    let places = places(text, &edit.search)?;
    if places.len() > 1 && !edit.replace_all {
        return Err(BadEdit::Ambiguous(places.len()));
    }
    let mut out = String::with_capacity(text.len() + places.len() * edit.replace.len());
    let mut at = 0;
    for place in places {
        out.push_str(&text[at..place.start]);
        out.push_str(&edit.replace);
        at = place.end;
    }
    out.push_str(&text[at..]);
    Ok(out)
}

/// The places of the deciding pass, in order, none within another.
fn places(text: &str, search: &str) -> Result<Vec<Range<usize>>, BadEdit> {
    if search.is_empty() {
        return Err(BadEdit::EmptySearch);
    }
    let exact: Vec<_> = text.match_indices(search).map(|(at, found)| at..at + found.len()).collect();
    let found = [str::trim_end as fn(&str) -> &str, str::trim]
        .into_iter()
        .fold(exact, |found, form| if found.is_empty() { lines(text, search, form) } else { found });
    if found.is_empty() { Err(BadEdit::NotFound) } else { Ok(found) }
}

/// Where all lines of `search` follow each other in `text`, compared in this form. The end of the last
/// line belongs to the place only if `search` ends with one too.
fn lines(text: &str, search: &str, form: fn(&str) -> &str) -> Vec<Range<usize>> {
    let wanted: Vec<&str> = search.split_inclusive('\n').map(form).collect();
    let whole = search.ends_with('\n');
    let mut all: Vec<(Range<usize>, &str)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        all.push((at..at + line.len(), form(line)));
        at += line.len();
    }
    let mut found = Vec::new();
    let mut next = 0;
    while let Some(window) = all.get(next..next + wanted.len()) {
        if window.iter().zip(&wanted).any(|((_, line), wanted)| line != wanted) {
            next += 1;
            continue;
        }
        let (first, last) = (&window[0].0, &window[wanted.len() - 1].0);
        let line = &text[last.clone()];
        // A file with CRLF keeps it.
        let bare = line.strip_suffix('\n').unwrap_or(line);
        let bare = bare.strip_suffix('\r').unwrap_or(bare);
        found.push(first.start..if whole { last.end } else { last.start + bare.len() });
        next += wanted.len();
    }
    found
}

#[cfg(test)]
mod tests;
