//! The durable truth. One query source, two engines.

pub mod records;
