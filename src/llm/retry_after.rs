//! How long a provider asks to wait.

use std::time::{Duration, SystemTime};

/// Reads `retry-after-ms`, else `retry-after` as seconds (fractions allowed) or HTTP date; a date in
/// the past is zero (agent-loop.md §11.3). Values that are no time are ignored.
pub(super) fn parse(ms: Option<&str>, plain: Option<&str>, now: SystemTime) -> Option<Duration> {
    let from_ms = ms.and_then(|v| v.trim().parse::<f64>().ok()).map(|v| v / 1000.0);
    let seconds = from_ms.or_else(|| plain.and_then(|v| v.trim().parse::<f64>().ok()));
    if let Some(seconds) = seconds {
        return Duration::try_from_secs_f64(seconds.max(0.0)).ok();
    }
    let date = httpdate::parse_http_date(plain?.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_win_and_past_dates_are_zero() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let date = |s: u64| httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(s));
        let later = date(1_000_090);
        let past = date(10);
        let cases: [(Option<&str>, Option<&str>, Option<u64>); 9] = [
            (Some("250"), Some("9"), Some(250)),
            (Some("nonsense"), Some("9"), Some(9000)),
            (None, Some(" 1.5 "), Some(1500)),
            (None, Some("-3"), Some(0)),
            (None, Some("NaN"), Some(0)),
            (None, Some("1e300"), None),
            (None, Some(&later), Some(90_000)),
            (None, Some(&past), Some(0)),
            (None, None, None),
        ];
        for (ms, plain, expected) in cases {
            assert_eq!(parse(ms, plain, now), expected.map(Duration::from_millis), "{ms:?} {plain:?}");
        }
    }
}
