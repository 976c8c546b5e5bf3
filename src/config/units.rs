//! How durations, sizes, addresses and prices are written in configuration.

use super::secret::{Secret, masked_url};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    fmt,
    marker::PhantomData,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// A value written as text.
pub(super) trait Text: Sized {
    /// What a person should have written, for the error.
    const EXPECTED: &'static str;
    /// The text may hold a secret, so an error must not repeat it.
    const SENSITIVE: bool = false;
    /// Reads the text; `None` when it is something else.
    fn read(text: &str) -> Option<Self>;
    /// Writes it back, secrets masked.
    fn show(&self) -> String;
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: Text> de::Visitor<'_> for TextVisitor<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text.trim()).ok_or_else(|| {
            if T::SENSITIVE {
                E::custom(format_args!("expected {}", T::EXPECTED))
            } else {
                E::invalid_value(de::Unexpected::Str(text), &self)
            }
        })
    }
}

/// `with` of a value written as text.
pub(super) mod text {
    use super::*;
    pub fn serialize<T: Text, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&value.show())
    }
    pub fn deserialize<'de, T: Text, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        d.deserialize_str(TextVisitor(PhantomData))
    }
}

/// `with` of a value written as text that may be left empty.
pub(super) mod optional {
    use super::*;
    struct Empty<T>(PhantomData<T>);
    impl<T: Text> de::Visitor<'_> for Empty<T> {
        type Value = Option<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTED)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            if text.trim().is_empty() {
                return Ok(None);
            }
            TextVisitor(PhantomData).visit_str(text).map(Some)
        }
    }
    pub fn serialize<T: Text, S: Serializer>(value: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&value.as_ref().map(Text::show).unwrap_or_default())
    }
    pub fn deserialize<'de, T: Text, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
        d.deserialize_str(Empty(PhantomData))
    }
}

impl Text for String {
    const EXPECTED: &'static str = "a text";
    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn show(&self) -> String {
        self.clone()
    }
}

impl Text for PathBuf {
    const EXPECTED: &'static str = "the path of a file or folder";
    fn read(text: &str) -> Option<Self> {
        Some(Self::from(text))
    }
    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Text for Duration {
    const EXPECTED: &'static str = "a duration such as \"30s\", \"5m\" or \"1h 30m\"";
    fn read(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok()
    }
    fn show(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

impl Text for SocketAddr {
    const EXPECTED: &'static str = "an address and port such as \"127.0.0.1:7777\"";
    fn read(text: &str) -> Option<Self> {
        match text.strip_prefix("localhost:") {
            Some(port) => Some(Self::from(([127, 0, 0, 1], port.parse().ok()?))),
            None => text.parse().ok(),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// An http or https address, without a slash at its end. It may hold credentials, so it is shown
/// masked everywhere; [`Endpoint::as_str`] is the address to call.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The whole address, credentials included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;
    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let url = reqwest::Url::parse(text).map_err(|_| BadEndpoint)?;
        if matches!(url.scheme(), "http" | "https") && url.has_host() {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(BadEndpoint)
        }
    }
}

/// The text is not an absolute http or https address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an absolute http or https address")]
pub struct BadEndpoint;

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked_url(&self.0))
    }
}

impl Text for Endpoint {
    const EXPECTED: &'static str = "an absolute address such as \"https://host/path\"";
    const SENSITIVE: bool = true;
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> String {
        masked_url(&self.0)
    }
}

/// Which database, and where.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// The embedded database: a file, relative to the data folder.
    Sqlite(PathBuf),
    /// A PostgreSQL server: its whole `postgres://` address, which may hold a password.
    Postgres(Secret),
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl Text for DatabaseUrl {
    const EXPECTED: &'static str = "\"sqlite:FILE\" or \"postgres://user:password@host/database\"";
    const SENSITIVE: bool = true;
    fn read(text: &str) -> Option<Self> {
        if let Some(file) = text.strip_prefix("sqlite:") {
            // An in-memory database would be another one for each of our connections.
            let file = file.strip_prefix("//").unwrap_or(file);
            return (!file.is_empty() && file != ":memory:").then(|| Self::Sqlite(PathBuf::from(file)));
        }
        super::postgres::looks_like_one(text).then(|| Self::Postgres(Secret::new(text)))
    }
    fn show(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite:{}", file.display()),
            Self::Postgres(url) => masked_url(url.expose()),
        }
    }
}

/// `with` of a number of bytes: `"16MiB"`, or the bare number.
pub(super) mod size {
    use super::*;
    struct SizeVisitor;
    impl de::Visitor<'_> for SizeVisitor {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size such as \"1MiB\"")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            bytesize::ByteSize::from_str(text)
                .map(|size| size.as_u64())
                .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
        fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }
        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
        }
    }
    pub fn serialize<S: Serializer>(bytes: &u64, s: S) -> Result<S::Ok, S::Error> {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let unit = units.iter().find(|(bits, _)| *bytes > 0 && bytes.is_multiple_of(1 << bits));
        match unit {
            Some((bits, name)) => s.collect_str(&format_args!("{}{name}", bytes >> bits)),
            None => s.collect_str(&format_args!("{bytes}B")),
        }
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        d.deserialize_any(SizeVisitor)
    }
}

/// Name under which a number is asked for as the text it was written as (see `config::read`).
pub(super) const AS_WRITTEN: &str = "chatd::as_written";

/// US dollars per million tokens, exactly as written: `"0.30"` stays `0.30`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price(String);

impl Price {
    /// The decimal text: digits, and perhaps a point and more digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for Price {
    const EXPECTED: &'static str = "a price in dollars such as \"3\" or \"0.25\"";
    fn read(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        // 12 digits on each side fit any arithmetic with 128 bits that follows.
        let digits = |s: &str| (1..=12).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        (digits(whole) && digits(part)).then(|| Self(text.to_owned()))
    }
    fn show(&self) -> String {
        self.0.clone()
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_newtype_struct(AS_WRITTEN, TextVisitor(PhantomData))
    }
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

/// `path` with a leading `~` replaced by the home folder, and made absolute below `base`.
pub(super) fn absolute(path: &Path, base: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => base.join(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_keep_their_digits() {
        assert_eq!(Price::read("0.30").map(|p| p.0), Some("0.30".into()));
        for bad in ["", ".5", "5.", "-1", "1e3", "1,5", "NaN", "$3"] {
            assert_eq!(Price::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn databases_are_told_apart_and_memory_is_refused() {
        assert_eq!(DatabaseUrl::read("sqlite:chatd.db"), Some(DatabaseUrl::Sqlite("chatd.db".into())));
        assert_eq!(DatabaseUrl::read("sqlite:///var/x.db"), Some(DatabaseUrl::Sqlite("/var/x.db".into())));
        assert!(matches!(DatabaseUrl::read("postgresql://h/d"), Some(DatabaseUrl::Postgres(_))));
        for bad in ["sqlite::memory:", "sqlite:", "mysql://h/d", "chatd.db"] {
            assert_eq!(DatabaseUrl::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_tilde_is_the_home_folder_only_as_a_whole_segment() {
        let (base, home) = (Path::new("/base"), Some(Path::new("/home/ann")));
        assert_eq!(absolute(Path::new("~/x"), base, home), Path::new("/home/ann/x"));
        assert_eq!(absolute(Path::new("~x"), base, home), Path::new("/base/~x"));
        assert_eq!(absolute(Path::new("/x"), base, home), Path::new("/x"));
    }
}
