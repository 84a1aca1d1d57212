//! A receiver that wants nothing any more, while that cannot be written down.

use std::sync::atomic::{AtomicBool, Ordering};

use annals::{
    bus::Bus,
    consumers::{Consumers, Definition, Start, Webhook},
    server::Allowed,
    store::{
        AppendError, Completion, EventStore, MemoryStore, Proposal,
        conformance::{Intercept, Intercepted, appended, event, key},
    },
    vocabulary::{Clock, ConsumerName, RecordedEvent, SystemClock},
    webhooks::{Encode, Webhooks},
};

use super::*;

/// A disk that has no space while it is full.
#[derive(Debug, Default)]
struct Disk {
    is_full: AtomicBool,
}

impl Intercept for Disk {
    fn append(&self, store: &MemoryStore, proposal: Proposal, done: Completion) {
        if self.is_full.load(Ordering::SeqCst) {
            done(Err(AppendError::Unavailable {
                reason: "no space".into(),
                retry_after: Duration::from_secs(1),
            }));
        } else {
            store.append(proposal, done);
        }
    }
}

#[derive(Debug)]
struct Plain;

impl Encode for Plain {
    fn id(&self, event: &RecordedEvent) -> String {
        event.position.0.to_string()
    }

    fn write(&self, _: &RecordedEvent, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{}");
    }
}

#[test]
fn a_pause_that_cannot_be_written_down_is_asked_for_again_but_not_at_once() {
    const EVENTS: u64 = 3;
    let receiver = Receiver::start(|_, _| Answer::Status(410, "", ""));
    let store = Arc::new(Intercepted::<Disk>::default());
    let shared: Arc<dyn EventStore> = Arc::<Intercepted<Disk>>::clone(&store);
    let (limits, clock) = (
        Arc::new(Limits::default()),
        Arc::new(SystemClock) as Arc<dyn Clock>,
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let bus = Bus::new(&shared, &limits);
    let consumers = Arc::new(Consumers::open(&shared, &bus, &clock, &limits).unwrap());
    for salt in 0..EVENTS {
        appended(
            &*shared,
            &key("account", &format!("a{salt}")),
            vec![event(salt, 8)],
        );
    }
    let name = ConsumerName::parse("billing").unwrap();
    let definition = Definition {
        webhook: Some(Webhook::to(&receiver.url("/"))),
        ..Definition::default()
    };
    consumers.put(&name, definition, Start::Beginning).unwrap();
    let allowed = Allowed {
        hosts: vec![receiver.host().parse().unwrap()],
        private: true,
    };
    let webhooks = Webhooks::open(&consumers, Arc::new(Plain), allowed, &clock, &limits);
    store.is_full.store(true, Ordering::SeqCst);
    webhooks.start();
    assert!(!receiver.wait_for(1).is_empty());
    std::thread::sleep(Duration::from_millis(1_500));
    let requests = receiver.requests().len() as u64;
    assert!(requests <= EVENTS + 3, "{requests} requests");
    assert!(!consumers.status(&name).unwrap().paused);
    store.is_full.store(false, Ordering::SeqCst);
    wait_until("the pause", || consumers.status(&name).unwrap().paused);
    runtime.block_on(webhooks.stop());
    consumers.stop();
}
