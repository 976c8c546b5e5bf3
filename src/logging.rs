//! Logging: events of `tracing` to stderr, for people or for machines.

use crate::config::log::{Log, LogFormat};
use std::io::{self, IsTerminal};
use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, ParseError},
    fmt,
    util::SubscriberInitExt,
};

/// The filter is not one.
#[derive(Debug, thiserror::Error)]
#[error("log.filter is not a list of levels such as \"info,chatd::turn=debug\"")]
pub struct BadFilter(#[from] ParseError);

/// Starts logging. The first call of a process decides; a later one, as in tests that share a
/// process, changes nothing and is no error.
///
/// # Errors
/// When `log.filter` cannot be read. A configuration from `Config::load` has been checked for that.
pub fn init(log: &Log) -> Result<(), BadFilter> {
    let mut filter = EnvFilter::builder().parse(&log.filter)?;
    // It reports each malformed request as an ERROR: anybody could fill the log and wake an operator.
    if !log.filter.contains("actix_http") {
        filter = filter.add_directive("actix_http::h1::dispatcher=off".parse()?);
    }
    // It tells of each message of a tool server as an INFO. A filter that shows less than that is left as it is.
    if !log.filter.contains("rmcp") && filter.max_level_hint().is_none_or(|level| level > LevelFilter::WARN) {
        filter = filter.add_directive("rmcp=warn".parse()?);
    }
    // Where stderr is gone or full nobody can be told: telling it on stderr would panic in whatever logs.
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let started = match log.format {
        LogFormat::Pretty => builder.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).finish().try_init(),
    };
    // The only failure is that a subscriber is there already, which is what was asked for.
    drop(started);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_is_no_error_and_a_bad_filter_is() {
        let log = Log { filter: "off".into(), ..Log::default() };
        assert!(init(&log).is_ok());
        assert!(init(&Log { format: LogFormat::Json, ..log.clone() }).is_ok());
        assert!(init(&Log { filter: "info=loud=x".into(), ..log }).is_err());
    }
}
