//! The state machine written a second time, naively: a list of messages, a list of queued messages
//! and plain conditions. It shares no code with the real one.

/// Most messages the model's queue holds.
pub const MAX_QUEUE: usize = 3;

/// What happens in one step of a walk, with everything already chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    Send {
        text: String,
        interrupt: bool,
    },
    Edit {
        target: i64,
        text: String,
    },
    Delete(i64),
    Promote(i64),
    Interrupt,
    /// Results by call id; the text says whether they are JSON.
    Complete(Vec<(String, bool)>),
    Compact,
    Clear {
        text: String,
    },
    Archive(bool),
    Attempt,
    Retry(u8),
    Step(Vec<Entry>),
    Enter,
    Finish,
    FinishInterruption(Vec<Entry>),
    Fail,
    Cancel,
    Reconcile,
    Acquire,
    Abandon,
}

/// A message, or the one part of it that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    User(String),
    Said(String),
    Call { id: String, client: bool },
    Result(String),
}

/// A chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub status: &'static str,
    pub archived: bool,
    pub history: Vec<(i64, Entry)>,
    pub queue: Vec<(i64, String)>,
    pub snapshot: i64,
    pub history_version: i64,
    pub queue_version: i64,
    pub retry_version: i64,
    pub attempt: i64,
    pub retry: Option<u8>,
    pub error: bool,
    pub deadline: bool,
    pub marker: bool,
    pub owned: bool,
    pub next_message: i64,
    pub next_queued: i64,
}

impl Model {
    pub fn create(text: &str) -> Self {
        Self {
            status: "running",
            archived: false,
            history: vec![(1, Entry::User(text.to_owned()))],
            queue: Vec::new(),
            snapshot: 1,
            history_version: 1,
            queue_version: 0,
            retry_version: 0,
            attempt: 0,
            retry: None,
            error: false,
            deadline: false,
            marker: false,
            owned: false,
            next_message: 2,
            next_queued: 1,
        }
    }

    pub fn is_valid(&self) -> bool {
        let idle_with_queue = self.status == "waiting" && !self.queue.is_empty();
        !(idle_with_queue || self.archived && self.is_active())
    }

    fn is_active(&self) -> bool {
        matches!(self.status, "running" | "interrupting" | "requires_action")
    }

    /// Unanswered calls.
    pub fn open(&self) -> Vec<(String, bool)> {
        let answered = |id: &String| self.history.iter().any(|(_, e)| *e == Entry::Result(id.clone()));
        self.history
            .iter()
            .filter_map(|(_, entry)| match entry {
                Entry::Call { id, client } if !answered(id) => Some((id.clone(), *client)),
                _ => None,
            })
            .collect()
    }

    fn pending(&self) -> Vec<String> {
        self.open().into_iter().filter(|(_, client)| *client).map(|(id, _)| id).collect()
    }

    fn add(&mut self, entry: Entry) {
        if matches!(entry, Entry::User(_)) {
            for (id, _) in self.open() {
                self.add(Entry::Result(id));
            }
        }
        self.history.push((self.next_message, entry));
        self.next_message += 1;
    }

    fn cancel_pending(&mut self) {
        for id in self.pending() {
            self.add(Entry::Result(id));
        }
    }

    fn push_queue(&mut self, text: &str) -> Option<()> {
        if self.queue.len() == MAX_QUEUE {
            return None;
        }
        self.queue.push((self.next_queued, text.to_owned()));
        self.next_queued += 1;
        Some(())
    }

    fn take(&mut self, index: usize) {
        let (_, text) = self.queue.remove(index);
        self.add(Entry::User(text));
    }

    fn find(&self, id: i64) -> Option<usize> {
        self.queue.iter().position(|(queued, _)| *queued == id)
    }

    /// The chat after the move, or nothing when the move is not possible.
    pub fn apply(&self, step: &Move) -> Option<Self> {
        let mut next = self.clone();
        if step == &Move::Abandon {
            next.owned = false;
            next.snapshot += 1;
            return self.owned.then_some(next);
        }
        if self.is_valid() == (step == &Move::Reconcile) {
            return None;
        }
        if self.archived && !matches!(step, Move::Archive(false) | Move::Reconcile) {
            return None;
        }
        next.marker = false;
        next.change(step, self.marker)?;
        if next.status != "error" {
            next.error = false;
        }
        if next.status != "requires_action" {
            next.deadline = false;
        }
        next.snapshot += 1;
        if next.history != self.history {
            next.history_version = next.snapshot;
            next.attempt = 0;
            next.retry = None;
        }
        if next.queue != self.queue || matches!(step, Move::Promote(_)) {
            next.queue_version = next.snapshot;
        }
        if next.retry != self.retry {
            next.retry_version = next.snapshot;
        }
        Some(next)
    }

