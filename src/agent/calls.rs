//! At most once: the outcome of each tool call is kept, and a request that is repeated, after a lost
//! link or by the replica that took the chat over, gets the first outcome or waits for it.

use super::answer::{Answer, Refusal};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use hyper::StatusCode;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

/// Most outcomes kept, and most bytes of them. An outcome that falls out could run again, so this is
/// far more than what one replica can have in flight when another takes over.
const MAX_CALLS: usize = 10_000;
/// See [`MAX_CALLS`].
const MAX_BYTES: usize = 32 << 20;
/// An outcome larger than this is not kept, only that it was.
const MAX_ANSWER: usize = 4 << 20;

/// Of a request, to tell a repetition from another request.
pub type Digest = [u8; 32];

type Outcome = Shared<BoxFuture<'static, Answer>>;

/// Which call: the chat and the id of the tool call.
type Key = (String, String);

#[derive(Debug)]
struct Call {
    /// Of the request, so that another one under the same id is not taken for a repetition.
    digest: Digest,
    outcome: Outcome,
    /// Bytes of the finished outcome.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Memory {
    calls: HashMap<Key, Call>,
    /// Finished ones, oldest first.
    order: VecDeque<Key>,
    bytes: usize,
}

/// The outcomes kept.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<Memory>>);

impl Calls {
    /// Carries `work` out, unless it was or is being: then its outcome is given. It goes on when
    /// nobody waits for it any more. Without an id nothing is kept.
    pub async fn once(
        &self,
        chat: &str,
        tool_call: Option<&str>,
        request: Digest,
        work: impl Future<Output = Answer> + Send + 'static,
    ) -> Answer {
        // A task of its own: a lost link must not stop it half-way.
        let Some(tool_call) = tool_call else { return joined(tokio::spawn(work)).await };
        let key = (chat.to_owned(), tool_call.to_owned());
        let outcome = {
            let mut memory = self.lock();
            match memory.calls.get(&key) {
                Some(call) if call.digest == request => call.outcome.clone(),
                Some(_) => return another_request(),
                None => {
                    let (calls, done) = (self.clone(), key.clone());
                    let task = tokio::spawn(async move {
                        let answer = joined(tokio::spawn(work)).await;
                        calls.finished(&done, &answer);
                        answer
                    });
                    let outcome = joined(task).boxed().shared();
                    let call = Call { digest: request, outcome: outcome.clone(), bytes: 0 };
                    memory.calls.insert(key, call);
                    outcome
                }
            }
        };
        outcome.await
    }

    /// Whether a call was begun here, and is remembered.
    pub fn knows(&self, chat: &str, tool_call: &str) -> bool {
        self.lock().calls.contains_key(&(chat.to_owned(), tool_call.to_owned()))
    }

    fn finished(&self, key: &Key, answer: &Answer) {
        let mut memory = self.lock();
        let Some(call) = memory.calls.get_mut(key) else { return };
        if answer.body.len() > MAX_ANSWER {
            let note = Refusal::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "this call was carried out, but its outcome was too large to be kept",
            );
            call.outcome = std::future::ready(Answer::from(note)).boxed().shared();
        } else {
            call.bytes = answer.body.len();
        }
        let bytes = call.bytes;
        memory.bytes += bytes;
        memory.order.push_back(key.clone());
        while memory.order.len() > MAX_CALLS || memory.bytes > MAX_BYTES {
            let Some(oldest) = memory.order.pop_front() else { break };
            if let Some(call) = memory.calls.remove(&oldest) {
                memory.bytes -= call.bytes;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn joined(task: tokio::task::JoinHandle<Answer>) -> Answer {
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request failed");
        failed().into()
    })
}

/// What is said of a request whose work has panicked.
pub fn failed() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the agent failed at this request; its log says why")
}

fn another_request() -> Answer {
    let message =
        "this tool call id was used for another request; a tool call has one effect, so make a new one";
    Refusal::new(StatusCode::CONFLICT, message).into()
}

/// The digest of what a request consists of.
#[must_use]
pub fn digest(pieces: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update((piece.len() as u64).to_le_bytes());
        hash.update(piece);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    fn answer(bytes: usize) -> Answer {
        Answer { status: StatusCode::OK, body: vec![b'x'; bytes].into() }
    }

    #[tokio::test]
    async fn a_repetition_waits_for_the_first() {
        let (calls, runs, go) = (Calls::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let work = || {
            let (runs, go) = (runs.clone(), go.clone());
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                answer(3)
            }
        };
        let first = {
            let (calls, work) = (calls.clone(), work());
            tokio::spawn(async move { calls.once("c", Some("1"), digest(&[b"a"]), work).await })
        };
        while runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // The link is lost.
        first.abort();
        go.notify_one();
        assert_eq!(calls.once("c", Some("1"), digest(&[b"a"]), work()).await, answer(3));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert_eq!(calls.once("c", Some("1"), digest(&[b"b"]), work()).await.status, StatusCode::CONFLICT);
        go.notify_one();
        assert_eq!(calls.once("other", Some("1"), digest(&[b"a"]), work()).await, answer(3));
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let calls = Calls::default();
        for n in 0..20 {
            calls.once("c", Some(&n.to_string()), digest(&[]), async { answer(3 << 20) }).await;
        }
        {
            let memory = calls.lock();
            assert!(memory.bytes <= MAX_BYTES && memory.calls.len() == 10, "{}", memory.calls.len());
        }
        calls.once("c", Some("large"), digest(&[]), async { answer(MAX_ANSWER + 1) }).await;
        let again = calls.once("c", Some("large"), digest(&[]), async { answer(1) }).await;
        assert_eq!(again.status, StatusCode::INSUFFICIENT_STORAGE);
        let panicked = calls.once("c", Some("bad"), digest(&[]), async { panic!("as a test") }).await;
        assert_eq!(panicked.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
