//! Secrets: shown once, kept over a restart, and followed by another without a gap.

use annals::server::Allowed;

use super::*;

fn rotate(server: &impl Api, body: &Value) -> Value {
    server
        .post("/v1/consumers/billing/webhook/secret", &[], body)
        .ok()
}

#[test]
fn secrets_are_shown_once_and_follow_each_other() {
    let receiver = Receiver::willing();
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let allowed = Allowed {
        hosts: vec![receiver.host().parse().unwrap()],
        private: true,
    };
    let mut server = TestServer::open_with(&data, Limits::default(), allowed.clone());
    server.upload(&guests::counter()).ok();
    let definition = json!({ "webhook": { "url": receiver.url("/") } });
    let first = put(&server, "billing", &definition)["webhook"]["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        put(&server, "billing", &definition)["webhook"]["secret"],
        Value::Null,
        "not again"
    );
    let second = rotate(&server, &json!({}))["secret"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    add(server.address(), turns(1, 1));
    let posted = receiver.wait_for(1).remove(0);
    assert!(posted.is_signed_with(&first) && posted.is_signed_with(&second));
    assert_eq!(posted.header("webhook-signature").split(' ').count(), 2);

    server.stop();
    let server = TestServer::open_with(&data, Limits::default(), allowed);
    add(server.address(), turns(1, 1));
    let posted = receiver.wait_for(2).remove(1);
    assert!(
        posted.is_signed_with(&first) && posted.is_signed_with(&second),
        "also after a restart"
    );
    let third = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_eq!(rotate(&server, &json!({ "secret": third }))["secret"], third);
    add(server.address(), turns(1, 1));
    let posted = receiver.wait_for(3).remove(2);
    assert!(!posted.is_signed_with(&first) && posted.is_signed_with(&second) && posted.is_signed_with(third));

    let feed = server.get("/v1/events?include_system=true").text();
    let status = server.get("/v1/consumers/billing").text() + &server.get("/v1/consumers").text();
    for secret in [&first, &second, third] {
        assert!(!feed.contains(secret) && !status.contains(secret));
        let digits = secret.strip_prefix("whsec_").unwrap();
        assert!(!feed.contains(digits) && !status.contains(digits));
    }
    assert!(feed.contains("annals-consumer"), "{feed}");
}

#[test]
fn a_given_secret_signs_and_an_old_one_ends() {
    let receiver = Receiver::willing();
    let limits = Limits {
        webhook_secret_overlap: Duration::from_millis(1),
        ..Limits::default()
    };
    let server = counter(limits, &[&receiver]);
    let [one, two] = [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_AfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ];
    let definition = |secret: &str| json!({ "webhook": { "url": receiver.url("/"), "secret": secret } });
    assert_eq!(
        put(&server, "billing", &definition(one))["webhook"]["secret"],
        Value::Null
    );
    add(server.address(), turns(1, 1));
    assert!(receiver.wait_for(1)[0].is_signed_with(one));
    put(&server, "billing", &definition(two));
    std::thread::sleep(Duration::from_millis(5));
    add(server.address(), turns(1, 1));
    let posted = receiver.wait_for(2).remove(1);
    assert!(posted.is_signed_with(two) && !posted.is_signed_with(one));
}

#[test]
fn only_webhooks_have_secrets() {
    let server = TestServer::start();
    let rotate = |name: &str| server.post(&format!("/v1/consumers/{name}/webhook/secret"), &[], &json!({}));
    rotate("billing").problem(404, "unknown-consumer");
    put(&server, "billing", &json!({}));
    rotate("billing").problem(404, "no-webhook");
}
