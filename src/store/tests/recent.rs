//! How much of a history a turn reads.

use super::{
    fixture::*,
    support::{Db, both},
};
use crate::{
    chat::{
        command::Command,
        message::{NewMessage, Role, Usage, Visibility},
    },
    store::records::NewChat,
};

fn system(words: &str) -> NewMessage {
    NewMessage { role: Role::System, visibility: Visibility::Model, ..user(words) }
}

fn measured(words: &str) -> NewMessage {
    let mut step = said(words);
    step.figures.usage = Usage { input_tokens: 7, ..Usage::default() };
    step
}

/// The rows that mark a summary or a clearing.
fn mark(words: &str) -> Vec<NewMessage> {
    let told = NewMessage { visibility: Visibility::Model, compressed: true, ..user(words) };
    let shown = NewMessage { visibility: Visibility::User, compressed: true, ..said("shown") };
    vec![told, shown]
}

async fn started(db: &Db) -> Driven {
    let mut chat = Driven::new(db).await;
    let new =
        NewChat { initial: vec![system("s1"), system("s2"), user("old")], ..chat.person.new_chat("long") };
    chat.id = fresh(chat.store.create_chat(new, NOW, None).await.unwrap()).chat.head.id;
    chat.run(Command::Acquire(chat.owner)).await;
    chat
}

async fn turn(chat: &Driven) -> Vec<String> {
    chat.store.turn(chat.id).await.unwrap().1.iter().map(|m| text(&m.content)).collect()
}

both! {
    async fn what_lies_before_a_summary_is_left_out(db) {
        let chat = started(&db).await;
        chat.run(Command::CommitStep((0..300).map(|n| said(&format!("{n}"))).collect())).await;
        chat.run(Command::CommitStep(vec![measured("m1")])).await;
        let all = chat.history().await;
        assert_eq!(turn(&chat).await, all, "without a summary everything is read, and in order");
        chat.run(Command::FinishTurn).await;
        chat.run(send("asked")).await;
        chat.run(Command::CommitStep(vec![said("unmeasured")])).await;
        chat.run(Command::CommitStep(mark("sum"))).await;
        // The last step that was measured says how full the context was.
        let kept = ["s1", "s2", "m1", "asked", "unmeasured", "sum", "shown"];
        assert_eq!(turn(&chat).await, kept);
        chat.run(Command::CommitStep(vec![measured("m2")])).await;
        assert_eq!(turn(&chat).await, ["s1", "s2", "asked", "unmeasured", "sum", "shown", "m2"]);
        chat.run(Command::FinishTurn).await;
        chat.run(send("more")).await;
        assert_eq!(turn(&chat).await, ["s1", "s2", "sum", "shown", "m2", "more"]);
        assert!(all.len() > 300);
    }

    async fn a_second_page_may_hold_the_summary(db) {
        let chat = started(&db).await;
        chat.run(Command::CommitStep(mark("sum"))).await;
        chat.run(Command::CommitStep((0..400).map(|n| measured(&format!("{n}"))).collect())).await;
        let seen = turn(&chat).await;
        // The person's message is older than the summary.
        assert_eq!(seen[..5], ["s1", "s2", "old", "sum", "shown"]);
        assert_eq!((seen.len(), seen[404].as_str()), (405, "399"));
    }

    async fn deleted_rows_do_not_count(db) {
        let chat = started(&db).await;
        chat.run(Command::CommitStep(vec![measured("m1")])).await;
        chat.run(Command::FinishTurn).await;
        let second = chat.run(send("second")).await;
        chat.run(Command::CommitStep(mark("sum"))).await;
        chat.run(Command::EditMessage { target: second.inserted[0].id, replacement: user("edited") }).await;
        assert_eq!(turn(&chat).await, ["s1", "s2", "old", "m1", "edited"]);
    }
}
