//! In which order lines are decided and answered, and what waits.

use super::*;

#[test]
fn answers_come_in_the_order_of_lines_or_as_they_finish() {
    let server = counter(Limits {
        handle_wall: Duration::from_millis(300),
        handle_fuel: u64::MAX / 2,
        ..Limits::default()
    });
    let mut body =
        String::from("{\"type\":\"counter\",\"id\":\"slow\",\"command\":\"loop\",\"payload\":{\"by\":1}}\n");
    // Some of them are on another shard than the slow one.
    (0..32).for_each(|id| body.push_str(&add(&format!("x{id}"))));
    let numbers = |query: &str| -> Vec<u64> {
        let answers = all(&server, query, &body);
        let slow = answers.iter().find(|line| line["line"] == 1).unwrap();
        problem(slow, 503, "deadline");
        assert!(slow["retry_after"].as_u64().unwrap() >= 1, "{slow}");
        answers
            .iter()
            .map(|line| line["line"].as_u64().unwrap())
            .collect()
    };
    let sorted: Vec<u64> = (1..=33).collect();
    assert_eq!(numbers(""), sorted);
    assert_eq!(numbers("?order=lines"), sorted);
    if std::thread::available_parallelism().unwrap().get() > 1 {
        let mut numbers = numbers("?order=any");
        assert_ne!(numbers, sorted);
        numbers.sort_unstable();
        assert_eq!(numbers, sorted);
    }
}

#[test]
fn a_stream_waits_for_room_and_keeps_the_order_of_an_aggregate() {
    // The smallest queues there are: none of the stream's own lines is ever refused.
    let server = counter(Limits {
        lane_queue: 2,
        shard_queue: 4,
        in_flight_bytes: 64,
        ..Limits::default()
    });
    let body: String = (0..200).map(|_| add("hot")).collect();
    let answers = all(&server, "", &body);
    for (at, line) in answers.iter().enumerate() {
        assert_eq!(
            (&line["status"], &line["body"]["version"]),
            (&json!(200), &json!(at + 1)),
            "{line}"
        );
    }
    assert_eq!(answers.len(), 200);
    let body: String = (0..200).map(|at| add(&format!("x{}", at % 50))).collect();
    for query in ["", "?order=any"] {
        assert!(
            all(&server, query, &body)
                .iter()
                .all(|line| line["status"] == 200)
        );
    }
    // As they finish, those of one aggregate still finish in their order.
    let answers = all(
        &server,
        "?order=any",
        &(0..200)
            .map(|at| add(&format!("y{}", at % 5)))
            .collect::<String>(),
    );
    for id in 0..5 {
        let versions = answers
            .iter()
            .filter(|line| line["body"]["id"] == format!("y{id}"));
        let places: Vec<(u64, u64)> = versions
            .map(|line| {
                (
                    line["line"].as_u64().unwrap(),
                    line["body"]["version"].as_u64().unwrap(),
                )
            })
            .collect();
        assert!(places.len() == 40 && places.is_sorted(), "{places:?}");
    }
}

#[test]
fn the_same_key_twice_in_flight_is_decided_once() {
    let server = counter(Limits::default());
    let line = add("a").replace("}}\n", "},\"key\":\"k\"}\n");
    let other = line.replace("\"by\":1", "\"by\":2");
    for query in ["", "?order=any"] {
        let answers = all(&server, query, &format!("{}{other}{line}", line.repeat(50)));
        assert_eq!(answers.len(), 52);
        let (reused, same): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["line"] == 51);
        problem(reused[0], 422, "key-reused");
        assert!(
            same.iter()
                .all(|answer| answer["body"] == same[0]["body"] && answer["status"] == 200)
        );
        let first = same
            .iter()
            .filter(|answer| answer.get("replayed").is_none())
            .count();
        assert_eq!(first, usize::from(query.is_empty()));
    }
    assert_eq!(server.whole_feed().len(), 1);
}
