//! Medians, ratios, targets, as a Markdown table.

use std::{collections::BTreeMap, fmt::Write as _};

/// A column of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The proxy; for transitions the bare database.
    Floor,
    Sqlite,
    Postgres,
}

/// What a value has to be.
#[derive(Clone, Copy)]
pub enum Goal {
    /// Nothing: it is there to be known.
    None,
    /// At most this many times the floor.
    Times(f64),
    /// At least this share of the floor, 0 to 1.
    Share(f64),
    /// At most this, in the unit of the row.
    Most(f64),
    /// At most this many times another row of the same column, which is its floor.
    Beside(&'static str, f64),
}

/// A line of the table.
pub struct Row {
    pub name: &'static str,
    pub goal: Goal,
    /// Digits after the point.
    pub digits: usize,
}

const fn row(name: &'static str, digits: usize, goal: Goal) -> Row {
    Row { name, goal, digits }
}

pub const TURNS: [&str; 3] = ["turns/s, 1 chat", "turns/s, 8 chats", "turns/s, 32 chats"];
pub const LIVE: [&str; 2] = ["deltas sent on live, 32 chats at once, %", "deltas sent on live, paced, %"];
pub const BARE_P50: &str = "delta p50, coalescing off, ms";
pub const BARE_P99: &str = "delta p99, coalescing off, ms";
pub const DELTA_P50: &str = "delta p50, ms";
pub const DELTA_P99: &str = "delta p99, ms";
pub const FIRST_P50: &str = "send to first delta p50, ms";
pub const FIRST_P99: &str = "send to first delta p99, ms";
pub const BARE_FIRST_P50: &str = "send to first delta p50, coalescing off, ms";
pub const BARE_FIRST_P99: &str = "send to first delta p99, coalescing off, ms";
pub const REACH_P50: &str = "send to model request p50, 1 chat, ms";
pub const REACH_P99: &str = "send to model request p99, 1 chat, ms";
pub const CPU_PACED: &str = "CPU of 1000 turns, a delta each 2 ms, ms";
pub const CPU_BARE: &str = "the same, coalescing off, ms";
pub const CPU_BURST: &str = "CPU of 1000 turns, deltas at once, 32 chats, ms";
pub const IDLE: &str = "memory idle, MiB";
pub const OPEN: &str = "memory with 1000 open chats, MiB";
pub const EACH: &str = "memory of one open chat, KiB";
pub const IDLE_CPU: &str = "CPU with 1000 open idle chats, ms/s";
pub const TRANSITIONS: &str = "transitions/s on SQLite, 64 clients";
pub const TRANSITIONS_POSTGRES: &str = "transitions/s on PostgreSQL, 64 clients";
pub const ALIVE_CPU: &str = "CPU of GET /healthz, us";
pub const USER_CPU: &str = "CPU of GET /api/v2/users/me, us";
pub const TRANSITION_CPU: &str = "CPU of a transition, us";
/// Index 0: the small case, which is the floor of the other.
pub const STATEMENTS: [&str; 2] =
    ["database statements of a turn, 1 subscriber", "database statements of a turn, 1000 subscribers"];
pub const LONG_SEND: [&str; 2] =
    ["send to accepted p50, history of 10, ms", "send to accepted p50, history of 10,000, ms"];
pub const LONG_REACH: [&str; 2] =
    ["send to model request p50, history of 10, ms", "send to model request p50, history of 10,000, ms"];
pub const LONG_CPU: [&str; 2] = ["CPU of a turn, history of 10, ms", "CPU of a turn, history of 10,000, ms"];
pub const KILLED: &str = "takeover after kill -9, beyond the lease, s";
pub const STOPPED: &str = "takeover after SIGTERM, beyond the grace, s";
/// Over what the daemon has in memory with as many workspaces and no link.
pub const LINKS: &str = "memory of 1000 linked idle agents, MiB";
/// Floor: an HTTP request on the loopback that brings the same bytes, between the reads on an open connection and with one of
/// its own, and with nothing else going on.
pub const ROUND_TRIP: [&str; 3] = [
    "read_file through the link, mean, us",
    "the same, beside a request with a connection of its own",
    "the same, beside a request with nothing else going on",
];
pub const START: &str = "start to ready, warm database of 10,000 chats, ms";
/// List, search, one chat, a page: reads of a library (see its module).
pub const READ: [&str; 4] = [
    "list p99, 1,000 chats of 100 messages, ms",
    "search p99, 1,000 chats of 100 messages, ms",
    "GET of a chat p99, 1,000 chats of 100 messages, ms",
    "page of messages p99, 1,000 chats of 100 messages, ms",
];

/// The table; goals from DESIGN.md §6 and the first-delta goal of the issue. One open chat is an
/// idle actor (4 KiB) and an open subscriber (20 KiB).
pub const ROWS: [Row; 46] = [
    row(TURNS[0], 0, Goal::None),
    row(TURNS[1], 0, Goal::None),
    row(TURNS[2], 0, Goal::None),
    row(LIVE[0], 0, Goal::None),
    row(LIVE[1], 0, Goal::None),
    row(BARE_P50, 3, Goal::Times(1.5)),
    row(BARE_P99, 3, Goal::Times(2.0)),
    row(DELTA_P50, 3, Goal::None),
    row(DELTA_P99, 3, Goal::None),
    row(FIRST_P50, 2, Goal::Most(5.0)),
    row(FIRST_P99, 2, Goal::None),
    row(BARE_FIRST_P50, 2, Goal::None),
    row(BARE_FIRST_P99, 2, Goal::None),
    row(REACH_P50, 2, Goal::None),
    row(REACH_P99, 2, Goal::Most(10.0)),
    row(CPU_PACED, 0, Goal::Times(3.0)),
    row(CPU_BARE, 0, Goal::None),
    row(CPU_BURST, 0, Goal::Times(3.0)),
    row(IDLE, 1, Goal::None),
    row(OPEN, 1, Goal::None),
    row(EACH, 1, Goal::Most(24.0)),
    row(IDLE_CPU, 1, Goal::None),
    row(TRANSITIONS, 0, Goal::Share(0.5)),
    row(TRANSITIONS_POSTGRES, 0, Goal::None),
    row(TRANSITION_CPU, 1, Goal::None),
    row(ALIVE_CPU, 1, Goal::None),
    row(USER_CPU, 1, Goal::None),
    row(STATEMENTS[0], 1, Goal::None),
    row(STATEMENTS[1], 1, Goal::Beside(STATEMENTS[0], 1.1)),
    row(LONG_SEND[0], 2, Goal::None),
    row(LONG_SEND[1], 2, Goal::Beside(LONG_SEND[0], 1.2)),
    row(LONG_REACH[0], 2, Goal::None),
    row(LONG_REACH[1], 2, Goal::Beside(LONG_REACH[0], 1.2)),
    row(LONG_CPU[0], 2, Goal::None),
    row(LONG_CPU[1], 2, Goal::Beside(LONG_CPU[0], 1.2)),
    row(KILLED, 2, Goal::Most(2.0)),
    row(STOPPED, 2, Goal::Most(2.0)),
    row(START, 0, Goal::Most(300.0)),
    row(LINKS, 1, Goal::Most(50.0)),
    row(ROUND_TRIP[0], 0, Goal::Times(3.0)),
    row(ROUND_TRIP[1], 0, Goal::None),
    row(ROUND_TRIP[2], 0, Goal::None),
    row(READ[0], 2, Goal::None),
    row(READ[1], 2, Goal::None),
    row(READ[2], 2, Goal::None),
    row(READ[3], 2, Goal::None),
];

/// What was measured, round by round.
#[derive(Default)]
pub struct Ledger(BTreeMap<(&'static str, Column), Vec<f64>>);

impl Ledger {
    pub fn add(&mut self, row: &'static str, column: Column, value: f64) {
        self.0.entry((row, column)).or_default().push(value);
    }

    /// Median of the rounds.
    pub fn median(&self, row: &'static str, column: Column) -> Option<f64> {
        let mut values = self.0.get(&(row, column))?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        Some(if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 })
    }

    /// Least and greatest of the rounds.
    fn range(&self, row: &'static str, column: Column) -> Option<(f64, f64)> {
        let values = self.0.get(&(row, column))?;
        let least = values.iter().copied().min_by(f64::total_cmp)?;
        Some((least, values.iter().copied().max_by(f64::total_cmp)?))
    }

    /// The table. A ratio is that of the medians; the range of the rounds stands in brackets.
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| | floor | chatd, SQLite | ratio | chatd, PostgreSQL | ratio | goal |\n\
             |---|---:|---:|---:|---:|---:|---|\n",
        );
        for row in &ROWS {
            let columns = [Column::Floor, Column::Sqlite, Column::Postgres];
            if columns.into_iter().all(|column| self.median(row.name, column).is_none()) {
                continue;
            }
            write!(out, "| {} | {} ", row.name, self.value(row, Column::Floor)).expect("a String takes all");
            for column in [Column::Sqlite, Column::Postgres] {
                write!(out, "| {} | {} ", self.value(row, column), self.ratio(row, column))
                    .expect("a String takes all");
            }
            writeln!(out, "| {} |", goal(row.goal)).expect("a String takes all");
        }
        out
    }

