//! Consumers over a store in memory.

use std::{sync::Arc, time::Duration};

use crate::{
    bus::Bus,
    store::{EventStore, FeedFilter, MemoryStore},
    vocabulary::{Clock, ConsumerName, Limits, ManualClock},
};

use super::*;

struct House {
    store: Arc<dyn EventStore>,
    bus: Bus,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
}

impl House {
    fn new() -> Self {
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let limits = Arc::new(Limits::default());
        let bus = Bus::new(&store, &limits);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(1_000));
        Self {
            store,
            bus,
            clock,
            limits,
        }
    }

    fn open(&self) -> Consumers {
        Consumers::open(&self.store, &self.bus, &self.clock, &self.limits).unwrap()
    }
}
