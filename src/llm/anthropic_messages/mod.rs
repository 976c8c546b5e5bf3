//! Anthropic Messages (`POST /v1/messages`, `stream: true`).
//!
//! | stream event | meaning |
//! |---|---|
//! | `message_start` | id, prompt tokens |
//! | `content_block_start` / `_delta` / `_stop` | text, thinking, tool calls, provider-run tools |
//! | `message_delta` | stop reason, generated tokens |
//! | `message_stop` | the end |
//! | `error` | failure inside of the stream |

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub(super) use decode::Decoder;
pub(super) use encode::{betas, encode};
