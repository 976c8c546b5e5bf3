//! The store on both engines.

mod fencing;
mod fixture;
mod leases;
mod lists;
mod races;
mod support;
mod transitions;
