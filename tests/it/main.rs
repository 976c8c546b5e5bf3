//! The integration tests: one binary, one folder a capability.

#![allow(missing_docs, reason = "the names of tests and of their helpers are sentences already")]
#![allow(clippy::needless_pass_by_value, reason = "a helper that takes `json!({ … })` reads better by value")]

mod agent;
mod architecture;
mod auth;
mod baseline;
mod cli;
mod cli_db;
mod debug_runs;
mod files;
mod hostile;
mod interrupts;
mod lists;
mod mcp_records;
mod models;
mod ownership;
mod people;
mod providers;
mod queue;
mod relay;
mod rows;
mod settings;
mod sharing;
mod simulation;
mod skills;
mod spend;
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
mod titles;
mod tools;
mod turns;
mod workspace_tools;
mod workspaces;
