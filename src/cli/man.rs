//! `chatd man`: the manual page.

use super::{Failure, Outcome, output};

/// Prints the page in the form that `man -l` reads.
///
/// # Errors
/// When stdout cannot be written to.
pub fn run() -> Outcome {
    let mut page = Vec::new();
    clap_mangen::Man::new(super::command())
        .render(&mut page)
        .map_err(|e| Failure::failed(format!("the page cannot be written: {e}")))?;
    output::data(&page)
}
