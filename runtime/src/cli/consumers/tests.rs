//! What `annals consumers` asks for and prints.

use std::io::{self, Write};

use clap::Parser;

use super::*;
use crate::{
    cli::{Cli, Command},
    client::fake::{FakeServer, Reply, consumer, delivery, event, parked},
};

fn args(line: &[&str]) -> (ConsumersArgs, bool) {
    let cli = Cli::try_parse_from(["annals", "consumers"].iter().chain(line)).unwrap();
    let Command::Consumers(args) = cli.command else {
        panic!("not consumers");
    };
    (args, cli.global.json)
}

async fn consumers(server: &FakeServer, line: &[&str]) -> Result<String, CliError> {
    let (args, json) = args(line);
    let mut bytes = Vec::new();
    let given = args.given()?;
    run(&server.client(), &args, &given, &mut Out::new(json, &mut bytes)).await?;
    Ok(String::from_utf8(bytes).unwrap())
}

/// What was asked for last: its line and its body.
fn asked(server: &FakeServer) -> (String, String) {
    let request = server.requests().pop().unwrap();
    (request.line, request.body)
}

/// One that says a consumer whatever it is asked.
async fn one() -> FakeServer {
    FakeServer::start(|_| Reply::json(&consumer("billing"))).await
}

#[tokio::test]
async fn a_list_is_for_people_or_as_the_server_wrote_it() {
    let body = format!(r#"{{"consumers": [{}]}}"#, consumer("billing"));
    let server = FakeServer::start({
        let body = body.clone();
        move |_| Reply::json(&body)
    })
    .await;
    let text = consumers(&server, &["list"]).await.unwrap();
    assert!(
        text.starts_with("NAME     STATUS  LAG") && text.contains("12 events, 3.4 s"),
        "{text}"
    );
    assert_eq!(
        consumers(&server, &["list", "--json"]).await.unwrap(),
        body + "\n"
    );
    let server = FakeServer::start(|_| Reply::json(r#"{"consumers":[]}"#)).await;
    assert_eq!(consumers(&server, &["list"]).await.unwrap(), "");
}

#[tokio::test]
async fn a_list_is_paged_through() {
    let page = |name: &str| Reply::json(&format!(r#"{{"consumers":[{}]}}"#, consumer(name)));
    let server = FakeServer::start(move |request| match request.line.as_str() {
        "GET /v1/consumers" => page("billing").header("Link", "</v1/consumers?after=billing>; rel=\"next\""),
        "GET /v1/consumers?after=billing" => page("mails"),
        other => Reply::text(500, other),
    })
    .await;
    let text = consumers(&server, &["list"]).await.unwrap();
    let names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["NAME", "billing", "mails"]);
    let json = consumers(&server, &["list", "--json"]).await.unwrap();
    assert_eq!(json.lines().count(), 2, "{json}");
}

#[tokio::test]
async fn a_new_consumer_is_described_in_full() {
    let server = one().await;
    let line = "create billing --type account,order --type invoice --event-type opened --id-prefix a --actor x \
                --since 2026-01-01T00:00:00Z --until 2027-01-01T00:00:00Z --include-system --start now --batch 7 \
                --ack-deadline 0.5 --attempts 3 --first-pause 1 --longest-pause 60 --concurrency 9 --ordering none";
    let line: Vec<&str> = line.split_whitespace().collect();
    let text = consumers(&server, &line).await.unwrap();
    assert!(text.starts_with("billing  active\n  lag "), "{text}");
    let (request, body) = asked(&server);
    assert_eq!(request, "PUT /v1/consumers/billing");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({
        "filter": {
            "types": ["account", "order", "invoice"], "event_types": ["opened"], "id_prefix": "a", "actor": "x",
            "since": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z", "include_system": true,
        },
        "start": "now", "batch": 7, "ack_deadline_ms": 500,
        "retry": { "attempts": 3, "first_pause_ms": 1_000, "longest_pause_ms": 60_000 },
        "concurrency": 9, "ordering": "none",
    });
    assert_eq!(body, expected);
    consumers(&server, &["create", "billing"]).await.unwrap();
    assert_eq!(
        asked(&server).1,
        r#"{"filter":{"include_system":false},"retry":{}}"#
    );
}

#[tokio::test]
async fn a_webhook_is_described_in_full() {
    let server = one().await;
    let line = "create billing --webhook https://a.example/ --webhook-mode batch --webhook-requests 3 --webhook-timeout 0.5";
    let line: Vec<&str> = line.split_whitespace().collect();
    consumers(&server, &line).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&asked(&server).1).unwrap();
    let expected = serde_json::json!({
        "url": "https://a.example/", "mode": "batch", "requests": 3, "timeout_ms": 500,
    });
    assert_eq!(body["webhook"], expected);
    for option in ["--webhook-requests=3", "--webhook-timeout=1"] {
        assert!(Cli::try_parse_from(["annals", "consumers", "create", "billing", option]).is_err());
    }
}

#[tokio::test]
async fn what_was_there_is_looked_at_before_it_is_changed() {
    let server = FakeServer::start(|request| match request.line.as_str() {
        "GET /v1/consumers/billing" => Reply::problem(404, "unknown-consumer"),
        _ => Reply::json(&consumer("billing")),
    })
    .await;
    consumers(&server, &["create", "billing"]).await.unwrap();
    consumers(&server, &["create", "billing", "--json"])
        .await
        .unwrap();
    let asked: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.line)
        .collect();
    let put = "PUT /v1/consumers/billing";
    assert_eq!(asked, ["GET /v1/consumers/billing", put, put]);
    let server = FakeServer::start(|_| Reply::problem(503, "unavailable")).await;
    consumers(&server, &["create", "billing"]).await.unwrap_err();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn another_secret_is_shown_unless_it_was_given() {
    const MADE: &str = r#"{"secret":"whsec_made"}"#;
    let server = FakeServer::start(|_| Reply::json(MADE)).await;
    let line = ["rotate-secret", "billing"];
    assert_eq!(consumers(&server, &line).await.unwrap(), "whsec_made\n");
    let request = "POST /v1/consumers/billing/webhook/secret".to_owned();
    assert_eq!(asked(&server), (request.clone(), "{}".to_owned()));
    let json = consumers(&server, &[&line[..], &["--json"]].concat())
        .await
        .unwrap();
    assert_eq!(json, format!("{MADE}\n"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "whsec_given\n").unwrap();
    let path = file.path().to_str().unwrap();
    let text = consumers(&server, &[&line[..], &["--secret-file", path]].concat())
        .await
        .unwrap();
    assert_eq!(text, "billing  signs with the given secret\n");
    assert_eq!(
        asked(&server),
        (request, r#"{"secret":"whsec_given"}"#.to_owned())
    );
}

#[tokio::test]
async fn what_stands_is_shown_after_every_change() {
    let server = one().await;
    for (line, request, body) in [
        (&["show", "billing"][..], "GET /v1/consumers/billing", ""),
        (&["pause", "billing"], "POST /v1/consumers/billing/pause", ""),
        (&["resume", "billing"], "POST /v1/consumers/billing/resume", ""),
        (
            &["reset", "billing", "--to", "2026-01-01T00:00:00Z"],
            "POST /v1/consumers/billing/reset",
            r#"{"start":{"time":"2026-01-01T00:00:00Z"}}"#,
        ),
    ] {
        let text = consumers(&server, line).await.unwrap();
        assert!(text.starts_with("billing  active\n"), "{line:?}: {text}");
        assert_eq!(asked(&server), (request.to_owned(), body.to_owned()));
        let json = consumers(&server, &[line, &["--json"]].concat()).await.unwrap();
        assert_eq!(json, consumer("billing") + "\n", "{line:?}");
    }
}

#[tokio::test]
async fn deleting_says_so_to_people_only() {
    let server = FakeServer::start(|_| Reply::text(204, "")).await;
    assert_eq!(
        consumers(&server, &["delete", "billing"]).await.unwrap(),
        "billing  deleted\n"
    );
    assert_eq!(
        consumers(&server, &["delete", "billing", "--json"])
            .await
            .unwrap(),
        ""
    );
    assert_eq!(asked(&server).0, "DELETE /v1/consumers/billing");
}

async fn delivering() -> FakeServer {
    FakeServer::start(|request| match request.line.as_str() {
        "POST /v1/consumers/billing/fetch" => {
            let again = delivery("0b", "bob", 7)
                .replace("\"attempt\":1", "\"attempt\": 2, \"last_error\":\"no\\u001b\"");
            Reply::json(&format!(
                r#"{{"events":[{},{again}]}}"#,
                delivery("0a", "alice", 1)
            ))
        }
        "POST /v1/consumers/billing/ack" => Reply::json(r#"{"acked":2,"already":0}"#),
        other => Reply::text(500, other),
    })
    .await
}

#[tokio::test]
async fn fetched_events_are_one_on_a_line() {
    let server = delivering().await;
    let text = consumers(
        &server,
        &["fetch", "billing", "--member", "m", "--max", "2", "--wait", "1.5"],
    )
    .await
    .unwrap();
    assert_eq!(
        text,
        "\
0a    1  2026-01-02T03:04:05.678Z  account/alice          1  opened        {\"z\":1,\"a\":1.10}
0b    2  2026-01-02T03:04:05.678Z  account/bob            7  opened        {\"z\":7,\"a\":1.10}  last error: no\\u{1b}
"
    );
    assert_eq!(asked(&server).1, r#"{"member":"m","max":2,"wait_ms":1500}"#);
    let json = consumers(&server, &["fetch", "billing", "--json"]).await.unwrap();
    let lines: Vec<&str> = json.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, delivery("0a", "alice", 1).as_str()));
    assert!(lines[1].starts_with(r#"{"lease":"0b","attempt":2,"#), "{json}");
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.line.ends_with("/fetch"))
    );
}

#[tokio::test]
async fn what_is_written_is_acknowledged() {
    let server = delivering().await;
    let text = consumers(&server, &["fetch", "billing", "--member", "m", "--ack"])
        .await
        .unwrap();
    assert_eq!(text.lines().count(), 2);
    let expected = (
        "POST /v1/consumers/billing/ack",
        r#"{"member":"m","leases":["0a","0b"]}"#,
    );
    assert_eq!(asked(&server), (expected.0.to_owned(), expected.1.to_owned()));
}

/// Standard output whose reader has gone away.
struct Gone;

impl Write for Gone {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[tokio::test]
async fn what_nobody_reads_is_not_acknowledged() {
    let server = delivering().await;
    let (args, _) = args(&["fetch", "billing", "--ack"]);
    let result = run(&server.client(), &args, &[], &mut Out::new(true, &mut Gone)).await;
    assert!(matches!(result, Err(CliError::Output(_))), "{result:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn leases_are_acknowledged_given_back_and_extended() {
    let server = FakeServer::start(|request| match request.line.rsplit_once('/').unwrap().1 {
        "ack" => Reply::json(r#"{"acked":1,"already":1}"#),
        "nack" => Reply::json(r#"{"nacked":2,"already":0}"#),
        _ => Reply::json(r#"{"extended":2,"already":0}"#),
    })
    .await;
    for (line, text, body) in [
        (
            &["ack", "billing", "0a", "0b", "--member", "m"][..],
            "1 event acknowledged, 1 event before\n",
            r#"{"member":"m","leases":["0a","0b"]}"#,
        ),
        (
            &["nack", "billing", "0a", "0b", "--reason", "no", "--delay", "2"],
            "2 events given back\n",
            r#"{"leases":["0a","0b"],"reason":"no","delay_ms":2000,"park":false}"#,
        ),
        (
            &["nack", "billing", "0a", "0b", "--reason", "no", "--park"],
            "2 events parked\n",
            r#"{"leases":["0a","0b"],"reason":"no","park":true}"#,
        ),
        (
            &["extend", "billing", "0a", "0b"],
            "2 events with more time\n",
            r#"{"leases":["0a","0b"]}"#,
        ),
    ] {
        assert_eq!(consumers(&server, line).await.unwrap(), text, "{line:?}");
        assert_eq!(asked(&server).1, body, "{line:?}");
    }
    let json = consumers(&server, &["ack", "billing", "0a", "--json"])
        .await
        .unwrap();
    assert_eq!(json, "{\"acked\":1,\"already\":1}\n");
}

async fn parking() -> FakeServer {
    FakeServer::start(|request| match request.line.as_str() {
        "GET /v1/consumers/billing/parked" | "GET /v1/consumers/billing/parked?limit=1" => {
            Reply::json(&format!(r#"{{"parked":[{}]}}"#, parked("alice", "null")))
                .header("Link", "</more>; rel=\"next\"")
        }
        "GET /more" => {
            let bob = parked("bob\\u001b", "4").replace("\"replaying\":false", "\"replaying\":true");
            Reply::json(&format!(r#"{{"parked":[{bob}]}}"#))
        }
        "GET /v1/consumers/billing/parked/account/alice" => Reply::json(&format!(
            r#"{{"parked":{},"events":[{}]}}"#,
            parked("alice", "null"),
            event("alice", 1)
        ))
        .header("Link", "</events>; rel=\"next\""),
        "GET /events" => Reply::json(&format!(
            r#"{{"parked":{},"events":[{}]}}"#,
            parked("alice", "null"),
            event("alice", 2)
        )),
        "POST /v1/consumers/billing/replay" => Reply::json(r#"{"replaying_aggregates":1}"#),
        "POST /v1/consumers/billing/skip" => Reply::json(r#"{"skipped":3}"#),
        other => Reply::text(500, other),
    })
    .await
}

#[tokio::test]
async fn parked_aggregates_are_listed_with_why() {
    let server = parking().await;
    assert_eq!(
        consumers(&server, &["parked", "billing"]).await.unwrap(),
        "\
AGGREGATE      VERSION  EVENTS  ATTEMPTS  STATUS  SINCE  LAST ERROR
account/alice  1        3       5         parked  t      no such customer
account/bob\\u{1b}  1  3  5  replaying  t  no such customer
"
    );
    let json = consumers(&server, &["parked", "billing", "--limit", "1", "--json"])
        .await
        .unwrap();
    assert_eq!(json, parked("alice", "null") + "\n");
    assert_eq!(asked(&server).0, "GET /v1/consumers/billing/parked?limit=1");
}

#[tokio::test]
async fn parked_events_are_shown_as_events() {
    let server = parking().await;
    let line = ["parked", "billing", "account", "alice"];
    assert_eq!(
        consumers(&server, &line).await.unwrap(),
        "\
account/alice  parked since t after 5 attempts: no such customer
2026-01-02T03:04:05.678Z  account/alice          1  opened        {\"z\":1,\"a\":1.10}
2026-01-02T03:04:05.678Z  account/alice          2  opened        {\"z\":2,\"a\":1.10}
"
    );
    let json = consumers(&server, &[&line[..], &["--json"]].concat())
        .await
        .unwrap();
    assert_eq!(json, format!("{}\n{}\n", event("alice", 1), event("alice", 2)));
}

#[tokio::test]
async fn parked_events_are_replayed_or_left_out() {
    let server = parking().await;
    for (line, text, body) in [
        (
            &["replay", "billing", "account", "alice"][..],
            "1 parked aggregate delivered again\n",
            r#"{"id":"alice","type":"account","version":null}"#,
        ),
        (
            &["replay", "billing", "--all"],
            "1 parked aggregate delivered again\n",
            r#"{"all":true}"#,
        ),
        (
            &[
                "skip",
                "billing",
                "account",
                "alice",
                "--reason",
                "a test",
                "--through",
                "3",
            ],
            "3 events left out for good\n",
            r#"{"id":"alice","reason":"a test","through":3,"type":"account","version":null}"#,
        ),
    ] {
        assert_eq!(consumers(&server, line).await.unwrap(), text, "{line:?}");
        let (_, sent) = asked(&server);
        let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
        assert_eq!(
            sent,
            serde_json::from_str::<serde_json::Value>(body).unwrap(),
            "{line:?}"
        );
    }
    let json = consumers(
        &server,
        &["skip", "billing", "account", "alice", "--reason", "x", "--json"],
    )
    .await
    .unwrap();
    assert_eq!(json, "{\"skipped\":3}\n");
}

#[tokio::test]
async fn a_consumer_that_is_not_there_is_told() {
    let server = FakeServer::start(|_| Reply::problem(404, "unknown-consumer")).await;
    for line in [
        &["show", "billing"][..],
        &["fetch", "billing"],
        &["ack", "billing", "0a"],
        &["parked", "billing"],
    ] {
        let error = consumers(&server, line).await.unwrap_err();
        assert_eq!(error.exit() as u8, 4, "{line:?}");
        assert!(
            error.report(false).contains("the fix of unknown-consumer"),
            "{error}"
        );
    }
}
