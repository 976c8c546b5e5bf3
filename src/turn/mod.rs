//! One turn of the agent loop: decide purely, then act.
//!
//! [`history`] is the view everything else reads; [`decide`] picks the next action; [`prompt`] turns
//! history into a request; [`accumulate`] folds the answer into a row; [`tool_batch`] runs the calls
//! of one step; [`interrupt`] saves what an interrupted step had shown; [`compact`] replaces a long
//! history by its summary; [`project`] is what the workspace says of itself. Invariant: everything here except [`tool_batch`] is synchronous and pure.

pub mod accumulate;
pub mod compact;
pub mod cost;
pub mod decide;
pub mod engine;
pub mod generate;
pub mod history;
pub mod interrupt;
pub mod project;
pub mod prompt;
pub mod retry;
pub mod title;
pub mod tool_batch;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod reading;
