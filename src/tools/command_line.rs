//! A rough reading of shell lines, to show and to advise; nothing is ever executed from it.

use crate::chat::json::Json;
use serde::Deserialize;

/// Commands of one line that are listed at most.
const MAX_COMMANDS: usize = 64;
/// Words of a command that are looked at, to see whether it dumps files.
const MAX_WORDS: usize = 64;

#[derive(Deserialize)]
struct CommandArg {
    command: String,
}

/// `parsed_commands` of a call: set for `execute` with a command, absent for all else.
#[must_use]
pub fn parsed_commands(tool: &str, args: &Json) -> Option<Vec<Vec<String>>> {
    if tool != super::execute::NAME {
        return None;
    }
    let commands = commands(&args.read::<CommandArg>().ok()?.command);
    (!commands.is_empty()).then_some(commands)
}

/// `[program]` or `[program, first argument]` of each command of a shell line. Assignments before a
/// program, redirections, keywords, comments and here-documents are left out; substitutions are not
/// looked into.
#[must_use]
pub fn commands(line: &str) -> Vec<Vec<String>> {
    words(line, 2)
}

/// The same with so many words of each command.
fn words(line: &str, most: usize) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut skip_word = false;
    for token in Tokens::new(line) {
        match token {
            Token::End => {
                skip_word = false;
                flush(&mut words, &mut found);
            }
            Token::Redirect => skip_word = true,
            Token::Word(_) if skip_word => skip_word = false,
            Token::Word(word) => {
                let leads = words.is_empty() && (is_assignment(&word) || is_keyword(&word));
                if !leads && words.len() < most {
                    words.push(word);
                }
            }
        }
        if found.len() >= MAX_COMMANDS {
            return found;
        }
    }
    flush(&mut words, &mut found);
    found
}

