use super::*;
use proptest::prelude::*;

fn edit(search: &str, replace: &str, replace_all: bool) -> Edit {
    Edit { search: search.into(), replace: replace.into(), replace_all }
}

fn one(text: &str, search: &str, replace: &str) -> Result<String, BadEdit> {
    apply(text, &edit(search, replace, false))
}

#[test]
fn the_exact_text_comes_first() {
    assert_eq!(one("a b c", "b", "x").unwrap(), "a x c");
    assert_eq!(one("a b c", " b", "").unwrap(), "a c");
    assert_eq!(
        one("a\n a\n", " a", "x").unwrap(),
        "a\nx\n",
        "the exact pass decides, lines are not looked at"
    );
    assert_eq!(one("a$1", "a", "$0\\1").unwrap(), "$0\\1$1", "the replacement is taken as it is");
    assert_eq!(one("aaa", "aa", "b").unwrap(), "ba");
}

#[test]
fn lines_are_matched_with_other_white_space() {
    assert_eq!(one("x  \ny\t\nz", "x\ny", "n").unwrap(), "n\nz");
    assert_eq!(one("x  \ny\t\nz", "x\ny\n", "n\n").unwrap(), "n\nz");
    assert_eq!(one("  if a\n    b\n", "if a\n  b", "c").unwrap(), "c\n", "no indent is added");
    assert_eq!(one("  a\n a\n", "a  ", "n"), Err(BadEdit::Ambiguous(2)));
    assert_eq!(one("ab\n", "b ", "n"), Err(BadEdit::NotFound), "whole lines only");
    // White space at the end alone is nearer than white space on both sides.
    assert_eq!(one(" a\na \t\n", "a  ", "n").unwrap(), " a\nn\n");
    assert_eq!(one("a", "a \n", "n\n").unwrap(), "n\n");
}

#[test]
fn crlf_is_white_space_at_the_end() {
    assert_eq!(one("a\r\nb\r\nc\r\n", "a\nb", "n").unwrap(), "n\r\nc\r\n");
    assert_eq!(one("a\r\nb\r\nc\r\n", "a\nb\n", "n\n").unwrap(), "n\nc\r\n");
}

#[test]
fn what_is_refused() {
    assert_eq!(one("a", "", "b"), Err(BadEdit::EmptySearch));
    assert_eq!(one("a", "b", ""), Err(BadEdit::NotFound));
    assert_eq!(one("", "b", ""), Err(BadEdit::NotFound));
    assert_eq!(one("b b b", "b", ""), Err(BadEdit::Ambiguous(3)));
    assert_eq!(apply("b b b", &edit("b", "c", true)).unwrap(), "c c c");
    assert_eq!(
        apply(" b\n  b\n b\n", &edit("b\n", "c\n", true)).unwrap(),
        " c\n  c\n c\n",
        "exact, not lines"
    );
    assert_eq!(apply("\tb \nx\n\tb\n", &edit("b ", "c", true)).unwrap(), "\tc\nx\n\tb\n", "exact once");
    assert_eq!(apply("\tb\nx\n b\n", &edit("b ", "c", true)).unwrap(), "c\nx\nc\n");
}

/// The rules once more, slowly, on lists of characters and lines, with nothing shared.
mod naive {
    use super::*;

    fn blank(c: char) -> bool {
        c.is_whitespace()
    }

    fn stripped(line: &[char], front: bool) -> Vec<char> {
        let mut line = line.to_vec();
        while line.last().is_some_and(|c| blank(*c)) {
            line.pop();
        }
        while front && line.first().is_some_and(|c| blank(*c)) {
            line.remove(0);
        }
        line
    }

    fn cut(text: &[char]) -> Vec<Vec<char>> {
        let mut out = vec![vec![]];
        for c in text {
            out.last_mut().unwrap().push(*c);
            if *c == '\n' {
                out.push(vec![]);
            }
        }
        if out.last().unwrap().is_empty() {
            out.pop();
        }
        out
    }

    fn exact(text: &[char], edit: &Edit) -> (usize, String) {
        let search: Vec<char> = edit.search.chars().collect();
        let (mut out, mut n, mut i) = (String::new(), 0, 0);
        while i < text.len() {
            if text[i..].starts_with(&search) {
                out += &edit.replace;
                n += 1;
                i += search.len();
            } else {
                out.push(text[i]);
                i += 1;
            }
        }
        (n, out)
    }

    fn by_line(text: &[char], edit: &Edit, front: bool) -> (usize, String) {
        let search: Vec<char> = edit.search.chars().collect();
        let (lines, wanted) = (cut(text), cut(&search));
        let (mut out, mut n, mut i) = (String::new(), 0, 0);
        while i < lines.len() {
            let same = (0..wanted.len()).all(|k| {
                i + k < lines.len() && stripped(&lines[i + k], front) == stripped(&wanted[k], front)
            });
            if same {
                out += &edit.replace;
                n += 1;
                i += wanted.len();
                if search.last() != Some(&'\n') {
                    let last: String = lines[i - 1].iter().collect();
                    if last.ends_with("\r\n") {
                        out += "\r\n";
                    } else if last.ends_with('\n') {
                        out += "\n";
                    } else if last.ends_with('\r') {
                        out += "\r";
                    }
                }
            } else {
                out.extend(&lines[i]);
                i += 1;
            }
        }
        (n, out)
    }

    pub fn apply(text: &str, edit: &Edit) -> Result<String, BadEdit> {
        if edit.search.is_empty() {
            return Err(BadEdit::EmptySearch);
        }
        let text: Vec<char> = text.chars().collect();
        for (n, out) in [exact(&text, edit), by_line(&text, edit, false), by_line(&text, edit, true)] {
            match n {
                0 => {}
                n if n > 1 && !edit.replace_all => return Err(BadEdit::Ambiguous(n)),
                _ => return Ok(out),
            }
        }
        Err(BadEdit::NotFound)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    /// Short texts of few letters, so that places are found, doubled and nearly found.
    #[test]
    fn it_does_what_the_naive_way_does(
        text in "[ab \t\r\n]{0,24}|([ab \t]{0,3}\r?\n){0,8}[ab]{0,2}",
        search in "[ab \t\r\n]{0,4}|([ab \t]{0,3}\n){1,3}[ab]{0,2}",
        replace in "[xy\n]{0,4}",
        replace_all: bool,
    ) {
        let edit = Edit { search, replace, replace_all };
        prop_assert_eq!(apply(&text, &edit), naive::apply(&text, &edit));
    }

    #[test]
    fn any_text_is_taken(text in "\\PC{0,40}", search in "\\PC{0,3}", replace in "\\PC{0,3}", replace_all: bool) {
        let edit = Edit { search, replace, replace_all };
        prop_assert_eq!(apply(&text, &edit), naive::apply(&text, &edit));
    }
}
