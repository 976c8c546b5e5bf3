//! The integration tests: one binary, one folder a capability.

#![allow(missing_docs, reason = "the names of tests and of their helpers are sentences already")]
#![allow(clippy::needless_pass_by_value, reason = "a helper that takes `json!({ … })` reads better by value")]

mod architecture;
mod auth;
mod baseline;
mod cli;
mod cli_db;
mod debug_runs;
mod files;
mod hostile;
mod interrupts;
mod mcp_records;
mod ownership;
mod providers;
mod queue;
mod relay;
mod simulation;
mod skills;
mod states;
mod stock_client;
mod streaming;
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "a helper may be there before the first test that needs it"
)]
mod support;
mod tools;
mod turns;
