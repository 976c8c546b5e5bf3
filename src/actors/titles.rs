//! Titles that somebody waits for.

use super::{Shared, debug::Subject};
use crate::{
    llm::failure::FailureKind,
    store::{
        records::{ChatRecord, MessageRow},
        settings::ModelUse,
    },
    turn::{
        generate,
        title::{self, Answer, Question},
    },
};
use futures_util::future::LocalBoxFuture;
use std::time::Duration;

/// Longest time a title may take: as long as one that nobody waits for (agent-loop.md §14.2).
const LIMIT: Duration = Duration::from_secs(30);

/// Why there is no title; the texts are for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TitleFailure {
    /// No model can be asked.
    #[error("no usable model: {0}")]
    NoModel(String),
    /// The model did not answer in time.
    #[error("the model took too long")]
    Late,
    /// The model failed, or what it said is no title.
    #[error("{0}")]
    Failed(String),
}

/// Who makes titles.
pub trait Titles: Send + Sync {
    /// Has a model name a chat; the question was made of these rows. Dropping the future closes the
    /// provider's socket.
    fn propose<'a>(
        &'a self,
        chat: &'a ChatRecord,
        rows: &'a [MessageRow],
        question: &'a Question,
    ) -> LocalBoxFuture<'a, Result<String, TitleFailure>>;
}

impl Titles for Shared {
    fn propose<'a>(
        &'a self,
        chat: &'a ChatRecord,
        rows: &'a [MessageRow],
        question: &'a Question,
    ) -> LocalBoxFuture<'a, Result<String, TitleFailure>> {
        Box::pin(async move {
            let own = self
                .turn
                .model(chat.last_model_config_id, chat.owner_id)
                .map_err(|failure| TitleFailure::NoModel(failure.message))?;
            let set = self.live.current().model_for(ModelUse::TitleGeneration);
            let choices = title::candidates(&self.turn.models(chat.owner_id), set, &own);
            if !choices.iter().any(|choice| choice.usable()) {
                let why = own.endpoint.as_ref().err();
                let text = why.map_or_else(|| format!("{:?} is disabled.", own.name), |f| f.message.clone());
                return Err(TitleFailure::NoModel(text));
            }
            let headers = generate::identity(chat);
            let subject = Subject::first(chat, rows);
            let asked =
                title::ask(&self.turn, &self.clock, choices, &headers, question, async |choice, request| {
                    self.debug.title(&subject, choice, request).await
                });
            let asked = tokio::time::timeout(LIMIT, asked).await;
            if let Ok(Ok(Answer { call: Some(call), .. })) = &asked {
                self.charge(chat.head.id, call.clone()).await;
            }
            match asked.map(|answer| answer.map(|a| a.title)) {
                Err(_) => Err(TitleFailure::Late),
                Ok(Ok(Some(title))) => Ok(title),
                Ok(Ok(None)) => Err(TitleFailure::Failed("What the model said is no title.".to_owned())),
                Ok(Err(f)) if matches!(f.kind, FailureKind::Timeout | FailureKind::StreamSilenceTimeout) => {
                    Err(TitleFailure::Late)
                }
                Ok(Err(failure)) => Err(TitleFailure::Failed(failure.message)),
            }
        })
    }
}
