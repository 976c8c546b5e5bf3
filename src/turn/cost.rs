//! The price of a model step in micro-dollars, in exact decimal arithmetic (agent-loop.md §12).
//!
//! A price in dollars per million tokens is also a price in micro-dollars per token, so the cost is
//! a plain sum of products, rounded up once.

use crate::chat::{json::Json, message::Usage};
use serde::Deserialize;
use std::str::FromStr;

/// Decimal places a price may have: a femto-dollar per token is far below any real price, and
/// `10^12 × 10^6 dollars × 2^63 tokens` still fits into 128 bits.
const SCALE: u32 = 12;

/// A price per million tokens, in units of 10⁻¹² dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(u64);

/// The text is not a decimal number from 0 to a million with at most 12 places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a price: {0:?}")]
pub struct BadPrice(String);

impl FromStr for Price {
    type Err = BadPrice;

    fn from_str(text: &str) -> Result<Self, BadPrice> {
        parse_decimal(text.trim()).map(Self).ok_or_else(|| BadPrice(text.chars().take(40).collect()))
    }
}

/// Digits, an optional fraction and an optional exponent, as JSON writes numbers, in 10⁻¹².
fn parse_decimal(text: &str) -> Option<u64> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{whole}{}", fraction.trim_end_matches('0'));
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let places = i32::try_from(fraction.trim_end_matches('0').len()).ok()?;
    let shift = i32::try_from(SCALE).ok()?.checked_add(exponent)?.checked_sub(places)?;
    let value = digits.parse::<u64>().ok()?;
    let scaled = value.checked_mul(10u64.checked_pow(u32::try_from(shift).ok()?)?)?;
    (scaled <= 1_000_000 * 10u64.pow(SCALE)).then_some(scaled)
}

/// Prices of one model, per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prices {
    /// Prompt tokens that came from no cache.
    pub input: Option<Price>,
    /// Generated tokens, reasoning included.
    pub output: Option<Price>,
    /// Prompt tokens read from a cache.
    pub cache_read: Option<Price>,
    /// Prompt tokens written to a cache.
    pub cache_write: Option<Price>,
}

/// The four keys as they stand in a `model_config` object or in its `cost` object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PriceKeys {
    input_price_per_million_tokens: Option<Json>,
    output_price_per_million_tokens: Option<Json>,
    cache_read_price_per_million_tokens: Option<Json>,
    cache_write_price_per_million_tokens: Option<Json>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    cost: Option<PriceKeys>,
}

fn price(nested: Option<Json>, legacy: Option<Json>) -> Result<Option<Price>, BadPrice> {
    match nested.or(legacy) {
        Some(json) if json.get() != "null" => json.get().trim_matches('"').parse().map(Some),
        _ => Ok(None),
    }
}

impl Prices {
    /// Reads the prices of a `model_config` object (api.md §2.11). The nested `cost` object wins
    /// over the same key at the top level. Numbers are read from their text, never through a float.
    ///
    /// # Errors
    /// When a price is negative, absurd or no number.
    pub fn from_model_config(config: &Json) -> Result<Self, BadPrice> {
        let unreadable = |error: serde_json::Error| BadPrice(error.to_string());
        let legacy: PriceKeys = config.read().map_err(unreadable)?;
        let cost = config.read::<Config>().map_err(unreadable)?.cost.unwrap_or_default();
        Ok(Self {
            input: price(cost.input_price_per_million_tokens, legacy.input_price_per_million_tokens)?,
            output: price(cost.output_price_per_million_tokens, legacy.output_price_per_million_tokens)?,
            cache_read: price(
                cost.cache_read_price_per_million_tokens,
                legacy.cache_read_price_per_million_tokens,
            )?,
            cache_write: price(
                cost.cache_write_price_per_million_tokens,
                legacy.cache_write_price_per_million_tokens,
            )?,
        })
    }

