//! Model providers: their wire formats and their failures.

mod prompts;
mod retries;
mod switch;
mod wires;
