//! What consumers have reached cannot be written down: over HTTP, no answer says that it was, and sending the request again
//! is all that there is to do.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use annals::{
    aggregates::Aggregates,
    bus::Bus,
    consumers::Consumers,
    http::{self, App, CloudEvents, Running},
    modules::Modules,
    store::{
        AppendError, ConsumerRow, EventStore, MemoryStore,
        conformance::{Intercept, Intercepted},
    },
    vocabulary::{Clock, Limits, SystemClock},
    wasm::{Host, HostOptions},
    webhooks::{Allowed, Webhooks},
};
use annals_tests::{guests, http::Response, server::Api};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// How the next saves fail, and whether their rows are written all the same.
#[derive(Debug, Default)]
struct Failing(Mutex<VecDeque<(AppendError, bool)>>);

impl Intercept for Failing {
    fn save_consumers(&self, store: &MemoryStore, rows: &[ConsumerRow]) -> Result<(), AppendError> {
        let fate = self.0.lock().unwrap().pop_front();
        let Some((error, is_written)) = fate else {
            return store.save_consumers(rows);
        };
        if is_written {
            store.save_consumers(rows)?;
        }
        Err(error)
    }
}

type Store = Arc<Intercepted<Failing>>;

/// A server over a store of the test's choosing, until it is dropped.
struct House {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Api for House {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl House {
    fn over(store: &Store) -> Self {
        let store: Arc<dyn EventStore> = Arc::<Intercepted<Failing>>::clone(store);
        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let limits = Arc::new(Limits::default());
                let opening = Arc::clone(&limits);
                let running = tokio::task::spawn_blocking(move || running(store, &opening));
                let running = running.await.unwrap();
                let app = App::new(Arc::clone(&limits));
                app.started(running.clone());
                ready.send(address).unwrap();
                http::serve(app, listener, limits, async { drop(stopped.await) }).await;
                running.aggregates.stop();
                running.consumers.stop();
            });
        });
        Self {
            address: is_ready.recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn ack(&self, lease: &Value) -> Response {
        self.post("/v1/consumers/billing/ack", &[], &json!({ "leases": [lease] }))
    }

    /// The leases of what is delivered now, and whose events they are.
    fn fetch(&self) -> Vec<(Value, Value)> {
        let fetched = self.post("/v1/consumers/billing/fetch", &[], &json!({})).ok();
        let events = fetched["events"].as_array().unwrap().iter();
        events
            .map(|delivered| (delivered["lease"].clone(), delivered["event"]["subject"].clone()))
            .collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn running(store: Arc<dyn EventStore>, limits: &Arc<Limits>) -> Running {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = HostOptions {
        limits: (**limits).clone(),
        cache_dir: None,
        cache_key: [0; 32],
    };
    let aggregates = Arc::new(Aggregates::start(&store, &clock, limits, 1).unwrap());
    let bus = Bus::new(&store, limits);
    let modules = Modules::open(&store, Host::new(options).unwrap(), &aggregates, &clock).unwrap();
    let modules = Arc::new(modules);
    let consumers = Arc::new(Consumers::open(&store, &bus, &clock, limits).unwrap());
    let encode = Arc::new(CloudEvents::new(&store, &modules));
    let webhooks = Webhooks::open(&consumers, encode, Allowed::default(), &clock, limits);
    Running {
        store,
        aggregates,
        modules,
        bus,
        consumers,
        webhooks: Arc::new(webhooks),
    }
}

#[test]
fn an_acknowledgement_that_is_not_written_down_says_so_and_is_sent_again() {
    let full = AppendError::Full {
        reason: "injected".into(),
    };
    let unavailable = AppendError::Unavailable {
        reason: "injected".into(),
        retry_after: Duration::from_secs(1),
    };
    let unknown = AppendError::Unknown {
        reason: "injected".into(),
    };
    for (error, is_written, status, problem) in [
        (full, false, 507, "disk-full"),
        (unavailable, false, 503, "unavailable"),
        (unknown.clone(), false, 503, "outcome-unknown"),
        (unknown, true, 503, "outcome-unknown"),
    ] {
        let store = Store::default();
        let house = House::over(&store);
        house.upload(&guests::counter()).ok();
        for id in ["a", "b", "c", "d"] {
            house
                .command(&format!("counter/{id}"), "add", &json!({ "by": 1 }))
                .ok();
        }
        let headers = [("content-type", "application/json")];
        house
            .request("PUT", "/v1/consumers/billing", &headers, b"{}")
            .ok();
        let delivered = house.fetch();
        assert_eq!(delivered.len(), 4);
        // Once this is answered, nothing but the next acknowledgement is to be written down.
        house.ack(&delivered[0].0).ok();
        let before = store.consumer_rows().unwrap();

        store.0.lock().unwrap().push_back((error.clone(), is_written));
        let refused = house.ack(&delivered[1].0);
        let document = refused.problem(status, problem);
        assert_eq!(
            refused.header("retry-after").is_some(),
            status == 503,
            "{document}"
        );
        let fix = document["fix"].as_str().unwrap();
        assert!(
            problem != "outcome-unknown" || fix.contains("again"),
            "{document}"
        );
        assert_eq!(store.consumer_rows().unwrap() != before, is_written, "{document}");
        let again = house.ack(&delivered[1].0).ok();
        assert_eq!(again, json!({ "acked": 0, "already": 1 }), "after {error}");

        // One that failed and is not sent again is not promised.
        store.0.lock().unwrap().push_back((error.clone(), false));
        house.ack(&delivered[2].0).problem(status, problem);
        drop(house);
        let house = House::over(&store);
        let left: Vec<_> = house.fetch().into_iter().map(|(_, subject)| subject).collect();
        assert_eq!(
            left,
            ["c", "d"],
            "after {error}: what is not written down comes again"
        );
    }
}

/// What was refused because it could not be written down has happened in memory. Sent again, it finds nothing to do, and is
/// answered only once it is written down.
#[test]
fn what_is_sent_again_and_finds_nothing_to_do_is_written_down_too() {
    let full = || AppendError::Full {
        reason: "injected".into(),
    };
    let of_a = json!({ "type": "counter", "id": "a" });
    let skip = json!({ "type": "counter", "id": "a", "reason": "a test" });
    let filter = json!({ "filter": { "types": ["counter"] } });
    for (method, path, body, at_last) in [
        ("POST", "/replay", &of_a, (409, "replaying")),
        ("POST", "/skip", &skip, (404, "not-parked")),
        ("PUT", "", &filter, (200, "")),
    ] {
        let store = Store::default();
        let house = House::over(&store);
        house.upload(&guests::counter()).ok();
        house.command("counter/a", "add", &json!({ "by": 1 })).ok();
        let headers = [("content-type", "application/json")];
        let ask = |method, path: &str, body: &Value| {
            let path = format!("/v1/consumers/billing{path}");
            house.request(method, &path, &headers, body.to_string().as_bytes())
        };
        ask("PUT", "", &json!({})).ok();
        let park = json!({ "leases": [house.fetch()[0].0], "reason": "a test", "park": true });
        ask("POST", "/nack", &park).ok();
        let before = store.consumer_rows().unwrap();
        // A request may be written down more than once: it fails until there is room again.
        let failures = std::iter::repeat_with(|| (full(), false));
        store.0.lock().unwrap().extend(failures.take(100));
        for _ in 0..2 {
            ask(method, path, body).problem(507, "disk-full");
        }
        assert_eq!(store.consumer_rows().unwrap(), before, "{method} {path}");
        store.0.lock().unwrap().clear();
        let again = ask(method, path, body);
        match at_last {
            (200, _) => drop(again.ok()),
            (status, problem) => drop(again.problem(status, problem)),
        }
        assert_ne!(store.consumer_rows().unwrap(), before, "{method} {path}");
    }
}
