//! Data to stdout.

use super::exit::{Exit, Failure, Outcome};
use std::io::{self, ErrorKind, Write};

/// Writes data to stdout. A reader that went away (`chatd config show | head`) has what it wanted,
/// so that is no failure. The signal that would say the same stays ignored: it would also end a
/// daemon whose client went away.
///
/// # Errors
/// When stdout cannot be written to.
pub fn data(text: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Done),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(Failure::failed(format!("cannot write to stdout: {error}"))),
    }
}

/// Writes one line to stderr. Where stderr is gone nobody can be told, so that is not looked at.
pub fn note(line: impl std::fmt::Display) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}
