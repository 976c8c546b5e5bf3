//! The store on both engines.

mod accounts;
mod costs;
mod engines;
mod fencing;
mod fixture;
mod leases;
mod lists;
mod migrations;
mod models;
mod races;
mod replicas;
mod sealing;
mod streams;
pub(crate) mod support;
mod transitions;
