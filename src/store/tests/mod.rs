//! The store on both engines.

mod fixture;
mod support;
mod transitions;
