//! Webhooks that may not be: each a clear error, and nothing sent.

use annals::server::Allowed;

use super::*;

fn refused(server: &impl Api, webhook: &Value, status: u16, slug: &str) -> Value {
    let headers = [("content-type", "application/json")];
    let body = json!({ "webhook": webhook }).to_string();
    let answer = server.request("PUT", "/v1/consumers/billing", &headers, body.as_bytes());
    let problem = answer.problem(status, slug);
    server
        .get("/v1/consumers/billing")
        .problem(404, "unknown-consumer");
    problem
}

fn allowing(hosts: &[&str], private: bool) -> (tempfile::TempDir, TestServer) {
    let data = tempfile::tempdir().unwrap();
    let allowed = Allowed {
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        private,
    };
    let server = TestServer::open_with(&data.path().join("data"), Limits::default(), allowed);
    (data, server)
}

#[test]
fn without_allowed_hosts_webhooks_are_off() {
    let server = TestServer::start();
    let problem = refused(
        &server,
        &json!({ "url": "https://example.com/" }),
        403,
        "webhook-not-allowed",
    );
    assert!(
        problem["detail"].as_str().unwrap().contains("webhooks are off"),
        "{problem}"
    );
    assert!(
        problem["fix"].as_str().unwrap().contains("--webhook-host"),
        "{problem}"
    );
}

#[test]
fn only_allowed_hosts_are_taken() {
    let hosts = [
        "hooks.example.com",
        "*.example.org",
        "127.0.0.1:9000",
        "[::1]:9000",
        "169.254.169.254",
        "10.0.0.1",
    ];
    let (_data, server) = allowing(&hosts, false);
    for (url, says) in [
        ("https://example.com/", "`example.com` at port 443"),
        ("https://hooks.example.com:8443/", "at port 8443"),
        ("https://example.org/", "`example.org`"),
        ("https://hooks.example.com.evil.example/", "evil"),
        ("http://hooks.example.com/", "without TLS"),
        ("https://127.0.0.1:9000/", "loopback"),
        ("https://[::1]:9000/", "loopback"),
        ("https://[::ffff:127.0.0.1]:9000/", "::ffff:127.0.0.1"),
        ("https://10.0.0.1/", "private"),
        ("https://169.254.169.254/latest/meta-data/", "link-local"),
    ] {
        let problem = refused(&server, &json!({ "url": url }), 403, "webhook-not-allowed");
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{url}: {problem}"
        );
    }
    put(
        &server,
        "billing",
        &json!({ "webhook": { "url": "https://a.b.example.org/x" } }),
    );
}

#[test]
fn malformed_webhooks_are_refused_with_the_reason() {
    let (_data, server) = allowing(&["127.0.0.1:9000"], true);
    let url = "http://127.0.0.1:9000/";
    for (webhook, says) in [
        (json!({}), "url"),
        (json!({ "url": "" }), "not a URL"),
        (json!({ "url": "example.com" }), "`example.com` is not a URL"),
        (json!({ "url": "ftp://127.0.0.1:9000/" }), "not a URL"),
        (
            json!({ "url": "http://me:pw@127.0.0.1:9000/" }),
            "user or password",
        ),
        (json!({ "url": "http://127.0.0.1:9000/#x" }), "fragment"),
        (
            json!({ "url": format!("{url}{}", "x".repeat(2_048)) }),
            "`webhook.url (bytes)` is 2070",
        ),
        (json!({ "url": url, "mode": "all" }), "`webhook.mode` is `all`"),
        (
            json!({ "url": url, "requests": 0 }),
            "`webhook.requests` is 0; it must be from 1 to 64",
        ),
        (json!({ "url": url, "timeout_ms": 22_501 }), "from 1 to 22500"),
        (json!({ "url": url, "secret": "password" }), "`whsec_`"),
        (
            json!({ "url": url, "secret": "whsec_c2hvcnQ=" }),
            "24 to 64 bytes",
        ),
        (json!({ "url": url, "retries": 3 }), "retries"),
    ] {
        let problem = refused(&server, &webhook, 400, "malformed-request");
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{webhook}: {problem}"
        );
        assert!(
            !problem.to_string().contains("password\"") && !problem.to_string().contains("c2hvcnQ"),
            "{problem}"
        );
    }
}

#[test]
fn a_name_that_leads_to_a_private_address_is_not_connected_to() {
    let receiver = Receiver::willing();
    let port = receiver.host().rsplit_once(':').unwrap().1.to_owned();
    let host = format!("localhost:{port}");
    let (_data, server) = allowing(&[&host], false);
    server.upload(&guests::counter()).ok();
    put(
        &server,
        "billing",
        &json!({ "webhook": { "url": format!("https://{host}/") }, "retry": retry(2) }),
    );
    add(server.address(), turns(1, 1));
    let error = wait_for_failure(&server, "billing");
    assert!(
        error.contains("loopback") && error.contains("--webhook-private"),
        "{error}"
    );
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn what_was_allowed_before_is_off_when_it_is_not_any_more() {
    let receiver = Receiver::willing();
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let allowed = Allowed {
        hosts: vec![receiver.host().parse().unwrap()],
        private: true,
    };
    let mut server = TestServer::open_with(&data, Limits::default(), allowed.clone());
    server.upload(&guests::counter()).ok();
    put(
        &server,
        "billing",
        &json!({ "webhook": { "url": receiver.url("/") } }),
    );
    server.stop();
    let mut server = TestServer::open(&data, Limits::default());
    add(server.address(), turns(1, 1));
    let webhook = shown(&server, "billing")["webhook"].clone();
    assert_eq!(webhook["state"], "off");
    assert!(
        webhook["last_error"].as_str().unwrap().contains("--webhook-host"),
        "{webhook}"
    );
    server.stop();
    assert_eq!(receiver.connections(), 0);
    let server = TestServer::open_with(&data, Limits::default(), allowed);
    wait_for_all(&server, "billing");
    assert_eq!(receiver.requests().len(), 1);
}
