//! Model providers: their wire formats and their failures.

mod retries;
mod wires;
