//! Row by row what existing clients rely on (api.md §5): the exact success codes, through a walk of the
//! whole document. (The working set of §5.1 is in `stock_client`.)

mod codes;
mod panel;
mod walk;
mod walk_chats;
mod walk_platform;
mod walk_settings;
