//! Whatever outlives a request; each file is one loop or one actor.

pub mod subscription;
