//! From the bus to the actors, and to the store where it remembers something.

use super::{
    acquisition::{Acquisition, Wake},
    registry::Chats,
};
use crate::{
    bus::{Notice, Receiver},
    chat::{duty::Snapshot, state::Owner},
    store::Store,
};
use actix::Addr;

/// Passes hints on until the bus is gone. `acquisition` is `None` on a replica that drives no chats.
pub async fn run(mut hints: Receiver, store: Store, chats: Chats, acquisition: Option<Addr<Acquisition>>) {
    while let Some(notice) = hints.next().await {
        match notice {
            Notice::Chat(n) => {
                let owner = n.worker.zip(n.runner).map(|(worker, runner)| Owner { worker, runner });
                chats.seen(
                    n.chat,
                    Snapshot { versions: n.versions, status: n.status, archived: n.archived, owner },
                );
            }
            Notice::Ownership { .. } => {
                if let Some(a) = &acquisition {
                    a.do_send(Wake);
                }
            }
            Notice::Limits => store.limits_changed(),
            Notice::Resync => {
                store.limits_changed();
                chats.poll_all();
                if let Some(a) = &acquisition {
                    a.do_send(Wake);
                }
            }
            // The API's own connections listen for these, and whoever keeps a copy.
            Notice::Watch { .. } | Notice::Access { .. } | Notice::Config { .. } | Notice::Build { .. } => {}
        }
    }
}
