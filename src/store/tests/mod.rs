//! The store on both engines.

mod accounts;
mod costs;
mod engines;
mod fencing;
pub(crate) mod fixture;
mod leases;
mod lists;
mod migrations;
mod races;
mod replicas;
mod sealing;
mod streams;
pub(crate) mod support;
mod transitions;
