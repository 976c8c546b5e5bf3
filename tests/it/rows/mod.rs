//! Row by row what existing clients rely on (api.md §5): the exact success codes of §5.2 through a walk of
//! the whole document, the decoder of §5.3, the screens of §5.4, the habits of §5.5; which of several refusals is told. (The working set of
//! §5.1 is in `stock_client`.)

mod codes;
mod decoder;
mod habits;
mod order;
pub mod panel;
mod parts;
mod screens;
mod walk;
mod walk_chats;
mod walk_platform;
mod walk_settings;
