//! THE STATE MACHINE. Pure: no async, no I/O, no clock, no randomness.
//!
//! [`step::step`] takes the stored facts of a chat and a [`command::Command`] and answers with a
//! [`plan::Plan`], which `store::commit` writes in one transaction, or with a [`plan::Refusal`].

pub mod answers;
pub mod command;
pub mod duty;
pub mod json;
pub mod message;
pub mod plan;
pub mod state;
pub mod step;

#[cfg(test)]
mod tests;
