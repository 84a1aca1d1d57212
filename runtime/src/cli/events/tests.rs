//! What `annals events` asks for and prints.

use clap::Parser;

use super::*;
use crate::{
    cli::{Cli, Command},
    client::fake::{FakeServer, Reply, event},
};

async fn events(server: &FakeServer, line: &str) -> Result<String, CliError> {
    let line = format!("annals events {line}");
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
    let Command::Events(args) = cli.command else {
        panic!("not events");
    };
    let mut bytes = Vec::new();
    run(
        &server.client(),
        &args,
        &mut Out::new(cli.global.json, &mut bytes),
    )
    .await?;
    Ok(String::from_utf8(bytes).unwrap())
}

fn page(versions: &[u64], next: &str, caught_up: bool) -> Reply {
    let events: Vec<_> = versions.iter().map(|&version| event("alice", version)).collect();
    Reply::json(&format!("[{}]", events.join(",\n")))
        .header("Link", &format!("<{next}>; rel=\"next\""))
        .header("Caught-Up", if caught_up { "true" } else { "false" })
}

async fn feed_server() -> FakeServer {
    FakeServer::start(|request| match request.line.as_str() {
        "GET /v1/events" | "GET /v1/events?type=account" => page(&[1, 2], "/v1/events?after=c2", false),
        "GET /v1/events?limit=1" => page(&[1], "/v1/events?after=c1", false),
        "GET /v1/events?after=c2" => page(&[], "/v1/events?after=c3", false),
        "GET /v1/events?after=c3" => page(&[10], "/v1/events?after=c10", true),
        other => Reply::text(500, other),
    })
    .await
}

#[tokio::test]
async fn the_feed_is_paged_to_its_head_also_over_empty_pages() {
    let server = feed_server().await;
    let expected = "\
2026-01-02T03:04:05.678Z  account/alice          1  opened        {\"z\":1,\"a\":1.10}
2026-01-02T03:04:05.678Z  account/alice          2  opened        {\"z\":2,\"a\":1.10}
2026-01-02T03:04:05.678Z  account/alice         10  opened        {\"z\":10,\"a\":1.10}
";
    for line in ["", "account", "--type account"] {
        assert_eq!(events(&server, line).await.unwrap(), expected, "{line}");
    }
}

#[tokio::test]
async fn programs_get_one_event_a_line_as_the_server_wrote_it() {
    let text = events(&feed_server().await, "--json").await.unwrap();
    let expected: Vec<_> = [1, 2, 10].map(|version| event("alice", version)).to_vec();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_limit_asks_for_no_more() {
    let server = feed_server().await;
    let text = events(&server, "--limit 1").await.unwrap();
    assert_eq!((text.lines().count(), server.requests().len()), (1, 1));
}

#[tokio::test]
async fn history_goes_both_ways() {
    let server = FakeServer::start(|request| match request.line.as_str() {
        "GET /v1/aggregates/account/alice/events?from=2&direction=backward" => {
            Reply::json(&format!("[{}]", event("alice", 2))).header("Link", "</older>; rel=\"next\"")
        }
        "GET /older" => Reply::json(&format!("[{}]", event("alice", 1))),
        other => Reply::text(500, other),
    })
    .await;
    let text = events(&server, "account alice --backward --from 2 --json")
        .await
        .unwrap();
    assert_eq!(text, format!("{}\n{}\n", event("alice", 2), event("alice", 1)));
    let error = events(&server, "account alice --after c1").await.unwrap_err();
    assert!(error.report(false).contains("--from"), "{error}");
}

#[tokio::test]
async fn one_aggregate_is_followed_in_its_own_stream() {
    for (line, query) in [
        ("--after now", "?after=now"),
        ("--from 7", "?from=7"),
        ("--event-type opened", "?event_type=opened"),
    ] {
        let stream = |text: String| Reply::stream("text/event-stream", vec![text]).never_ending();
        let server = FakeServer::start(move |_| {
            let messages = [event("alice", 1), event("alice", 2), event("alice", 3)];
            stream(messages.map(|event| format!("data: {event}\n\n")).concat())
        })
        .await;
        let text = events(
            &server,
            &format!("account alice --follow {line} --limit 2 --json"),
        )
        .await
        .unwrap();
        assert_eq!(text, format!("{}\n{}\n", event("alice", 1), event("alice", 2)));
        let expected = format!("GET /v1/aggregates/account/alice/events{query}");
        assert_eq!(server.requests()[0].line, expected);
    }
}

#[tokio::test]
async fn filters_are_asked_for() {
    // A history ends where no link leads on; a page of the feed always has one.
    let server = FakeServer::start(|request| match request.line.contains("/aggregates/") {
        true => Reply::json("[]"),
        false => page(&[], "/v1/events?after=c0", true),
    })
    .await;
    let all =
        "--event-type opened,closed --actor anna --since 2026-01-01T00:00:00Z --until 2026-01-02T00:00:00Z";
    let asked =
        "event_type=opened%2Cclosed&actor=anna&since=2026-01-01T00%3A00%3A00Z&until=2026-01-02T00%3A00%3A00Z";
    for (line, expected) in [
        (
            format!("account {all}"),
            format!("GET /v1/events?type=account&{asked}"),
        ),
        (
            format!("--type account,order --type cart --id-prefix a/ {all}"),
            format!("GET /v1/events?type=account%2Corder%2Ccart&id_prefix=a%2F&{asked}"),
        ),
        (
            format!("account alice {all}"),
            format!("GET /v1/aggregates/account/alice/events?{asked}"),
        ),
    ] {
        drop(events(&server, &line).await);
        assert_eq!(server.requests().last().unwrap().line, expected, "{line}");
    }
}
