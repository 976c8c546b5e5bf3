//! What the subscribers of a replica that does not drive the chat get.

use super::{figure, follower, pieces, proxy::Proxy, replicated, successor, until_figure};
use crate::support::{
    client::Fold,
    fake_model::{Gate, Reply, says, says_in},
    outside::{freeze, thaw},
};
use std::time::{Duration, Instant};

fn shows(text: &[String]) -> impl Fn(&Fold) -> bool {
    let text = text.concat();
    move |fold| fold.preview.text() == text
}

replicated! {
    async fn a_follower_shows_the_same_parts_and_messages(h: Harness) {
        let gate = Gate::new();
        h.model.push([says_in(pieces(0, 300)).gate(&gate).says_in(pieces(300, 600)), says("Again")]);
        let owner = h.daemon().await;
        let (_other, there) = follower(&h, &owner).await;
        let here = owner.api();
        let chat = here.create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let (mut near, mut far) = (here.stream(&chat, None).await, there.stream(&chat, None).await);
        near.until("the first half here", shows(&pieces(0, 300))).await;
        far.until("the first half there", shows(&pieces(0, 300))).await;
        assert_eq!(near.fold.preview, far.fold.preview);
        // One who joins late gets the same.
        let mut late = there.stream(&chat, None).await;
        late.until("the first half, late", shows(&pieces(0, 300))).await;
        gate.open();
        let (near_end, far_end) = (near.settled().await.messages.clone(), far.settled().await.messages.clone());
        assert_eq!(near_end, far_end);
        assert_eq!(late.settled().await.texts("assistant"), [pieces(0, 600).concat()]);
        // The next turn, asked for on the follower, is relayed as well.
        there.send(&chat, "Once more.").await;
        far.until("the second answer", |f| f.settled() && f.texts("assistant").len() == 2).await;
        assert_eq!(far.fold.texts("assistant")[1], "Again");
    }

    async fn fifty_reconnects_to_either_replica_lose_and_repeat_nothing(h: Harness) {
        let gates: Vec<Gate> = (0..50).map(|_| Gate::new()).collect();
        let mut reply = Reply::empty();
        for (n, gate) in gates.iter().enumerate() {
            // More in the middle of each step than one frame, and no word twice.
            reply = reply.says_in(pieces(n * 20, n * 20 + 20)).gate(gate);
        }
        h.model.push([reply]);
        let owner = h.daemon().await;
        let (_other, there) = follower(&h, &owner).await;
        let here = owner.api();
        let chat = here.create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let mut stream = there.stream(&chat, None).await;
        for (n, gate) in gates.iter().enumerate() {
            // Two in three stay at the follower. Half of them while text flows, half while it stands still.
            if n % 2 == 0 {
                gate.reached().await;
            }
            let replica = if n % 3 == 2 { &here } else { &there };
            let known = stream.fold.last_id().filter(|_| n % 4 < 2);
            stream.reconnect(replica, &chat, known).await;
            stream.until("all so far", shows(&pieces(0, n * 20 + 20))).await;
            gate.open();
        }
        let held = stream.settled().await;
        assert_eq!(held.texts("assistant"), [pieces(0, 1000).concat()]);
        assert_eq!(there.history(&chat).await, held.messages.values().cloned().collect::<Vec<_>>());
    }

    async fn fifty_subscribers_cost_the_owner_one_connection(h: Harness) {
        let gate = Gate::new();
        h.model.push([says_in(pieces(0, 20)).gate(&gate)]);
        let owner = h.daemon().await;
        let (_other, there) = follower(&h, &owner).await;
        let here = owner.api();
        let chat = here.create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let mut streams = Vec::new();
        for _ in 0..50 {
            streams.push(there.stream(&chat, None).await);
        }
        for stream in &mut streams {
            stream.until("the parts", shows(&pieces(0, 20))).await;
        }
        assert_eq!(figure(&here, "chatd_relay_connections").await, 1.0);
        assert_eq!(figure(&there, "chatd_relays").await, 1.0);
        assert_eq!(figure(&here, "chatd_relays").await, 0.0, "the owner follows nobody");
        // The relay goes with the last subscriber and comes back with the next one.
        drop(streams);
        until_figure(&here, "chatd_relay_connections", 0.0).await;
        let mut back = there.stream(&chat, None).await;
        back.until("the parts once more", shows(&pieces(0, 20))).await;
        until_figure(&here, "chatd_relay_connections", 1.0).await;
        gate.open();
        back.settled().await;
        until_figure(&here, "chatd_relay_connections", 0.0).await;
    }

    /// The owner keeps the parts for 15 s, for those who come late; a follower keeps nothing.
    async fn a_chat_at_rest_costs_neither_replica_anything(h: Harness) {
        h.configure("[stream]\nretain_grace = \"100ms\"\njanitor_interval = \"100ms\"");
        h.model.push([says("Done")]);
        let owner = h.daemon().await;
        let (_other, there) = follower(&h, &owner).await;
        let here = owner.api();
        let chat = here.create_chat("Go.").await["id"].as_str().unwrap().to_owned();
        let mut far = there.stream(&chat, None).await;
        far.settled().await;
        // The figures are as old as a second: first they have to be of now.
        until_figure(&there, "chatd_streams_active", 1.0).await;
        until_figure(&here, "chatd_streams_active", 1.0).await;
        drop(far);
        until_figure(&there, "chatd_streams_active", 0.0).await;
        until_figure(&here, "chatd_streams_active", 0.0).await;
        assert_eq!(figure(&here, "chatd_stream_buffer_bytes").await, 0.0);
    }

    async fn a_third_replica_takes_over_and_is_followed(h: Harness) {
        let (lost, gate) = (Gate::new(), Gate::new());
        h.model.push([says_in(pieces(0, 9)).gate(&lost), says_in(pieces(50, 60)).gate(&gate).says("end")]);
        let mut owner = h.daemon().await;
        let (_other, there) = follower(&h, &owner).await;
        let chat = owner.api().create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let mut far = there.stream(&chat, None).await;
        far.until("the first attempt", shows(&pieces(0, 9))).await;
        let _successor = successor(&h).await;
        owner.kill_9().await;
        far.until("the second attempt", shows(&pieces(50, 60))).await;
        gate.open();
        let answer = pieces(50, 60).concat() + "end";
        assert_eq!(far.settled().await.texts("assistant"), [answer]);
        assert_eq!(there.history(&chat).await.len(), far.fold.messages.len());
        lost.open();
    }

    async fn a_follower_takes_over_itself(h: Harness) {
        let (lost, gate) = (Gate::new(), Gate::new());
        h.model.push([says_in(pieces(0, 9)).gate(&lost), says_in(pieces(50, 60)).gate(&gate).says("end")]);
        let mut owner = h.daemon().await;
        let chat = owner.api().create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        lost.reached().await;
        let other = successor(&h).await;
        let there = owner.api().at(other.url());
        let mut far = there.stream(&chat, None).await;
        far.until("the first attempt", shows(&pieces(0, 9))).await;
        owner.kill_9().await;
        far.until("the second attempt", shows(&pieces(50, 60))).await;
        until_figure(&there, "chatd_relays", 0.0).await;
        gate.open();
        assert_eq!(far.settled().await.texts("assistant"), [pieces(50, 60).concat() + "end"]);
        lost.open();
    }

    async fn a_cut_relay_comes_back_and_misses_nothing(h: Harness) {
        let proxy = Proxy::start().await;
        h.configure(&format!("[server]\nrelay_url = \"{}\"", proxy.url()));
        let (first, second) = (Gate::new(), Gate::new());
        h.model.push([says_in(pieces(0, 9)).gate(&first).says_in(pieces(9, 20)).gate(&second).says("end")]);
        let owner = h.daemon().await;
        proxy.lead_to(owner.url());
        h.configure("[server]\nrelay_url = \"\"");
        let (_other, there) = follower(&h, &owner).await;
        let here = owner.api();
        let chat = here.create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let (mut near, mut far) = (here.stream(&chat, None).await, there.stream(&chat, None).await);
        far.until("the first pieces", shows(&pieces(0, 9))).await;
        proxy.cut();
        let tried = proxy.count();
        first.open();
        near.until("more pieces here", shows(&pieces(0, 20))).await;
        proxy.accepted(tried + 2).await;
        assert_eq!(far.fold.preview.text(), pieces(0, 9).concat());
        proxy.restore();
        far.until("more pieces there", shows(&pieces(0, 20))).await;
        second.open();
        assert_eq!(far.settled().await.texts("assistant"), [pieces(0, 20).concat() + "end"]);
    }

    /// As with replicas that all say they are at 127.0.0.1, each on a host of its own.
    async fn a_relay_that_leads_to_the_follower_itself_is_given_up(h: Harness) {
        let proxy = Proxy::start().await;
        h.configure(&format!("[server]\nrelay_url = \"{}\"", proxy.url()));
        let gate = Gate::new();
        h.model.push([says_in(pieces(0, 9)).gate(&gate).says("end")]);
        let owner = h.daemon().await;
        h.configure("[server]\nrelay_url = \"\"");
        let (other, there) = follower(&h, &owner).await;
        proxy.lead_to(other.url());
        let chat = owner.api().create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let mut far = there.stream(&chat, None).await;
        far.status("running").await;
        proxy.accepted(3).await;
        assert_eq!(far.fold.preview.text(), "");
        proxy.lead_to(owner.url());
        far.until("the pieces", shows(&pieces(0, 9))).await;
        gate.open();
        assert_eq!(far.settled().await.texts("assistant"), [pieces(0, 9).concat() + "end"]);
    }

    async fn a_frozen_owner_goes_on_where_it_was(h: Harness) {
        h.configure("[worker]\nlease = \"30s\"");
        let gate = Gate::new();
        h.model.push([says_in(pieces(0, 9)).gate(&gate).says_in(pieces(9, 20))]);
        let owner = h.daemon().await;
        let (_other, there) = follower(&h, &owner).await;
        let chat = owner.api().create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let mut far = there.stream(&chat, None).await;
        far.until("the first pieces", shows(&pieces(0, 9))).await;
        freeze(owner.pid()).await;
        gate.open();
        // Whoever comes now gets what this replica has, without the owner.
        let mut late = there.stream(&chat, None).await;
        late.until("the first pieces, late", shows(&pieces(0, 9))).await;
        thaw(owner.pid());
        assert_eq!(far.settled().await.texts("assistant"), [pieces(0, 20).concat()]);
        assert_eq!(late.settled().await.texts("assistant"), [pieces(0, 20).concat()]);
    }

    async fn a_frozen_owner_that_lost_its_lease_is_left(h: Harness) {
        let (lost, gate) = (Gate::new(), Gate::new());
        h.model.push([says_in(pieces(0, 9)).gate(&lost), says_in(pieces(50, 60)).gate(&gate).says("end")]);
        let owner = h.daemon().await;
        let (_other, there) = follower(&h, &owner).await;
        let chat = owner.api().create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let mut far = there.stream(&chat, None).await;
        far.until("the first attempt", shows(&pieces(0, 9))).await;
        let _successor = successor(&h).await;
        freeze(owner.pid()).await;
        far.until("the second attempt", shows(&pieces(50, 60))).await;
        thaw(owner.pid());
        lost.open();
        gate.open();
        assert_eq!(far.settled().await.texts("assistant"), [pieces(50, 60).concat() + "end"]);
    }

    async fn a_stopping_owner_is_followed_to_the_end_of_its_turn(h: Harness) {
        h.configure("[server]\nshutdown_grace = \"15s\"");
        let (first, second) = (Gate::new(), Gate::new());
        h.model.push([says_in(pieces(0, 9)).gate(&first).says_in(pieces(9, 20)).gate(&second)]);
        let mut owner = h.daemon().await;
        let (_other, there) = follower(&h, &owner).await;
        let here = owner.api();
        let chat = here.create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let (mut near, mut far) = (here.stream(&chat, None).await, there.stream(&chat, None).await);
        far.until("the first pieces", shows(&pieces(0, 9))).await;
        owner.sigterm();
        assert_eq!(near.closed().await.code, 1001);
        first.open();
        far.until("more pieces", shows(&pieces(0, 20))).await;
        second.open();
        assert_eq!(far.settled().await.texts("assistant"), [pieces(0, 20).concat()]);
        assert_eq!(owner.wait().await.code(), Some(143));
    }

    /// With a poll of a minute whatever comes sooner came by LISTEN/NOTIFY.
    async fn commits_reach_other_replicas_before_any_poll(h: Harness) {
        h.configure("[stream]\nsync_interval = \"60s\"\n[worker]\nacquire_interval = \"60s\"");
        let gate = Gate::new();
        h.model.push([says("One").gate(&gate), says("Two")]);
        let owner = h.daemon().await;
        let (_other, there) = follower(&h, &owner).await;
        let chat = owner.api().create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let mut far = there.stream(&chat, None).await;
        far.until("the parts", |f| f.preview.text() == "One").await;
        let since = Instant::now();
        gate.open();
        far.settled().await;
        // The other way: the message is committed there, and the owner is woken to claim the chat.
        there.send(&chat, "And then?").await;
        far.until("the second answer", |f| f.settled() && f.texts("assistant") == ["One", "Two"]).await;
        assert!(since.elapsed() < Duration::from_secs(40), "{:?}", since.elapsed());
    }
}
