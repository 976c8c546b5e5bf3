//! Who drives a chat: one replica at a time, and another one soon after it is gone.

mod alone;
mod database;
mod replicas;
mod takeover;
