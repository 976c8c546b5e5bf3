//! Clients and providers that mean harm, or are broken.

mod bodies;
mod provider;
mod secrets;
mod sockets;
mod text;