fn flush(words: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    if !words.is_empty() {
        found.push(std::mem::take(words));
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

fn is_keyword(word: &str) -> bool {
    ["!", "{", "}", "if", "then", "elif", "else", "fi", "while", "until", "do", "done", "time"]
        .contains(&word)
}

/// The command without a single trailing `&`, and whether it had one (`&&` and `|&` are others).
#[must_use]
pub fn strip_background(command: &str) -> (&str, bool) {
    let trimmed = command.trim_end();
    match trimmed.strip_suffix('&') {
        Some(rest) if !rest.ends_with(['&', '|', '\\', '>', '<']) => (rest.trim_end(), true),
        _ => (command, false),
    }
}

/// Whether the line prints whole files, or lists them, which `read_file` and its like do better (tools.md §5): `cat`, and
/// `rg` or `grep` for whatever is there or for the names of files alone. What goes on to another command is no dump.
#[must_use]
pub fn dumps_files(command: &str) -> bool {
    let commands = words(command, MAX_WORDS);
    let [first] = commands.as_slice() else { return false };
    if command.contains('>') {
        return false;
    }
    match first[0].rsplit('/').next() {
        Some("cat") => first.len() > 1,
        Some("rg" | "grep" | "egrep" | "fgrep") => finds_all(&first[1..]),
        _ => false,
    }
}

/// Whether these arguments of a search choose no lines, by a pattern that all have, or show no lines.
fn finds_all(args: &[String]) -> bool {
    let lists = |arg: &String| match arg.strip_prefix("--") {
        Some(long) => ["files", "files-with-matches"].contains(&long),
        None => arg.strip_prefix('-').is_some_and(|short| {
            short.contains('l') && short.bytes().all(|b| b.is_ascii_alphabetic() && b != b'e')
        }),
    };
    let pattern = args.iter().find(|arg| !arg.starts_with('-'));
    args.iter().any(lists) || pattern.is_some_and(|p| ["", ".", ".*", "^", "$"].contains(&p.as_str()))
}

#[derive(Debug, PartialEq)]
enum Token {
    /// A word with its quotes removed.
    Word(String),
    /// A redirection; its target is the next word.
    Redirect,
    /// The end of a command.
    End,
}

struct Tokens<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    /// Delimiters of here-documents whose bodies begin after this line.
    heredocs: Vec<String>,
    heredoc_next: bool,
}

impl<'a> Tokens<'a> {
    fn new(line: &'a str) -> Self {
        Self { rest: line.chars().peekable(), heredocs: Vec::new(), heredoc_next: false }
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.rest.next_if_eq(&wanted).is_some()
    }

    fn skip_line(&mut self) -> String {
        let mut line = String::new();
        while let Some(c) = self.rest.next_if(|c| *c != '\n') {
            line.push(c);
        }
        line
    }

    fn skip_heredocs(&mut self) {
        for delimiter in std::mem::take(&mut self.heredocs) {
            while self.rest.peek().is_some() {
                let line = self.skip_line();
                self.rest.next();
                if line.trim() == delimiter {
                    break;
                }
            }
        }
    }

    /// A word that begins with `first`; balanced `$(…)`, `${…}` and backquotes stay in it as they are.
    fn word(&mut self, first: char) -> String {
        let mut word = String::new();
        let mut next = Some(first);
        while let Some(c) = next {
            match c {
                '\\' => match self.rest.next() {
                    Some('\n') | None => {}
                    Some(escaped) => word.push(escaped),
                },
                '\'' | '"' | '`' => self.quoted(c, &mut word),
                '$' if matches!(self.rest.peek(), Some('(' | '{')) => {
                    word.push(c);
                    self.nested(&mut word);
                }
                _ => word.push(c),
            }
            next = self.rest.next_if(|c| !c.is_whitespace() && !";|&<>()".contains(*c));
        }
        word
    }

    fn quoted(&mut self, quote: char, word: &mut String) {
        if quote == '`' {
            word.push('`');
        }
        while let Some(c) = self.rest.next() {
            match c {
                c if c == quote => break,
                '\\' if quote == '"' => word.extend(self.rest.next()),
                c => word.push(c),
            }
        }
        if quote == '`' {
            word.push('`');
        }
    }

    fn nested(&mut self, word: &mut String) {
        let mut depth = 0usize;
        for c in self.rest.by_ref() {
            word.push(c);
            match c {
                '(' | '{' => depth += 1,
                ')' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let c = self.rest.next()?;
            return Some(match c {
                '\n' => {
                    self.skip_heredocs();
                    Token::End
                }
                c if c.is_whitespace() => continue,
                '#' => {
                    self.skip_line();
                    continue;
                }
                '&' if self.eat('>') => {
                    self.eat('>');
                    Token::Redirect
                }
                ';' | '|' | '&' | '(' | ')' => Token::End,
                '<' | '>' => {
                    let twice = self.eat(c);
                    if c == '<' && twice && !self.eat('<') {
                        self.eat('-');
                        self.heredoc_next = true;
                    }
                    self.eat('&');
                    Token::Redirect
                }
                c => {
                    let word = self.word(c);
                    // `2>` redirects: the digit belongs to the sign behind it.
                    let is_fd = word.len() == 1 && c.is_ascii_digit();
                    if is_fd && matches!(self.rest.peek(), Some('<' | '>')) {
                        continue;
                    }
                    if std::mem::take(&mut self.heredoc_next) {
                        self.heredocs.push(word.clone());
                    }
                    Token::Word(word)
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn programs_and_first_arguments() {
        for (line, expected) in [
            ("ls", "ls"),
            ("git status -s", "git status"),
            ("cd /a && make -j4 || echo 'it failed; sorry'", "cd /a,make -j4,echo it failed; sorry"),
            ("A=1 B='x y' cargo test 2>&1 | tail -n 5 &", "cargo test,tail -n"),
            ("X=1", ""),
            ("# nothing\nls # more; rm\npwd", "ls,pwd"),
            ("cat > out.txt <<'EOF'\nrm -rf /\nEOF\nwc out.txt", "cat,wc out.txt"),
            ("(cd x; ls)", "cd x,ls"),
            ("if test -f a; then rm a; fi", "test -f,rm a"),
            ("echo $(date; ls) \"a b\"", "echo $(date; ls)"),
            ("sort <<< word", "sort"),
            ("./run\\ me \"--flag=1\"", "./run me --flag=1"),
            ("a &> log; b >>log c", "a,b c"),
            ("", ""),
        ] {
            let got: Vec<String> = commands(line).iter().map(|words| words.join(" ")).collect();
            assert_eq!(got.join(","), expected, "{line:?}");
        }
        assert_eq!(commands(&"ls;".repeat(100)).len(), 64);
    }

    #[test]
    fn only_execute_has_parsed_commands() {
        let args = Json::of(&serde_json::json!({"command": "git log"}));
        assert_eq!(parsed_commands("execute", &args), Some(vec![vec!["git".into(), "log".into()]]));
        assert_eq!(parsed_commands("other", &args), None);
        assert_eq!(parsed_commands("execute", &Json::of("git log")), None);
    }

    #[test]
    fn background_marks() {
        for (line, expected) in [
            ("server & ", ("server", true)),
            ("a && b", ("a && b", false)),
            ("a &&", ("a &&", false)),
            ("a |&", ("a |&", false)),
            ("a & b", ("a & b", false)),
        ] {
            assert_eq!(strip_background(line), expected);
        }
    }

    #[test]
    fn dumping_whole_files() {
        for (line, expected) in [
            ("cat a.rs b.rs", true),
            ("cat a.rs | grep x", false),
            ("cat > a <<EOF\nx\nEOF", false),
            ("rg --files", true),
            ("rg -n '' src", true),
            ("grep -r \"\" .", true),
            ("/usr/bin/grep -rn -e '.*' src", true),
            ("egrep -n ^ a.txt", true),
            ("grep -rl needle .", true),
            ("grep -l needle a b", true),
            ("rg --files-with-matches x", true),
            ("rg --files | wc -l", false),
            ("grep -r '' . > all", false),
            ("grep -rn needle .", false),
            ("grep -e lll a", false),
            ("grep --color=always x a", false),
            ("cat", false),
            ("ls", false),
        ] {
            assert_eq!(dumps_files(line), expected, "{line:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn any_line_is_read_to_its_end(line in "[a-z $(){}'\"`\\\\;|&<>#=\n-]{0,60}") {
            for command in commands(&line) {
                prop_assert!((1..=2).contains(&command.len()));
            }
        }
    }
}