    fn value(&self, row: &Row, column: Column) -> String {
        let digits = row.digits;
        match (self.median(row.name, column), self.range(row.name, column)) {
            (Some(median), Some((least, most))) if least.total_cmp(&most).is_ne() => {
                format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
            }
            (Some(median), _) => format!("{median:.digits$}"),
            _ => String::new(),
        }
    }

    fn ratio(&self, row: &Row, column: Column) -> String {
        let Some(value) = self.median(row.name, column) else { return String::new() };
        let floor = match row.goal {
            Goal::Beside(other, _) => self.median(other, column),
            _ => self.median(row.name, Column::Floor),
        };
        let ratio = floor.filter(|floor| *floor > 0.0).map(|floor| value / floor);
        let met = match row.goal {
            Goal::None => None,
            Goal::Most(most) => Some(value <= most),
            Goal::Times(times) | Goal::Beside(_, times) => ratio.map(|ratio| ratio <= times),
            Goal::Share(share) => ratio.map(|ratio| ratio >= share),
        };
        let mark = met.map_or("", |met| if met { " ✓" } else { " ✗" });
        match ratio {
            Some(ratio) if ratio < 1.0 => format!("{:.0} %{mark}", ratio * 100.0),
            Some(ratio) => format!("{ratio:.2} ×{mark}"),
            None => mark.trim().to_owned(),
        }
    }
}

