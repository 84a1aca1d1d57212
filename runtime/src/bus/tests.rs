//! What the tests of the bus share: one over a store in memory.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Bus, Delivery, Form, Subscription};
use crate::{
    store::{
        EventStore, MemoryStore,
        conformance::{appended, event, key},
    },
    vocabulary::{AggregateKey, Limits},
};

/// Far longer than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn bus(limits: Limits) -> (Arc<dyn EventStore>, Bus) {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let bus = Bus::new(&store, &Arc::new(limits));
    (store, bus)
}

pub(super) fn alice() -> AggregateKey {
    key("account", "alice")
}

/// One commit of events with payloads of these lengths.
pub(super) fn append(store: &Arc<dyn EventStore>, key: &AggregateKey, payloads: &[usize]) {
    let events = (0..).zip(payloads).map(|(salt, bytes)| event(salt, *bytes));
    appended(&**store, key, events.collect());
}

/// Each event as its position on a line.
pub(super) fn positions() -> Form {
    Form::new("positions", |event, out| {
        out.extend_from_slice(format!("{}\n", event.position().0).as_bytes());
    })
}

pub(super) async fn next(subscription: &mut Subscription) -> Delivery {
    timeout(PATIENCE, subscription.next()).await.unwrap().unwrap()
}
