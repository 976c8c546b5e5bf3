//! From history to request: which rows ([`select`]), what they become ([`assemble`]), and the
//! instructions that stand before them ([`instructions`], cleaned by [`sanitize`]).

pub mod assemble;
mod attachments;
mod chain;
mod inline;
pub mod instructions;
mod pairing;
pub mod sanitize;
pub mod select;

pub use assemble::{Options, Prompt, assemble};
pub use attachments::{PromptFile, exceeded};
pub use chain::{Chain, chain};
pub use inline::fitting;
pub use select::{Selection, select};

#[cfg(test)]
mod validity;