    fn change(&mut self, step: &Move, marked: bool) -> Option<()> {
        let running = self.status == "running";
        let requires_action = self.status == "requires_action";
        let interrupting = self.status == "interrupting";
        match step {
            Move::Send { text, interrupt } if self.is_active() => {
                self.push_queue(text)?;
                if !interrupt || interrupting {
                    self.marker = marked;
                } else if running {
                    self.status = "interrupting";
                } else {
                    self.cancel_pending();
                    self.status = "running";
                }
            }
            Move::Send { text, .. } => {
                if self.queue.is_empty() {
                    self.add(Entry::User(text.clone()));
                } else {
                    self.push_queue(text)?;
                    self.take(0);
                }
                self.status = "running";
            }
            Move::Edit { target, text } => {
                let index = self.history.iter().position(|(id, _)| id == target)?;
                if !matches!(self.history[index].1, Entry::User(_)) {
                    return None;
                }
                self.history.truncate(index);
                self.queue.clear();
                self.add(Entry::User(text.clone()));
                self.status = "running";
            }
            Move::Delete(id) => {
                self.queue.remove(self.find(*id)?);
            }
            Move::Promote(id) => {
                let index = self.find(*id)?;
                if running || interrupting {
                    let message = self.queue.remove(index);
                    self.queue.insert(0, message);
                    self.status = "interrupting";
                } else {
                    self.take(index);
                    self.status = "running";
                }
            }
            Move::Interrupt if running => self.status = "interrupting",
            Move::Interrupt | Move::Cancel if requires_action => {
                self.cancel_pending();
                self.status = "running";
            }
            Move::Complete(results) if requires_action => {
                let (mut got, mut want) = (Vec::new(), self.pending());
                for (id, is_json) in results {
                    is_json.then(|| got.push(id.clone()))?;
                }
                got.sort();
                want.sort();
                (got == want && !want.is_empty()).then_some(())?;
                self.cancel_pending(); // an answer is an answer
                self.status = "running";
            }
            Move::Compact if !self.is_active() => {
                self.status = "running";
                self.marker = true;
            }
            Move::Clear { text } if !self.is_active() && self.queue.is_empty() => {
                self.add(Entry::User(text.clone()));
                self.status = "waiting";
            }
            Move::Archive(archive) if !self.is_active() && self.archived != *archive => {
                self.archived = *archive;
                self.marker = marked;
            }
            Move::Attempt if running => {
                self.attempt += 1;
                self.retry = None;
            }
            Move::Retry(n) if running => self.retry = Some(*n),
            Move::Step(entries) if running => {
                entries.iter().for_each(|entry| self.add(entry.clone()));
            }
            Move::Enter if running && !self.pending().is_empty() => {
                self.status = "requires_action";
                self.deadline = true;
            }
            Move::Finish if running => self.next_turn(),
            Move::FinishInterruption(entries) if interrupting => {
                for (id, _) in self.open() {
                    if !entries.contains(&Entry::Result(id.clone())) {
                        self.add(Entry::Result(id));
                    }
                }
                entries.iter().for_each(|entry| self.add(entry.clone()));
                for (id, _) in self.open() {
                    self.add(Entry::Result(id));
                }
                self.next_turn();
            }
            Move::Fail if running || self.status == "waiting" => {
                self.status = "error";
                self.error = true;
            }
            Move::Reconcile => {
                self.cancel_pending();
                self.status = "error";
                self.error = true;
                self.archived = false;
            }
            Move::Acquire if self.is_active() => {
                self.owned = true;
                self.marker = marked;
            }
            _ => return None,
        }
        Some(())
    }

    fn next_turn(&mut self) {
        if self.queue.is_empty() {
            self.status = "waiting";
        } else {
            self.take(0);
            self.status = "running";
        }
    }
}
