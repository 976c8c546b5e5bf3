//! Query strings, read strictly: a number that is none is an error, not a default.

use super::{
    auth::SESSION,
    problem::{Problem, Result},
};
use actix_web::web;
use std::{ops::RangeBounds, str::FromStr};

/// The pairs of a query string in order.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes.
    ///
    /// # Errors
    /// 400 when it cannot be decoded.
    pub fn parse(text: &str) -> Result<Self> {
        web::Query::<Vec<(String, String)>>::from_query(text)
            .map(|q| Self(q.into_inner()))
            .map_err(|e| Problem::bad_request("Invalid query string.").detail(e.to_string()))
    }

    /// The first value of a key; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// Every value of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Refuses keys that nobody asks for, on the endpoints that api.md calls strict. The token may stand in
    /// every query.
    ///
    /// # Errors
    /// 400 that names the key.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        match self.0.iter().find(|(key, _)| key != SESSION && !known.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) => Err(Problem::field(
                key.as_str(),
                format!("There is no such query key here; there are {}.", known.join(", ")),
            )),
        }
    }

    /// A whole number within a range.
    ///
    /// # Errors
    /// 400 that names the key.
    pub fn number(&self, key: &str, range: impl RangeBounds<i64>, rule: &str) -> Result<Option<i64>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        match text.parse() {
            Ok(n) if range.contains(&n) => Ok(Some(n)),
            _ => Err(Problem::field(key, format!("{key} must be {rule}."))),
        }
    }

    /// A UUID.
    ///
    /// # Errors
    /// 400 that names the key.
    pub fn id<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        self.get(key)
            .map(|text| uuid(text).ok_or_else(|| Problem::field(key, format!("{key} must be a UUID."))))
            .transpose()
    }
}

/// A UUID in its hyphenated form, the only one on the wire (api.md §1.4).
pub fn uuid<T: FromStr>(text: &str) -> Option<T> {
    if text.len() == 36 { text.parse().ok() } else { None }
}

/// Reads an id of a path; `what` is the thing it is of.
///
/// # Errors
/// 400 when it is no UUID.
pub fn path_id<T: FromStr>(text: &str, what: &str) -> Result<T> {
    uuid(text).ok_or_else(|| {
        Problem::bad_request(format!("Invalid {what} id.")).detail("The id in the path must be a UUID.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ChatId;

    #[test]
    fn numbers_and_ids_are_strict() {
        let q = Query::parse("limit=5&bad=x&big=99999999999999999999&empty=&label=a%3Ab&label=c:d").unwrap();
        assert_eq!(q.number("limit", 0.., "").unwrap(), Some(5));
        assert_eq!(q.number("empty", 0.., "").unwrap(), None);
        assert_eq!(q.number("none", 0.., "").unwrap(), None);
        assert!(q.number("limit", 6.., "").is_err());
        assert!(q.number("bad", .., "").is_err());
        assert!(q.number("big", .., "").is_err());
        assert_eq!(q.all("label").collect::<Vec<_>>(), ["a:b", "c:d"]);
        assert!(q.id::<ChatId>("bad").is_err());
        assert!(uuid::<ChatId>("11111111111141118111111111111111").is_none());
        assert!(uuid::<ChatId>("11111111-1111-4111-8111-111111111111").is_some());
    }
}
