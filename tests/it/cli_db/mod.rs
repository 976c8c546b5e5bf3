//! Commands on a database, with a daemon beside them and without: exit codes, what they print, what they
//! leave.

mod accounts;
mod backup;
mod chat;
mod demo;
mod doctor;
mod process;
mod start;
mod tls;
mod transfer;
