//! Whether text that arrives in pieces is JSON (RFC 8259). What there is to parse it with wants all of it at
//! once, or holds its longest string (docs/decisions/0014).

/// Deepest nesting that counts as JSON: no reader goes further, and none has to (RFC 8259 §9).
const MAX_DEPTH: usize = 1024;

/// What may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A value.
    Value,
    /// A value, or the end of the array.
    FirstItem,
    /// A key, or the end of the object.
    FirstKey,
    Key,
    Colon,
    /// What separates or ends: a value is over.
    After,
    InString,
    Escaped,
    /// So many digits of `\uXXXX`.
    Hex(u8),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// The parts of a number.
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    ExponentSign,
    Exponent,
    /// It is none.
    Wrong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

/// Reads JSON byte by byte and keeps nothing of it but what is open. That it is UTF-8 is for others to check.
#[derive(Debug)]
pub(super) struct JsonCheck {
    at: At,
    in_key: bool,
    open: Vec<Open>,
}

impl JsonCheck {
    pub(super) const fn new() -> Self {
        Self { at: At::Value, in_key: false, open: Vec::new() }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, mut piece: &[u8]) {
        while self.at != At::Wrong {
            if self.at == At::InString {
                // Most of a document is within strings.
                let end = piece.iter().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\'));
                piece = &piece[end.unwrap_or(piece.len())..];
            }
            let Some((byte, rest)) = piece.split_first() else { return };
            self.at = self.after(*byte).unwrap_or(At::Wrong);
            piece = rest;
        }
    }

    /// Whether all that was pushed is one JSON value.
    pub(super) fn is_valid(&self) -> bool {
        self.open.is_empty()
            && matches!(self.at, At::After | At::Zero | At::Whole | At::Fraction | At::Exponent)
    }

    fn after(&mut self, byte: u8) -> Option<At> {
        use At::{
            After, Colon, E, Escaped, Exponent, ExponentSign, FirstItem, FirstKey, Fraction, Hex, InString,
            Key, Minus, Point, Value, Whole, Word, Zero,
        };
        Some(match (self.at, byte) {
            (Value | FirstItem | FirstKey | Key | Colon | After, b' ' | b'\t' | b'\n' | b'\r') => self.at,
            (Value | FirstItem, b'[') => self.enter(Open::Array, FirstItem)?,
            (Value | FirstItem, b'{') => self.enter(Open::Object, FirstKey)?,
            (Value | FirstItem, b'"') => InString,
            (Value | FirstItem, b't') => Word(b"rue"),
            (Value | FirstItem, b'f') => Word(b"alse"),
            (Value | FirstItem, b'n') => Word(b"ull"),
            (Value | FirstItem, b'-') => Minus,
            (Value | FirstItem | Minus, b'0') => Zero,
            (Value | FirstItem | Minus, b'1'..=b'9') | (Whole, b'0'..=b'9') => Whole,
            (FirstKey | Key, b'"') => {
                self.in_key = true;
                InString
            }
            (Colon, b':') => Value,
            (InString, b'"') if std::mem::take(&mut self.in_key) => Colon,
            (InString, b'"') => After,
            (InString, b'\\') => Escaped,
            (InString, 0x20..) => InString,
            (Escaped, b'u') => Hex(4),
            (Escaped, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => InString,
            (Hex(1), byte) if byte.is_ascii_hexdigit() => InString,
            (Hex(left), byte) if byte.is_ascii_hexdigit() => Hex(left - 1),
            (Word([last]), byte) if byte == *last => After,
            (Word([next, rest @ ..]), byte) if byte == *next => Word(rest),
            (Zero | Whole, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Whole | Fraction, b'e' | b'E') => E,
            (E, b'+' | b'-') => ExponentSign,
            (E | ExponentSign | Exponent, b'0'..=b'9') => Exponent,
            (Zero | Whole | Fraction | Exponent, b' ' | b'\t' | b'\n' | b'\r') => After,
            (Zero | Whole | Fraction | Exponent | After, b',') => match self.open.last()? {
                Open::Array => Value,
                Open::Object => Key,
            },
            (Zero | Whole | Fraction | Exponent | After | FirstItem, b']') => self.leave(Open::Array)?,
            (Zero | Whole | Fraction | Exponent | After | FirstKey, b'}') => self.leave(Open::Object)?,
            _ => return None,
        })
    }

    fn enter(&mut self, what: Open, then: At) -> Option<At> {
        let fits = self.open.len() < MAX_DEPTH;
        fits.then(|| {
            self.open.push(what);
            then
        })
    }

    fn leave(&mut self, what: Open) -> Option<At> {
        (self.open.pop()? == what).then_some(At::After)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    fn judged(pieces: &[&[u8]]) -> bool {
        let mut check = JsonCheck::new();
        pieces.iter().for_each(|piece| check.push(piece));
        check.is_valid()
    }

    #[test]
    fn values_are_told_from_what_only_looks_like_them() {
        let good = [
            "0",
            "-0",
            "12.50e-3",
            "1E9",
            " null ",
            "\"\"",
            "\"a\\\"\\u00eF\\n\"",
            "[]",
            "[ 1 , [2] ]",
            "{}",
            "{\"a\":{\"b\":[true,false]},\"c\":\"é\"}\n",
        ];
        let bad = [
            "",
            " ",
            "01",
            "+1",
            "1.",
            ".5",
            "1e",
            "-",
            "nul",
            "nulls",
            "'a'",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1",
            "1]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1]",
            "[1}",
            "{\"a\":}",
            "{1:2}",
            "1 2",
            "// no\n1",
            "\u{feff}1",
            "NaN",
        ];
        for text in good {
            assert!(judged(&[text.as_bytes()]), "{text}");
        }
        for text in bad {
            assert!(!judged(&[text.as_bytes()]), "{text}");
        }
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(judged(&[nested(MAX_DEPTH).as_bytes()]) && !judged(&[nested(MAX_DEPTH + 1).as_bytes()]));
    }

    proptest! {
        /// The same answer as `serde_json`, wherever the text is cut.
        #[test]
        fn the_parser_agrees(text in r#"([\[\]{},:]|"|\\|[ \n]|-|\.|0|1|e|\+|true|null|"a"|"a":|\\u00e9|é){0,14}"#, cut in 0..40usize) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let expected = serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
            prop_assert_eq!(judged(&[&bytes[..cut], &bytes[cut..]]), expected, "{}", text);
        }
    }
}
