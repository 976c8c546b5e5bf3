//! Turns from outside: what is asked of the model, what is streamed, what is stored.

mod archive;
mod compaction;
mod edit;
mod idempotency;
mod limits;
mod odd;
mod picks;
mod plain;
mod races;
mod restart;
mod titles;
mod watch;
