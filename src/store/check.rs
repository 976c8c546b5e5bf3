//! Looking for what does not fit together in a database: for `chatd doctor`.

use super::{
    Store,
    engine::Engine,
    error::{Error, Result},
};
use crate::chat::state::{State, Status};

/// Chats of a kind that are named.
const EXAMPLES: i64 = 5;

impl Store {
    /// Everything that is found wrong, for people: pages, indexes and references of an SQLite file (PostgreSQL sees to
    /// its own), and chats in states that no transition makes. Reads the whole SQLite file; nothing is changed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn faults(&self) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        if let Engine::Sqlite(engine) = &self.engine {
            let engine = engine.clone();
            let checked = tokio::task::spawn_blocking(move || engine.faults()).await;
            faults = checked.map_err(|e| Error::Unavailable(e.to_string()))??;
        }
        for (status, queued, archived, n) in self.chat_states().await? {
            let Some(what) = unlawful(&status, queued, archived) else { continue };
            let some = self.chats_in_state(status, queued, archived, EXAMPLES).await?;
            let some: Vec<String> = some.iter().map(ToString::to_string).collect();
            faults.push(format!("{what} ({n} chats: {})", some.join(", ")));
        }
        Ok(faults)
    }
}

/// What is wrong with a state, if anything is.
fn unlawful(status: &str, queued: bool, archived: bool) -> Option<String> {
    let Some(status) = Status::ALL.into_iter().find(|known| known.as_str() == status) else {
        return Some(format!("a status that this program does not know, {status}"));
    };
    match State::classify(status, queued, archived) {
        invalid @ State::Invalid(..) => Some(format!(
            "a state that no transition makes, {invalid}: POST /api/v2/chats/ID/reconcile-invalid brings a chat back"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_no_transition_makes_are_told() {
        assert_eq!(unlawful("waiting", false, true), None);
        assert_eq!(unlawful("error", true, true), None);
        for (status, queued, archived) in
            [("waiting", true, false), ("running", false, true), ("paused", false, false)]
        {
            let told = unlawful(status, queued, archived).unwrap();
            assert!(told.contains(status), "{told}");
        }
    }
}