    /// The cost of a step in micro-dollars, rounded up. `None` when nothing has both tokens and a
    /// price, and when it is exactly 0, which is stored the same way. Reasoning tokens are part of
    /// the output and not counted twice.
    #[must_use]
    pub fn cost_micros(&self, usage: &Usage) -> Option<i64> {
        let components = [
            (self.input, usage.input_tokens),
            (self.output, usage.output_tokens),
            (self.cache_read, usage.cache_read_tokens),
            (self.cache_write, usage.cache_creation_tokens),
        ];
        let sum = components
            .into_iter()
            .filter_map(|(price, tokens)| Some((price?, u128::try_from(tokens).ok()?)))
            .fold(0u128, |sum, (price, tokens)| sum.saturating_add(u128::from(price.0) * tokens));
        let micros = sum.div_ceil(10u128.pow(SCALE));
        (micros > 0).then(|| i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(config: &str) -> Prices {
        Prices::from_model_config(&Json::parse(config.into()).unwrap()).unwrap()
    }

    #[test]
    fn decimals_are_exact() {
        for (text, expected) in [
            ("0", Some(0)),
            ("3", Some(3_000_000_000_000)),
            ("0.1", Some(100_000_000_000)),
            ("1.50", Some(1_500_000_000_000)),
            ("1e-6", Some(1_000_000)),
            ("2.5E1", Some(25_000_000_000_000)),
            ("0.000000000001", Some(1)),
            ("0.0000000000001", None),
            ("-1", None),
            ("NaN", None),
            ("1e99", None),
            ("", None),
            (".5", None),
        ] {
            assert_eq!(text.parse::<Price>().ok().map(|price| price.0), expected, "{text:?}");
        }
    }

    #[test]
    fn one_ceiling_over_the_whole_sum() {
        let p = prices(
            r#"{"cost":{"input_price_per_million_tokens":0.1,"output_price_per_million_tokens":"0.2",
                "cache_read_price_per_million_tokens":0.01,"cache_write_price_per_million_tokens":0.3}}"#,
        );
        let usage = |input, output, read, write| Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_tokens: read,
            cache_creation_tokens: write,
            reasoning_tokens: 1_000_000,
            total_tokens: 99,
        };
        // 0.1 + 0.2 + 0.3 = 0.6, where single ceilings would say 3.
        assert_eq!(p.cost_micros(&usage(1, 1, 0, 1)), Some(1));
        // 1.0 exactly, where floats say 1.0000000000000002 or less.
        assert_eq!(p.cost_micros(&usage(1, 3, 0, 1)), Some(1));
        assert_eq!(p.cost_micros(&usage(0, 0, 101, 0)), Some(2));
        assert_eq!(p.cost_micros(&usage(0, 0, 0, 0)), None);
        assert_eq!(Prices::default().cost_micros(&usage(5, 5, 5, 5)), None);
        let output_only = prices(r#"{"output_price_per_million_tokens":15}"#);
        assert_eq!(output_only.cost_micros(&usage(1000, 2, 0, 0)), Some(30));
        assert_eq!(output_only.cost_micros(&usage(1000, 0, 0, 0)), None);
        assert_eq!(output_only.cost_micros(&usage(0, i64::MAX, 0, 0)), Some(i64::MAX));
    }

    #[test]
    fn nested_prices_win_over_legacy_ones() {
        let p = prices(
            r#"{"input_price_per_million_tokens":1,"output_price_per_million_tokens":0.25,
                "cost":{"input_price_per_million_tokens":2},"temperature":0.5}"#,
        );
        assert_eq!((p.input, p.output), ("2".parse().ok(), "0.25".parse().ok()));
        assert_eq!(prices("{}"), Prices::default());
        let negative = Json::parse(r#"{"cost":{"input_price_per_million_tokens":-2}}"#.into()).unwrap();
        assert!(Prices::from_model_config(&negative).is_err());
    }
}
