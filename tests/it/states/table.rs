//! The table of api.md §2.2, typed from there.

use std::fmt;

/// An execution state: status, whether somebody waits in the queue, archived.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct State(pub &'static str, pub bool, pub bool);

pub const W: State = State("waiting", false, false);
pub const E0: State = State("error", false, false);
pub const E1: State = State("error", true, false);
pub const R0: State = State("running", false, false);
pub const R1: State = State("running", true, false);
pub const I0: State = State("interrupting", false, false);
pub const I1: State = State("interrupting", true, false);
pub const A0: State = State("requires_action", false, false);
pub const A1: State = State("requires_action", true, false);
pub const XW: State = State("waiting", false, true);
pub const XE0: State = State("error", false, true);
pub const XE1: State = State("error", true, true);
/// Three of the combinations that are no state.
pub const WAITING_WITH_QUEUE: State = State("waiting", true, false);
pub const ARCHIVED_RUNNING: State = State("running", false, true);
pub const ARCHIVED_ASKING: State = State("requires_action", false, true);

impl State {
    /// Its status is `error`.
    pub fn failed(self) -> bool {
        self.0 == "error"
    }

    /// The chat waits for an answer to a client-side call.
    pub fn asks(self) -> bool {
        self.0 == "requires_action"
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(status, queue, archived) = self;
        write!(f, "{status}/{}", if *queue { "queue" } else { "no queue" })?;
        if *archived { f.write_str("/archived") } else { Ok(()) }
    }
}

/// The columns of the table.
pub const COLUMNS: [State; 15] =
    [W, E0, E1, R0, R1, I0, I1, A0, A1, XW, XE0, XE1, WAITING_WITH_QUEUE, ARCHIVED_RUNNING, ARCHIVED_ASKING];

/// The state after the call, or the status of the refusal.
pub type Cell = Result<State, u16>;

const NO: Cell = Err(409);
const ARCHIVED: [Cell; 3] = [Err(400); 3];
const INVALID: [Cell; 3] = [NO; 3];

/// A call and its cells: W … A1, then X*, then the invalid combinations.
pub struct Row(pub &'static str, [Cell; 9], [Cell; 3], [Cell; 3]);

impl Row {
    /// The cells in the order of [`COLUMNS`].
    pub fn cells(&self) -> impl Iterator<Item = (State, Cell)> {
        COLUMNS.into_iter().zip([&self.1[..], &self.2, &self.3].concat())
    }
}

/// The rows, with one message in each queue.
pub const TABLE: [Row; 12] = [
    Row(
        "send queue",
        [Ok(R0), Ok(R0), Ok(R1), Ok(R1), Ok(R1), Ok(I1), Ok(I1), Ok(A1), Ok(A1)],
        ARCHIVED,
        INVALID,
    ),
    Row(
        "send interrupt",
        [Ok(R0), Ok(R0), Ok(R1), Ok(I1), Ok(I1), Ok(I1), Ok(I1), Ok(R1), Ok(R1)],
        ARCHIVED,
        INVALID,
    ),
    Row("edit", [Ok(R0); 9], ARCHIVED, INVALID),
    Row("interrupt", [NO, NO, NO, Ok(I0), Ok(I1), NO, NO, Ok(R0), Ok(R1)], ARCHIVED, INVALID),
    Row("promote", [NO, NO, Ok(R0), NO, Ok(I1), NO, Ok(I1), NO, Ok(R0)], ARCHIVED, INVALID),
    Row("delete queued", [NO, NO, Ok(E0), NO, Ok(R0), NO, Ok(I0), NO, Ok(A0)], ARCHIVED, INVALID),
    Row("tool-results", [NO, NO, NO, NO, NO, NO, NO, Ok(R0), Ok(R1)], ARCHIVED, INVALID),
    Row("archive", [Ok(XW), Ok(XE0), Ok(XE1), NO, NO, NO, NO, NO, NO], ARCHIVED, INVALID),
    Row("unarchive", [Err(400); 9], [Ok(W), Ok(E0), Ok(E1)], [NO; 3]),
    Row("compact", [Ok(R0), Ok(R0), Ok(R1), NO, NO, NO, NO, NO, NO], ARCHIVED, INVALID),
    Row("clear", [Ok(W), Ok(W), NO, NO, NO, NO, NO, NO, NO], ARCHIVED, INVALID),
    Row("reconcile-invalid", [NO; 9], [NO; 3], [Ok(E1), Ok(E0), Ok(E0)]),
];

/// Where the table gives two results: the second one, which applies while somebody still waits. Here
/// two messages are in the queue.
pub const STILL_QUEUED: [(&str, State, State); 8] = [
    ("promote", E1, R1),
    ("promote", R1, I1),
    ("promote", I1, I1),
    ("promote", A1, R1),
    ("delete queued", E1, E1),
    ("delete queued", R1, R1),
    ("delete queued", I1, I1),
    ("delete queued", A1, A1),
];
