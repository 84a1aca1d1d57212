//! A follower sees each event once and in order, whatever happens to its connections. The fake server
//! answers each connection with the next of a list of streams.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::client::fake::{FakeServer, Reply, event, problem};

/// What the follower saw, as short words.
async fn follow(server: &FakeServer, query: FeedQuery, items: usize) -> Vec<String> {
    watch(server.client().follow(query), items).await
}

async fn watch(mut follow: Follow, items: usize) -> Vec<String> {
    follow.backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(10));
    follow.silence_limit = Duration::from_millis(300);
    let mut seen = Vec::new();
    while seen.len() < items {
        seen.push(match follow.next().await {
            Ok(FollowItem::Event(event)) => event.version().unwrap().to_string(),
            Ok(FollowItem::CaughtUp) => "caught-up".to_owned(),
            Ok(FollowItem::FellBehind) => "fell-behind".to_owned(),
            Ok(FollowItem::Reconnecting { .. }) => "reconnecting".to_owned(),
            Err(error) => {
                seen.push(error.to_string());
                break;
            }
        });
    }
    seen
}

fn stream(text: String) -> Reply {
    Reply::stream("text/event-stream", vec![text])
}

fn message(version: u64) -> String {
    format!("id: c{version}\ndata: {}\n\n", event("alice", version))
}

async fn serve(replies: Vec<Reply>) -> FakeServer {
    let turn = AtomicUsize::new(0);
    FakeServer::start(move |_| {
        let turn = turn.fetch_add(1, Ordering::SeqCst);
        replies
            .get(turn)
            .cloned()
            .unwrap_or_else(|| Reply::text(500, "no more"))
    })
    .await
}

fn last_event_ids(server: &FakeServer) -> Vec<Option<String>> {
    let requests = server.requests();
    let id = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    requests
        .iter()
        .map(|request| request.header("last-event-id").map(id))
        .collect()
}

#[tokio::test]
async fn it_goes_on_after_the_last_event_given() {
    let server = serve(vec![
        // The third event is cut off in the middle.
        stream(message(1) + &message(2) + "id: c3\ndata: {\"spec"),
        Reply::problem(503, "unavailable"),
        Reply::hang_up(),
        stream(message(3) + "event: fell-behind\ndata: {}\n\n" + &message(4)).never_ending(),
    ])
    .await;
    let query = FeedQuery {
        after: Some("c0".into()),
        aggregate_types: vec!["account".into()],
        limit: Some(7),
        ..FeedQuery::default()
    };
    let seen = follow(&server, query, 8).await;
    assert_eq!(
        seen,
        [
            "1",
            "2",
            "reconnecting",
            "reconnecting",
            "reconnecting",
            "3",
            "fell-behind",
            "4"
        ]
    );
    let after_two = Some("c2".to_owned());
    assert_eq!(
        last_event_ids(&server),
        [None, after_two.clone(), after_two.clone(), after_two]
    );
    let lines: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| request.line)
        .collect();
    assert_eq!(lines[0], "GET /v1/events?after=c0&type=account");
    assert_eq!(lines[3], "GET /v1/events?type=account");
}

#[tokio::test]
async fn a_history_is_followed_in_its_own_stream() {
    let server = serve(vec![stream(message(8)), stream(message(9)).never_ending()]).await;
    let filter = EventFilter {
        event_types: vec!["opened".into()],
        ..EventFilter::default()
    };
    let from = HistoryStart::Version(8);
    let follow = server
        .client()
        .follow_history("account", "a/b", from, filter.clone());
    assert_eq!(watch(follow, 3).await, ["8", "reconnecting", "9"]);
    let after = HistoryStart::After("c7".into());
    let follow = server.client().follow_history("account", "a/b", after, filter);
    assert!(watch(follow, 1).await[0].contains("500"));
    assert_eq!(last_event_ids(&server), [None, Some("c8".into()), None]);
    let lines: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| request.line)
        .collect();
    let path = "GET /v1/aggregates/account/a%2Fb/events";
    assert_eq!(lines[0], format!("{path}?from=8&event_type=opened"));
    assert_eq!(lines[1], lines[0]);
    assert_eq!(lines[2], format!("{path}?after=c7&event_type=opened"));
}