fn goal(goal: Goal) -> String {
    match goal {
        Goal::None => String::new(),
        Goal::Times(times) => format!("≤ {times} ×"),
        Goal::Beside(_, times) => format!("≤ {times} × the row above"),
        Goal::Share(share) => format!("≥ {:.0} %", share * 100.0),
        Goal::Most(most) => format!("≤ {most}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_judged_by_its_goal() {
        let mut ledger = Ledger::default();
        for value in [1.0, 3.0, 2.0] {
            ledger.add(BARE_P50, Column::Floor, value);
            ledger.add(BARE_P50, Column::Sqlite, value * 2.0);
            ledger.add(TRANSITIONS, Column::Floor, value);
            ledger.add(TRANSITIONS, Column::Sqlite, value * 0.6);
        }
        ledger.add(EACH, Column::Sqlite, 30.0);
        ledger.add(STATEMENTS[0], Column::Postgres, 10.0);
        ledger.add(STATEMENTS[1], Column::Postgres, 20.0);
        let table = ledger.table();
        assert!(table.contains(
            "| delta p50, coalescing off, ms | 2.000 (1.000–3.000) | 4.000 (2.000–6.000) | 2.00 × ✗ |  |  | ≤ 1.5 × |"
        ));
        assert!(table.contains("60 % ✓ |  |  | ≥ 50 % |"));
        assert!(table.contains("|  | 30.0 | ✗ |  |  | ≤ 24 |"));
        assert!(table.contains("1000 subscribers |  |  |  | 20.0 | 2.00 × ✗ | ≤ 1.1 × the row above |"));
        assert!(!table.contains("turns/s"));
    }

    #[test]
    fn medians_of_even_counts_lie_between() {
        let mut ledger = Ledger::default();
        ledger.add(IDLE, Column::Floor, 1.0);
        ledger.add(IDLE, Column::Floor, 2.0);
        assert_eq!(ledger.median(IDLE, Column::Floor).map(f64::to_bits), Some(1.5_f64.to_bits()));
    }
}
