//! What `cargo xtask counts` counts of HTTP: functions whose name begins with `count_`, run under callgrind. A request is
//! answered as a connection's task would do it: polled until it is handed to its lane, and once more when the decision is
//! durable.

use std::{
    hint::black_box,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};

use axum::{
    http::{Request, StatusCode, request::Parts},
    response::Response,
};
use bytes::Bytes;
use http_body_util::Full;

use super::{
    app::{App, Running},
    cloudevent::{CloudEvent, CloudEvents},
    direct,
    routes::commands::write_body,
};
use crate::{
    aggregates::Aggregates,
    bus::Bus,
    consumers::Consumers,
    modules::Modules,
    store::{
        EventStore, MemoryStore,
        conformance::{commit, event, key},
    },
    vocabulary::{Clock, Committed, Limits, ManualClock, Position},
    wasm::{Host, HostOptions, tests::guests},
    webhooks::{Allowed, Webhooks},
};

/// So many of each; enough that memory is taken and given back as it is in the long run.
const TIMES: u64 = 200;

type Answering<'a> = dyn Future<Output = Response> + 'a;

/// From the parsed head of a request to the queue of the shard: path, headers, body, checks.
#[inline(never)]
fn count_request_to_the_lane(future: Pin<&mut Answering<'_>>, context: &mut Context<'_>) -> Poll<Response> {
    // Two functions that do the same would become one.
    black_box("request");
    future.poll(context)
}

/// From the lane's answer to the response: status, headers, body.
#[inline(never)]
fn count_answer_from_the_lane(future: Pin<&mut Answering<'_>>, context: &mut Context<'_>) -> Poll<Response> {
    black_box("answer");
    future.poll(context)
}

#[inline(never)]
fn count_body_of_an_answer(running: &Running, committed: &Committed, out: &mut Vec<u8>) {
    write_body(running, committed, out);
}

#[inline(never)]
fn count_cloud_event(running: &Running, event: &CloudEvent<'_>, out: &mut Vec<u8>) {
    event.write(running, out);
}

/// Everything below HTTP with the tests' counter serving, in memory.
pub(super) fn running(limits: &Arc<Limits>) -> Running {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(1_700_000_000_000));
    let host = Host::new(HostOptions {
        limits: (**limits).clone(),
        cache_dir: None,
        cache_key: [7; 32],
    });
    let aggregates = Arc::new(Aggregates::start(&store, &clock, limits, 1).unwrap());
    let modules = Modules::open(&store, host.unwrap(), &aggregates, &clock).unwrap();
    modules.upload(&guests::counter(), true).unwrap();
    let modules = Arc::new(modules);
    let bus = Bus::new(&store, limits);
    let consumers = Arc::new(Consumers::open(&store, &bus, &clock, limits).unwrap());
    let encode = Arc::new(CloudEvents::new(&store, &modules));
    let webhooks = Webhooks::open(&consumers, encode, Allowed::default(), &clock, limits);
    Running {
        webhooks: Arc::new(webhooks),
        consumers,
        bus,
        modules,
        aggregates,
        store,
    }
}

/// Few cells: address space is scarce where many tests run at once.
pub(super) fn limits() -> Arc<Limits> {
    Arc::new(Limits {
        cells: 8,
        ..Limits::default()
    })
}

fn request(number: u64) -> (Parts, Full<Bytes>) {
    let request = Request::post(format!(
        "/v1/aggregates/counter/counter-{:06}/commands/add",
        number % 10
    ))
    .header("host", "127.0.0.1:7070")
    .header("content-type", "application/json")
    .header("accept", "application/json")
    .header(
        "idempotency-key",
        format!("0190f3e2-7b5c-7000-8000-{number:012x}"),
    )
    .body(Full::new(Bytes::from_static(b"{\"by\":7}")));
    request.unwrap().into_parts()
}

/// Ends the sleep of the thread that polls.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn requests_are_answered() {
    let limits = limits();
    let app = App::new(Arc::clone(&limits));
    let running = running(&limits);
    let aggregates = Arc::clone(&running.aggregates);
    app.started(running);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.unwrap();
    let _entered = runtime.enter();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    for number in 0..TIMES {
        let (parts, body) = request(number);
        let mut answering = pin!(direct::answer(&app, &parts, body));
        let mut answer = count_request_to_the_lane(black_box(answering.as_mut()), &mut context);
        if answer.is_pending() {
            // The lane has gone to sleep again by then, so that the next request finds it as this one did.
            std::thread::sleep(Duration::from_millis(2));
        }
        while answer.is_pending() {
            std::thread::park();
            answer = count_answer_from_the_lane(black_box(answering.as_mut()), &mut context);
        }
        let Poll::Ready(response) = answer else { continue };
        assert_eq!(response.status(), StatusCode::OK);
    }
    aggregates.stop();
}

#[test]
fn answers_and_events_are_written() {
    let running = running(&limits());
    let mut out = Vec::with_capacity(4_096);
    for number in 0..TIMES {
        let key = key("counter", "counter-000001");
        let committed = Committed {
            first_position: Position(number + 1),
            // Accepted with one event, whatever the number.
            commit: commit(&key, number * 2, Some("a-key"), vec![event(number, 100)]),
        };
        out.clear();
        count_body_of_an_answer(&running, black_box(&committed), &mut out);
        assert!(out.starts_with(b"{\"type\":\"counter\""));
        out.clear();
        for event in CloudEvent::of(&committed) {
            count_cloud_event(&running, black_box(&event), &mut out);
        }
        assert!(out.starts_with(b"{\"specversion\""));
    }
    running.aggregates.stop();
}
