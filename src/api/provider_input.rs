//! What requests about providers and models have in common.

use super::{
    auth::Caller,
    problem::{Problem, Result},
    state::ApiState,
};
use crate::{
    config::Secret,
    llm::{
        catalog::Catalog,
        providers::{self, Provider, SCRIPTED},
    },
    store::{self, records::models::NewKey},
};
use actix_web::http::StatusCode;
use reqwest::Url;
use serde::de::{self, Deserialize as _, DeserializeOwned, Deserializer};
use std::sync::Arc;

/// Longest key of a provider in bytes (api.md §1.7).
const MAX_KEY_BYTES: usize = 10_240;
/// Longest name, address or other line of text in bytes.
const MAX_TEXT_BYTES: usize = 2_048;
/// Characters of a key that are shown again, of keys long enough not to be given away by them.
const SHOWN: usize = 4;
const SHOWN_FROM: usize = 16;

/// The catalogue as the database has it at this moment, not as a hint has brought it.
pub async fn fresh(state: &ApiState) -> Result<Arc<Catalog>> {
    state.catalog.refresh().await?;
    Ok(state.catalog.current())
}

/// 403 for all but administrators.
pub fn admin_only(caller: &Caller, what: &str) -> Result<()> {
    caller.require_admin(|| Problem::forbidden(format!("Only administrators may change {what}.")))
}

/// The refusal to change what the configuration declares, in a section such as `providers`.
pub fn declared(what: &str, section: &str) -> Problem {
    Problem::forbidden(format!("This {what} is declared in the configuration file of the server."))
        .detail(format!("Change [[{section}]] there and restart."))
}

/// A line of text: trimmed, without characters that no line has.
pub fn text(field: &str, value: &str) -> Result<String> {
    let value = value.trim();
    if value.len() > MAX_TEXT_BYTES {
        return Err(Problem::field(field, format!("{field} may have at most {MAX_TEXT_BYTES} bytes.")));
    }
    if value.chars().any(char::is_control) {
        return Err(Problem::field(field, format!("{field} must not hold control characters.")));
    }
    Ok(value.to_owned())
}

/// A key to be stored.
pub fn key(field: &str, value: &Secret) -> Result<NewKey> {
    let key = value.expose().trim();
    let wrong = |detail: String| Problem::field(field, detail);
    if key.is_empty() {
        return Err(wrong(format!("{field} must not be blank.")));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(wrong(format!("{field} may have at most {MAX_KEY_BYTES} bytes.")));
    }
    // It becomes the value of a header.
    if !key.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return Err(wrong(format!("{field} must be printable ASCII without spaces.")));
    }
    Ok(NewKey { secret: Secret::new(key), hint: masked(key) })
}

fn masked(key: &str) -> String {
    let tail = if key.len() >= SHOWN_FROM { &key[key.len() - SHOWN..] } else { "" };
    format!("****{tail}")
}

/// `deserialize_with` of what holds secrets: an error does not repeat what was found.
pub fn unrepeated<'de, D: Deserializer<'de>, T: DeserializeOwned>(d: D) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(d)?;
    serde_json::from_value(value).map_err(|_| de::Error::custom("has the wrong type"))
}

/// A type of provider that can be stored and called.
pub fn kind(field: &str, name: &str) -> Result<&'static Provider> {
    let name = name.trim();
    let found = providers::lookup(name).filter(|p| p.name != SCRIPTED);
    match found {
        Some(kind) if kind.format.is_some() => Ok(kind),
        Some(kind) => Err(Problem::field(
            field,
            format!("{} is not supported; reach it through an OpenAI-compatible gateway.", kind.display_name),
        )),
        None => {
            let known = providers::PROVIDERS.iter().filter(|p| p.format.is_some() && p.name != SCRIPTED);
            let known: Vec<&str> = known.map(|p| p.name).collect();
            Err(Problem::field(field, format!("{field} must be one of {}.", known.join(", "))))
        }
    }
}

/// The address of a provider; `None` for an empty one, where the vendor's own is known.
pub fn base_url(kind: &Provider, value: Option<&str>) -> Result<Option<String>> {
    let value = text("base_url", value.unwrap_or_default())?;
    if value.is_empty() {
        return match kind.default_base_url {
            Some(_) => Ok(None),
            None => {
                Err(Problem::field("base_url", format!("base_url is required for {}.", kind.display_name)))
            }
        };
    }
    let sound = Url::parse(&value).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
    if sound {
        Ok(Some(value))
    } else {
        Err(Problem::field("base_url", "base_url must be an absolute http or https address."))
    }
}

/// A store error of a write; `what` is the thing that was written.
pub fn write_error(error: store::Error, what: &str) -> Problem {
    match error {
        store::Error::Stale => {
            Problem::conflict(format!("{what} was changed meanwhile. Look at it and try again."))
        }
        other => Problem::of_store(other, what),
    }
}

/// 412: something that the request builds on is missing or disabled.
pub fn precondition(message: &str) -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_and_masked() {
        let good = key("api_key", &Secret::new("  sk-0123456789abcdef \n")).unwrap();
        assert_eq!((good.secret.expose(), good.hint.as_str()), ("sk-0123456789abcdef", "****cdef"));
        assert_eq!(key("k", &Secret::new("short")).unwrap().hint, "****");
        assert!(key("k", &Secret::new("x".repeat(10_240))).is_ok());
        for bad in [" ".to_owned(), "x".repeat(10_241), "a b".to_owned(), "é".to_owned(), "a\0b".to_owned()]
        {
            let e = key("api_key", &Secret::new(&*bad)).unwrap_err();
            assert_eq!(e.status().as_u16(), 400);
            assert!(bad.trim().len() < 3 || !format!("{e:?}").contains(&bad));
        }
    }

    #[test]
    fn types_and_addresses() {
        assert_eq!(kind("provider", " OpenAI-compatible ").unwrap().name, "openai-compat");
        for bad in ["bedrock", "copilot", "scripted", "", "x"] {
            assert_eq!(kind("provider", bad).unwrap_err().status().as_u16(), 400, "{bad}");
        }
        let openai = kind("type", "openai").unwrap();
        assert_eq!(base_url(openai, None).unwrap(), None);
        assert_eq!(base_url(openai, Some(" http://h/v1 ")).unwrap().as_deref(), Some("http://h/v1"));
        for bad in ["ftp://h", "/v1", "h", "http://", "http://h\u{7}"] {
            assert!(base_url(openai, Some(bad)).is_err(), "{bad}");
        }
        assert!(base_url(kind("type", "azure").unwrap(), Some(" ")).is_err());
    }
}
