//! The server as a client meets it that was written for another one (api.md §5): the smallest working
//! set, the shapes it decodes, the order in which the stream tells things.

mod first_sync;
mod sequences;
mod shapes;
mod walk;
