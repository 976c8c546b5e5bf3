//! OpenAI Chat Completions, and the dialects of everything that claims to speak it.
//!
//! One `data:` chunk carries `choices[0].delta` with pieces of text, reasoning and calls; a later one the
//! `finish_reason`, a last one with empty `choices` the `usage`; `[DONE]` ends the stream. Servers differ:
//! see [`decode`] for what is tolerated.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub(super) use decode::Decoder;
pub(super) use encode::encode;
