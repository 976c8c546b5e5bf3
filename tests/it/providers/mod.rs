//! Model providers: their wire formats and their failures.

mod chained;
mod prompts;
mod retries;
mod switch;
mod wires;
