//! The store on both engines.

mod accounts;
mod at_once;
mod costs;
mod engines;
mod fencing;
pub(crate) mod fixture;
mod journal;
mod leases;
mod lists;
mod migrations;
mod models;
mod people;
mod plans;
mod prepared;
mod races;
mod replicas;
mod retention;
mod sealing;
mod spend;
mod streams;
pub(crate) mod support;
mod transitions;
pub(crate) mod workspaces;
