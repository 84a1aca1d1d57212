//! How consumers stand, for people.

use super::{
    super::text::{count, escape, plural, table},
    words::{about, exactly},
};
use crate::client::{Consumer, ConsumerFilter, ConsumerLag, ConsumerWebhook, ParkedCounts};

/// One line for each, below a heading.
pub(super) fn list(consumers: &[Consumer]) -> String {
    let mut rows = vec![
        ["NAME", "STATUS", "LAG", "LEASED", "PARKED"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(consumers.iter().map(|consumer| {
        vec![
            escape(&consumer.name),
            status(consumer).to_owned(),
            lag(&consumer.lag),
            count(consumer.leased),
            parked(&consumer.parked),
        ]
    }));
    table(&rows)
}

/// All of one.
pub(super) fn whole(consumer: &Consumer) -> String {
    let retry = &consumer.retry;
    let rows = [
        ("lag", lag(&consumer.lag)),
        ("leased", leased(consumer)),
        ("parked", parked(&consumer.parked)),
        ("checkpoint", escape(&consumer.checkpoint)),
        ("wants", wants(&consumer.filter)),
        (
            "delivers",
            format!(
                "{} at a time, at most {} that are not acknowledged",
                plural(consumer.batch.into(), "event"),
                count(consumer.concurrency.into())
            ),
        ),
        ("ordering", ordering(&consumer.ordering)),
        ("ack within", exactly(consumer.ack_deadline_ms)),
        (
            "retries",
            format!(
                "parked after {}; pauses of {} to {}",
                plural(retry.attempts.into(), "attempt"),
                exactly(retry.first_pause_ms),
                exactly(retry.longest_pause_ms)
            ),
        ),
        ("changed", escape(&consumer.changed_at)),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .chain(webhook(consumer))
        .map(|(name, value)| vec![format!("  {name}"), value])
        .collect();
    format!(
        "{}  {}\n{}",
        escape(&consumer.name),
        status(consumer),
        table(&rows)
    )
}

/// Rows for what only a consumer with a webhook has.
fn webhook(consumer: &Consumer) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let mut row = |name, text: Option<&str>| rows.extend(text.map(|text| (name, escape(text))));
    row("paused by", consumer.paused_because.as_deref());
    if let Some(webhook) = &consumer.webhook {
        row("webhook", Some(&webhook.url));
        row("posts", Some(&posts(webhook)));
        row("circuit", Some(&webhook.state));
        row("last error", webhook.last_error.as_deref());
        // It is shown this once.
        row("secret", webhook.secret.as_deref());
    }
    rows
}

fn posts(webhook: &ConsumerWebhook) -> String {
    let carried = match webhook.mode.as_str() {
        "event" => "one event",
        _ => "several events",
    };
    format!(
        "{carried} in each request; {} at a time, each within {}",
        plural(webhook.requests.into(), "request"),
        exactly(webhook.timeout_ms)
    )
}

fn status(consumer: &Consumer) -> &'static str {
    if consumer.paused { "paused" } else { "active" }
}

fn lag(lag: &ConsumerLag) -> String {
    let bound = if lag.exact { "" } else { "at most " };
    let mut text = format!("{bound}{}", plural(lag.events, "event"));
    if let Some(seconds) = lag.seconds {
        text.push_str(&format!(", {}", about(seconds)));
    }
    text
}

fn parked(parked: &ParkedCounts) -> String {
    if parked.aggregates == 0 {
        return "-".to_owned();
    }
    format!(
        "{} of {}",
        plural(parked.events, "event"),
        plural(parked.aggregates, "aggregate")
    )
}

fn leased(consumer: &Consumer) -> String {
    let members = consumer.members.iter();
    let members: Vec<String> = members
        .map(|(member, leases)| format!("{} by {}", count(*leases), escape(member)))
        .collect();
    if members.is_empty() {
        count(consumer.leased)
    } else {
        members.join(", ")
    }
}

fn ordering(ordering: &str) -> String {
    match ordering {
        "aggregate" => "an aggregate's next event waits for its previous one".to_owned(),
        "none" => "none: each event is by itself".to_owned(),
        other => escape(other),
    }
}

fn wants(filter: &ConsumerFilter) -> String {
    let mut parts = Vec::new();
    let mut part = |what: &str, names: &[String]| {
        if !names.is_empty() {
            parts.push(format!("{what} {}", escape(&names.join(", "))));
        }
    };
    part("type", &filter.types);
    part("event type", &filter.event_types);
    part("id prefix", filter.id_prefix.as_slice());
    part("actor", filter.actor.as_slice());
    part("since", filter.since.as_slice());
    part("until", filter.until.as_slice());
    let everything = if parts.is_empty() {
        "all events".to_owned()
    } else {
        parts.join("; ")
    };
    let more = if filter.include_system {
        "; with the server's own"
    } else {
        ""
    };
    format!("{everything}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake;

    fn consumer() -> Consumer {
        serde_json::from_str(&fake::consumer("billing")).unwrap()
    }

    #[test]
    fn consumers_are_aligned() {
        let mut second = consumer();
        second.name = "b\u{1b}".into();
        second.paused = true;
        second.leased = 0;
        second.lag = ConsumerLag {
            events: 1_200,
            exact: false,
            seconds: None,
        };
        second.parked = ParkedCounts {
            aggregates: 0,
            events: 0,
        };
        assert_eq!(
            list(&[consumer(), second]),
            "NAME     STATUS  LAG                   LEASED  PARKED\n\
             billing  active  12 events, 3.4 s      3       5 events of 2 aggregates\n\
             b\\u{1b}  paused  at most 1,200 events  0       -"
        );
    }

    #[test]
    fn one_is_shown_whole() {
        assert_eq!(
            whole(&consumer()),
            "\
billing  active
  lag         12 events, 3.4 s
  leased      2 by worker-1, 1 by worker-2
  parked      5 events of 2 aggregates
  checkpoint  c7
  wants       type account, order; id prefix a
  delivers    100 events at a time, at most 1,000 that are not acknowledged
  ordering    an aggregate's next event waits for its previous one
  ack within  30 s
  retries     parked after 5 attempts; pauses of 0.5 s to 60 s
  changed     t"
        );
    }

    #[test]
    fn a_webhook_is_shown_with_its_last_error() {
        let mut consumer = consumer();
        consumer.paused_because = Some("gone".into());
        consumer.webhook = Some(ConsumerWebhook {
            url: "https://example.com/".into(),
            mode: "event".into(),
            timeout_ms: 10_000,
            requests: 8,
            state: "open".into(),
            last_error: Some("no\u{1b}".into()),
            secret: Some("whsec_x".into()),
        });
        let text = whole(&consumer);
        let rows: Vec<&str> = text.lines().rev().take(6).map(str::trim).collect();
        assert_eq!(
            rows,
            [
                "secret      whsec_x",
                "last error  no\\u{1b}",
                "circuit     open",
                "posts       one event in each request; 8 requests at a time, each within 10 s",
                "webhook     https://example.com/",
                "paused by   gone",
            ]
        );
    }

    #[test]
    fn a_filter_is_told_with_all_its_parts() {
        assert_eq!(wants(&ConsumerFilter::default()), "all events");
        let filter = ConsumerFilter {
            event_types: vec!["opened".into()],
            actor: Some("x".into()),
            since: Some("t1".into()),
            until: Some("t2".into()),
            include_system: true,
            ..ConsumerFilter::default()
        };
        assert_eq!(
            wants(&filter),
            "event type opened; actor x; since t1; until t2; with the server's own"
        );
    }
}
