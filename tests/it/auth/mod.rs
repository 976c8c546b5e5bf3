//! Who may come in, and what they may do then (api.md §1.2 and §1.9).

mod rights;
mod sessions;
