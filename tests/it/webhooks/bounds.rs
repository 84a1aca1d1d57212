//! Limits of webhooks that nothing else comes near.

use std::{net::TcpListener, path::Path, time::Instant};

use super::*;

#[test]
fn what_failed_together_comes_again_apart() {
    const EVENTS: usize = 40;
    let came: Arc<Mutex<BTreeMap<String, Vec<Instant>>>> = Arc::default();
    let seen = Arc::clone(&came);
    let receiver = Receiver::start(move |_, posted| {
        let mut seen = seen.lock().unwrap();
        if posted.events()[0]["subject"] == "first" {
            return TAKEN;
        }
        let times = seen.entry(posted.header("webhook-id").to_owned()).or_default();
        times.push(Instant::now());
        if times.len() == 1 {
            Answer::Status(500, "", "")
        } else {
            TAKEN
        }
    });
    let limits = Limits {
        webhook_failures: 1_000,
        ..Limits::default()
    };
    let server = counter(limits, &[&receiver]);
    let webhook = json!({ "url": receiver.url("/"), "requests": EVENTS });
    let retry = json!({ "attempts": 3, "first_pause_ms": 1_000, "longest_pause_ms": 1_000 });
    put(&server, "billing", &json!({ "webhook": webhook, "retry": retry }));
    // Failures are attempts once something was taken.
    add(server.address(), ["first".to_owned()]);
    wait_for_all(&server, "billing");
    add(server.address(), turns(EVENTS, 1));
    assert_eq!(receiver.wait_for(2 * EVENTS + 1).len(), 2 * EVENTS + 1);
    let came = came.lock().unwrap();
    let pauses: Vec<Duration> = came.values().map(|times| times[1] - times[0]).collect();
    assert_eq!(pauses.len(), EVENTS);
    // Between half of the pause and all of it, by chance.
    assert!(
        pauses.iter().all(|pause| *pause >= Duration::from_millis(490)),
        "{pauses:?}"
    );
    let (shortest, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
    assert!(*longest - *shortest > Duration::from_millis(50), "{pauses:?}");
}

#[test]
fn a_connection_that_is_not_made_in_time_has_failed() {
    // It takes connections and says nothing, so that TLS is never agreed on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let data = tempfile::tempdir().unwrap();
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/webhooks/tls/ca.pem");
    let mut command = Command::new(artifacts::binary());
    command
        .env("ANNALS_WEBHOOK_HOSTS", address.to_string())
        .env("ANNALS_WEBHOOK_PRIVATE", "1")
        .env("ANNALS_LIMITS", "webhook-connect=150")
        .env("SSL_CERT_FILE", authority);
    let server = Process::spawn(command, &data.path().join("data"));
    server.upload(&guests::counter()).ok();
    let webhook = json!({ "url": format!("https://{address}/"), "timeout_ms": 20_000 });
    let begun = Instant::now();
    put(
        &server,
        "billing",
        &json!({ "webhook": webhook, "retry": retry(2) }),
    );
    add(server.address(), turns(1, 1));
    let error = wait_for_failure(&server, "billing");
    let took = begun.elapsed();
    assert!((150..20_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(error, "no connection to `127.0.0.1` within 150 ms");
    server.terminate();
}

#[test]
fn an_unused_connection_is_kept_for_a_while() {
    for (idle, connections) in [(Limits::default().webhook_idle, 1), (Duration::from_millis(1), 2)] {
        let receiver = Receiver::willing();
        let limits = Limits {
            webhook_idle: idle,
            ..Limits::default()
        };
        let server = counter(limits, &[&receiver]);
        put(
            &server,
            "billing",
            &json!({ "webhook": { "url": receiver.url("/") } }),
        );
        for _ in 0..2 {
            add(server.address(), turns(1, 1));
            wait_for_all(&server, "billing");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(
            (receiver.requests().len(), receiver.connections()),
            (2, connections),
            "{idle:?}"
        );
    }
}

#[test]
fn a_receiver_does_not_get_all_the_time_that_it_asks_for() {
    let receiver = Receiver::start(|number, _| match number {
        0 => Answer::Status(429, "retry-after: 86400\r\n", ""),
        _ => TAKEN,
    });
    let limits = Limits {
        webhook_retry_after: Duration::from_millis(300),
        ..soon()
    };
    let server = counter(limits, &[&receiver]);
    put(
        &server,
        "billing",
        &json!({ "webhook": { "url": receiver.url("/") } }),
    );
    let begun = Instant::now();
    add(server.address(), turns(1, 1));
    wait_for_all(&server, "billing");
    assert_eq!(receiver.requests().len(), 2);
    assert!(
        begun.elapsed() >= Duration::from_millis(290),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_batch_has_no_more_bytes_than_it_may() {
    const PAYLOAD: usize = br#"{"by":1}"#.len();
    let receiver = Receiver::willing();
    let limits = Limits {
        webhook_batch_bytes: 4 * PAYLOAD - 1,
        ..Limits::default()
    };
    let server = counter(limits, &[&receiver]);
    add(server.address(), turns(30, 1));
    let webhook = json!({ "url": receiver.url("/"), "mode": "batch", "requests": 1 });
    put(&server, "billing", &json!({ "webhook": webhook }));
    wait_for_all(&server, "billing");
    let sizes: Vec<usize> = receiver
        .requests()
        .iter()
        .map(|posted| posted.events().len())
        .collect();
    assert_eq!(sizes, [3; 10]);
}
