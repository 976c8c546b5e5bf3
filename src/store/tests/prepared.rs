//! Statements that are sent again and again stay prepared: to plan one anew costs SQLite more than to run it,
//! and on PostgreSQL it is a round trip more.

use super::{
    fixture::*,
    support::{Db, both},
};
use crate::{
    chat::command::Command,
    ids::ChatId,
    store::{commit::Commit, statements::heard},
};

/// A message with its turn: what its requests, its runner and its subscribers ask of the store.
async fn turn(db: &Db, person: Person) -> ChatId {
    let chat = Driven::another(db, person).await;
    let seen = db.store.turn(chat.id).await.unwrap().chat.head.versions;
    chat.run(Command::RecordGenerationAttempt).await;
    let step = Commit {
        fence: Some(chat.fence().await),
        ..Commit::new(chat.id, Command::CommitStep(vec![said("yes")]), NOW)
    };
    chat.attempt(step.and(Command::FinishTurn).releasing()).await.unwrap();
    chat.run(send("again")).await;
    chat.run(send("and this, later")).await;
    db.store.stream_read(chat.id, Some(seen), Vec::new()).await.unwrap();
    db.store.message_page(chat.id, newest(50)).await.unwrap();
    db.store.queue(chat.id).await.unwrap();
    // No lists: on SQLite each number of ids is a statement of its own.
    chat.id
}

/// Begins and ends of transactions are no statements that could be kept.
fn is_control(statement: &str) -> bool {
    ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"].iter().any(|verb| statement.starts_with(verb))
}

both! {
    async fn what_every_turn_sends_stays_prepared(db) {
        let person = Person::of(&db.store).await;
        heard::listen(db.store.counter());
        turn(&db, person).await;
        turn(&db, person).await;
        let heard = heard::taken(db.store.counter());
        assert!(heard.sent.len() > 15, "{:#?}", heard.sent);
        let anew: Vec<_> = heard.sent.difference(&heard.kept).filter(|text| !is_control(text)).collect();
        assert!(anew.is_empty(), "prepared anew each time: {anew:#?}");
    }
}
