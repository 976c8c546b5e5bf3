//! actors

pub mod subscription;
