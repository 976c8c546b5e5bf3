//! The hub against a model: any history of a chat, lost and doubled notices, failed reads, slow and
//! reconnecting readers; every reader must end with exactly what is committed.

mod client;
mod database;
mod fold;
mod hub;
