//! Tests of the state machine: every pair of command and state, the rules that hold across all
//! commands, and random walks against a second, naive implementation.

mod calls;
mod database;
mod fixture;
mod matrix;
mod model;
mod rules;
mod versions;
mod walk;
