//! What `/metrics` answers.

use crate::{
    actors::{Shared, registry::Chats},
    api::state::Scrape,
    metrics,
};
use metrics_exporter_prometheus::PrometheusHandle;
use std::{sync::Arc, time::Duration};

/// Folds recorded samples into their buckets: without it they would pile up while nobody scrapes.
pub(super) async fn upkeep(recorder: PrometheusHandle) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        recorder.run_upkeep();
    }
}

/// Figures with the gauges of live state as they are at this moment (agent-loop.md §25).
pub(super) fn scrape(shared: Arc<Shared>, chats: Chats, recorder: PrometheusHandle) -> Scrape {
    Arc::new(move || {
        ::metrics::counter!(metrics::STORE_STATEMENTS_TOTAL).absolute(shared.store.statements());
        let t = chats.totals();
        let set = |name: &'static str, n: usize| {
            ::metrics::gauge!(name).set(f64::from(u32::try_from(n).unwrap_or(u32::MAX)));
        };
        set(metrics::STREAMS_ACTIVE, t.actors);
        set(metrics::STREAM_SUBSCRIBERS, t.subscribers);
        set(metrics::STREAM_BUFFER_EVENTS, t.buffer_events);
        set(metrics::STREAM_BUFFER_SIZE_MAX, t.buffer_events_max);
        set(metrics::STREAM_BUFFER_BYTES, t.buffer_bytes);
        let owned = shared.owned.len();
        set(metrics::OWNED_CHATS, owned);
        ::metrics::gauge!(metrics::CHATS, "state" => "streaming")
            .set(f64::from(u32::try_from(owned).unwrap_or(u32::MAX)));
        metrics::render(&recorder)
    })
}
