//! What `create` has changed of a consumer that was there already: what is not said has its default.

use serde_json::Value;

use super::super::text::escape;

/// What can change, as the server calls it.
const MEMBERS: [&str; 13] = [
    "filter.types",
    "filter.event_types",
    "filter.id_prefix",
    "filter.actor",
    "filter.since",
    "filter.until",
    "filter.include_system",
    "batch",
    "ack_deadline_ms",
    "retry.attempts",
    "retry.first_pause_ms",
    "retry.longest_pause_ms",
    "concurrency",
];
/// The same of a webhook that stays.
const OF_WEBHOOKS: [&str; 4] = [
    "webhook.url",
    "webhook.mode",
    "webhook.timeout_ms",
    "webhook.requests",
];

/// A line for each difference between two documents of a consumer; none when the first is null, since nothing is known then.
pub(super) fn changes(before: &Value, after: &Value) -> Vec<String> {
    if before.is_null() {
        return Vec::new();
    }
    let mut lines: Vec<String> = differing(&MEMBERS, before, after).collect();
    match (member(before, "webhook.url"), member(after, "webhook.url")) {
        (Value::Null, Value::Null) => {}
        (url, Value::Null) => lines.push(format!(
            "its webhook {} is taken away, and the secret with it: members fetch from now on",
            shown(url)
        )),
        (Value::Null, url) => lines.push(format!("its events are posted to {} from now on", shown(url))),
        _ => lines.extend(differing(&OF_WEBHOOKS, before, after)),
    }
    lines
}

fn differing(names: &[&str], before: &Value, after: &Value) -> impl Iterator<Item = String> {
    names.iter().filter_map(|name| {
        let (before, after) = (member(before, name), member(after, name));
        (before != after).then(|| format!("{name} is {}; it was {}", shown(after), shown(before)))
    })
}

/// Null when there is none.
fn member<'a>(document: &'a Value, name: &str) -> &'a Value {
    let found = name.split('.').try_fold(document, |value, name| value.get(name));
    found.unwrap_or(&Value::Null)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        value => escape(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_difference_is_told() {
        let before = json!({
            "filter": { "types": ["account"], "actor": null }, "batch": 100, "retry": { "attempts": 5 }, "lag": 7,
            "webhook": { "url": "https://a.example/\u{202e}", "requests": 3, "timeout_ms": 5_000, "failures": 7 },
        });
        assert_eq!(changes(&before, &before), Vec::<String>::new());
        assert_eq!(changes(&Value::Null, &before), Vec::<String>::new());
        let mut after = before.clone();
        after["batch"] = json!(50);
        after["lag"] = json!(8);
        after["filter"] = json!({ "types": [], "actor": "x" });
        after["webhook"]["requests"] = json!(8);
        after["webhook"]["failures"] = json!(0);
        assert_eq!(
            changes(&before, &after),
            [
                "filter.types is []; it was [\"account\"]",
                "filter.actor is \"x\"; it was not set",
                "batch is 50; it was 100",
                "webhook.requests is 8; it was 3",
            ]
        );
        let mut without = before.clone();
        without.as_object_mut().unwrap().remove("webhook");
        let taken = changes(&before, &without);
        assert_eq!(
            taken,
            [
                "its webhook \"https://a.example/\\u{202e}\" is taken away, and the secret with it: members fetch from now on"
            ]
        );
        assert!(changes(&without, &before)[0].contains("posted to \"https://a.example/"));
    }
}