#[tokio::test]
async fn now_becomes_a_cursor_as_soon_as_the_server_says_where_that_is() {
    let server = serve(vec![
        stream("event: caught-up\ndata: {\"position\":\"c7\"}\n\n".to_owned()),
        stream("event: checkpoint\ndata: {\"position\":\"c9\"}\n\n".to_owned()),
        stream(message(10)).never_ending(),
    ])
    .await;
    let query = FeedQuery {
        after: Some("now".into()),
        ..FeedQuery::default()
    };
    let seen = follow(&server, query, 4).await;
    assert_eq!(seen, ["caught-up", "reconnecting", "reconnecting", "10"]);
    assert_eq!(
        last_event_ids(&server),
        [None, Some("c7".into()), Some("c9".into())]
    );
}

#[tokio::test]
async fn what_cannot_get_better_ends_it() {
    let cases = [
        (vec![Reply::problem(503, "unavailable")], "503"),
        (vec![Reply::hang_up()], "lost"),
        (vec![Reply::json("[]")], "text/event-stream"),
        (
            vec![stream(message(1)), Reply::problem(410, "dead-branch")],
            "410",
        ),
        (vec![stream("data: {}\n\n".to_owned())], "could not be read"),
    ];
    for (replies, part) in cases {
        let server = serve(replies).await;
        let seen = follow(&server, FeedQuery::default(), 5).await;
        assert!(seen.last().unwrap().contains(part), "{part}: {seen:?}");
    }
}

fn failed(status: u16, slug: &str) -> String {
    format!("event: failed\ndata: {}\n\n", problem(status, slug))
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_says_why_and_is_not_asked_for_again() {
    let server = serve(vec![stream(message(1) + &failed(500, "damaged"))]).await;
    let mut following = server.client().follow(FeedQuery::default());
    assert!(matches!(following.next().await.unwrap(), FollowItem::Event(_)));
    let error = following.next().await.unwrap_err();
    let ClientError::Problem(problem) = &error else {
        panic!("{error:?}");
    };
    assert_eq!((problem.slug.as_str(), problem.status), ("damaged", 500));
    assert_eq!(error.fix().unwrap(), "the fix of damaged");
    assert_eq!(server.requests().len(), 1);

    let server = serve(vec![stream("event: failed\ndata: oh\u{1b} no\n\n".to_owned())]).await;
    let seen = follow(&server, FeedQuery::default(), 5).await;
    assert!(
        seen[0].contains("without a problem document: `oh\\u{1b} no`"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_for_now_is_asked_for_again_after_ever_longer_waits() {
    let unavailable = || stream(failed(503, "unavailable"));
    let server = serve(vec![
        stream(message(1) + &failed(503, "unavailable")),
        unavailable(),
        unavailable(),
        stream(message(2)).never_ending(),
    ])
    .await;
    let mut follow = server.client().follow(FeedQuery::default());
    follow.backoff = Backoff::new(Duration::from_millis(4), Duration::from_secs(1));
    let mut waits = Vec::new();
    for _ in 0..5 {
        match follow.next().await.unwrap() {
            FollowItem::Reconnecting { cause, wait } => {
                assert!(cause.to_string().contains("503"), "{cause}");
                waits.push(wait);
            }
            item => assert!(matches!(item, FollowItem::Event(_)), "{item:?}"),
        }
    }
    // Each is within the upper half of twice the one before.
    assert_eq!(waits.len(), 3);
    assert!(waits[2] >= Duration::from_millis(8), "{waits:?}");
    let after_one = Some("c1".to_owned());
    assert_eq!(
        last_event_ids(&server),
        [None, after_one.clone(), after_one.clone(), after_one]
    );
}

#[tokio::test]
async fn silence_is_taken_for_a_dead_connection() {
    let server = serve(vec![
        stream(message(1)).never_ending(),
        stream(message(2)).never_ending(),
    ])
    .await;
    let seen = follow(&server, FeedQuery::default(), 3).await;
    assert_eq!(seen, ["1", "reconnecting", "2"]);
}
