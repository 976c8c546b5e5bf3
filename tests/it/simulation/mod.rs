//! Long random runs against the real program, each with a seed that is printed when it fails.

mod crash;
mod ledger;
mod model;
