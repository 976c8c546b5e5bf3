//! Both ends of a relay as the chat's actor sees them: the readers it serves while this replica
//! drives the chat, and the owner it follows while another one does.

use super::ChatActor;
use crate::{
    actors::{
        relay::{self, Follow, Taken},
        sink::PartsSink,
        supervise,
    },
    chat::state::Owner,
    ids::WorkerId,
    stream::{
        episode::{EpisodeKey, Relayed, SharedPart},
        relay::PartReaders,
    },
};
use actix::{AsyncContext, Context, Handler, Message, MessageResult};
use std::time::Duration;
use tokio::{sync::watch, task::AbortHandle};

/// Wait before a relay that panicked is started again.
const PANIC_WAIT: Duration = Duration::from_secs(1);

/// A reader of the parts of one episode.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Select {
    /// Names the reader for [`Deselect`].
    pub ticket: u64,
    /// Its episode, which need not exist yet.
    pub key: EpisodeKey,
    /// Its queue.
    pub sink: PartsSink,
}

/// A reader of parts left.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deselect(pub u64);

/// Parts of a chat that another replica drives.
#[derive(Message)]
#[rtype(result = "Taken")]
struct RelayedParts {
    relay: u64,
    parts: Vec<SharedPart>,
}

/// A relay ended by itself.
#[derive(Message)]
#[rtype(result = "()")]
struct RelayEnded {
    relay: u64,
    result: Result<(), tokio::task::JoinError>,
}

/// The relays of one chat.
#[derive(Default)]
pub(super) struct Relays {
    readers: PartReaders<PartsSink>,
    following: Option<Following>,
    next: u64,
    /// The newest snapshot version seen, and who drives the chat there.
    owner: (i64, Option<WorkerId>),
}

struct Following {
    relay: u64,
    owner: WorkerId,
    episode: watch::Sender<Option<EpisodeKey>>,
    abort: AbortHandle,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Relays {
    /// Whether parts are read here, so that the actor is needed.
    pub(super) fn has_readers(&self) -> bool {
        !self.readers.is_empty()
    }

    /// The actor leaves: readers are sent away, nobody is followed.
    pub(super) fn end(&mut self) {
        self.readers = PartReaders::default();
        self.following = None;
    }
}

impl ChatActor {
    /// The chat was seen with this owner.
    pub(super) fn note_owner(&mut self, snapshot: i64, owner: Option<Owner>) {
        if snapshot >= self.relays.owner.0 {
            self.relays.owner = (snapshot, owner.map(|o| o.worker));
        }
    }

    /// Hands a part that was put into the buffer to those who read it part by part.
    pub(super) fn relay_out(&mut self, part: &SharedPart) {
        self.relays.readers.live(self.hub.episodes_mut(), part);
    }

    /// Forgets readers whose socket is gone without a word.
    pub(super) fn sweep_readers(&mut self) {
        self.relays.readers.sweep(self.hub.episodes_mut());
    }

    /// Whom to follow now: somebody here wants to see what somebody else drives.
    fn relay_target(&self) -> Option<WorkerId> {
        let wanted = self.shared.replicas.is_some()
            && self.runner.is_none()
            && !self.retired
            && !self.draining
            && self.hub.subscribers() > 0;
        self.relays.owner.1.filter(|owner| wanted && *owner != self.shared.worker)
    }

    /// Starts, redirects or ends the relay as the state asks for.
    pub(super) fn follow_owner(&mut self, ctx: &mut Context<Self>) {
        let target = self.relay_target();
        if self.relays.following.as_ref().map(|f| f.owner) != target {
            self.relays.following = None;
            match target {
                Some(owner) => self.start_relay(owner, ctx),
                // What is missing from here on would be a gap; whoever follows again replays.
                None if self.runner.is_none() => self.hub.episodes_mut().forget_open(),
                None => {}
            }
        }
        if let (Some(following), Some(key)) = (&self.relays.following, self.hub.follow()) {
            following.episode.send_if_modified(|selected| {
                let moved = *selected != Some(key);
                *selected = Some(key);
                moved
            });
        }
    }

    fn start_relay(&mut self, owner: WorkerId, ctx: &mut Context<Self>) {
        self.relays.next += 1;
        let relay = self.relays.next;
        let (episode, wanted) = watch::channel(self.hub.follow());
        let follow = Follow { shared: self.shared.clone(), chat: self.id, owner, episode: wanted };
        let addr = ctx.address();
        // A mailbox that is gone wants no parts.
        let take = move |parts| {
            let sent = addr.send(RelayedParts { relay, parts });
            async move { sent.await.unwrap_or(Taken::No) }
        };
        let handle = actix::spawn(relay::run(follow, take));
        self.relays.following = Some(Following { relay, owner, episode, abort: handle.abort_handle() });
        let addr = ctx.address();
        actix::spawn(async move {
            let result = handle.await;
            addr.do_send(RelayEnded { relay, result });
        });
    }
}

impl Handler<Select> for ChatActor {
    type Result = ();
    fn handle(&mut self, s: Select, ctx: &mut Self::Context) {
        if self.retired {
            // It found us just before we left: its place is with the successor.
            self.registry.select(self.id, s);
            return;
        }
        self.relays.readers.add(self.hub.episodes_mut(), s.ticket, s.key, s.sink);
        self.settle(ctx);
    }
}

impl Handler<Deselect> for ChatActor {
    type Result = ();
    fn handle(&mut self, Deselect(ticket): Deselect, ctx: &mut Self::Context) {
        self.relays.readers.remove(self.hub.episodes_mut(), ticket);
        self.settle(ctx);
    }
}

impl Handler<RelayedParts> for ChatActor {
    type Result = MessageResult<RelayedParts>;
    fn handle(&mut self, r: RelayedParts, ctx: &mut Self::Context) -> Self::Result {
        if self.relays.following.as_ref().is_none_or(|f| f.relay != r.relay) {
            return MessageResult(Taken::No);
        }
        let now = self.shared.clock.now();
        let mut taken = Taken::Yes;
        for part in r.parts {
            match self.hub.relay(part.clone(), now) {
                Relayed::Accepted => self.relay_out(&part),
                Relayed::Ignored => {}
                Relayed::Gap => {
                    taken = Taken::Gap;
                    break;
                }
            }
        }
        self.settle(ctx);
        MessageResult(taken)
    }
}

impl Handler<RelayEnded> for ChatActor {
    type Result = ();
    fn handle(&mut self, ended: RelayEnded, ctx: &mut Self::Context) {
        if self.relays.following.as_ref().is_none_or(|f| f.relay != ended.relay) {
            return;
        }
        if let Err(e) = ended.result
            && e.is_panic()
        {
            supervise::chat_panicked(self.id, "the relay", e);
        }
        ctx.run_later(PANIC_WAIT, move |act, ctx| {
            if act.relays.following.as_ref().is_some_and(|f| f.relay == ended.relay) {
                act.relays.following = None;
                act.settle(ctx);
            }
        });
    }
}
