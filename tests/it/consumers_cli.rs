//! A durable consumer from its creation to its end, as an operator types it, against a real server.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use annals::vocabulary::Limits;
use annals_tests::{
    artifacts, guests,
    server::{Api, TestServer},
};
use serde_json::{Value, json};

struct Cli {
    server: TestServer,
}

impl Cli {
    fn start() -> Self {
        let server = TestServer::start();
        server.upload(&guests::counter()).ok();
        Self { server }
    }

    /// So many events of a counter.
    fn add(&self, id: &str, events: usize) {
        for _ in 0..events {
            self.server
                .command(&format!("counter/{id}"), "add", &json!({ "by": 1 }))
                .ok();
        }
    }

    fn run(&self, arguments: &str, input: &str) -> Output {
        let mut child = Command::new(artifacts::binary())
            .args([
                "--server",
                &format!("http://{}", self.server.address()),
                "consumers",
            ])
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What people see on standard output and beside it.
    #[track_caller]
    fn text(&self, arguments: &str) -> (String, String) {
        let output = self.run(arguments, "");
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {out}{err}");
        (out, err)
    }

    /// Success, with lines of JSON.
    #[track_caller]
    fn lines(&self, arguments: &str) -> Vec<Value> {
        let (out, err) = self.text(&format!("{arguments} --json"));
        assert_eq!(err, "", "{arguments}");
        let read =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{arguments}: {error}: {out}"));
        out.lines().map(read).collect()
    }

    /// Success, with one line of JSON.
    #[track_caller]
    fn one(&self, arguments: &str) -> Value {
        let mut lines = self.lines(arguments);
        assert_eq!(lines.len(), 1, "{arguments}");
        lines.remove(0)
    }

    /// Failure with a code; gives what people are told.
    #[track_caller]
    fn fails(&self, arguments: &str, code: i32) -> String {
        let output = self.run(arguments, "");
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {out}{err}");
        err
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Which events were delivered: id and version.
fn which(deliveries: &[Value]) -> Vec<(&str, u64)> {
    let version = |delivery: &Value| delivery["event"]["sequence"].as_str().unwrap().parse().unwrap();
    let all = deliveries.iter();
    all.map(|delivery| (delivery["event"]["subject"].as_str().unwrap(), version(delivery)))
        .collect()
}

fn lease(delivery: &Value) -> &str {
    delivery["lease"].as_str().unwrap()
}

#[test]
fn a_consumer_lives_from_create_to_delete() {
    let cli = Cli::start();
    cli.add("a", 3);
    cli.add("b", 2);
    created_and_listed(&cli);
    fetched_and_acknowledged(&cli);
    parked_replayed_and_skipped(&cli);
    paused_and_reset(&cli);
    let (out, _) = cli.text("delete billing");
    assert_eq!(out, "billing  deleted\n");
    assert!(
        cli.fails("show billing", 4)
            .contains("there is no consumer `billing`")
    );
    let (out, err) = cli.text("list");
    assert!(
        out.is_empty() && err.contains("annals consumers create"),
        "{out}{err}"
    );
}

fn created_and_listed(cli: &Cli) {
    let created = cli.one("create billing --type counter --first-pause 0 --attempts 3 --ack-deadline 60");
    assert_eq!(
        (
            &created["name"],
            &created["filter"]["types"],
            &created["retry"]["attempts"]
        ),
        (&json!("billing"), &json!(["counter"]), &json!(3))
    );
    assert_eq!(
        (&created["lag"]["events"], &created["lag"]["exact"]),
        (&json!(5), &json!(true))
    );
    let (_, note) =
        cli.text("create billing --type counter --first-pause 0 --attempts 3 --ack-deadline 60 --start now");
    assert!(
        note.contains("was there already") && note.contains("reset billing --to"),
        "{note}"
    );
    let (list, _) = cli.text("list");
    let line = list.lines().nth(1).unwrap();
    assert!(
        list.starts_with("NAME ") && line.starts_with("billing  active  5 events, "),
        "{list}"
    );
    assert_eq!(cli.one("list")["consumers"][0]["name"], "billing");
    let (shown, _) = cli.text("show billing");
    assert!(
        shown.contains("wants       type counter\n") && shown.contains("parked after 3 attempts"),
        "{shown}"
    );
}

fn fetched_and_acknowledged(cli: &Cli) {
    let fetched = cli.lines("fetch billing --member m");
    assert_eq!(which(&fetched), [("a", 1), ("b", 1)]);
    let of_b = fetched[1].to_string();
    let wrong = cli.fails(&format!("ack billing {} --member other", lease(&fetched[1])), 7);
    assert!(
        wrong.contains("member `m`") && wrong.contains(lease(&fetched[1])),
        "{wrong}"
    );
    // The line of the fetch names the lease.
    let output = cli.run("ack billing - --member m --json", &of_b);
    assert_eq!(texts(&output).0, "{\"acked\":1,\"already\":0}\n", "{output:?}");
    let again = cli.one(&format!("ack billing {} --member m", lease(&fetched[1])));
    assert_eq!(again, json!({ "acked": 0, "already": 1 }));
    let output = cli.run("ack billing -", "no lease at all\n");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        cli.fails("ack billing nonsense", 7)
            .contains("`nonsense` is not a lease")
    );
    // A refusal comes again, with the reason and the next attempt; more time can be asked for.
    let given_back = cli.one(&format!(
        "nack billing {} --member m --reason later",
        lease(&fetched[0])
    ));
    assert_eq!(given_back["nacked"], 1);
    let fetched = cli.lines("fetch billing --member m --max 1 --wait 5");
    assert_eq!(which(&fetched), [("a", 1)]);
    assert_eq!(
        (&fetched[0]["attempt"], &fetched[0]["last_error"]),
        (&json!(2), &json!("later"))
    );
    assert_eq!(
        cli.one(&format!("extend billing {} --member m", lease(&fetched[0])))["extended"],
        1
    );
    let (out, _) = cli.text(&format!(
        "nack billing {} --member m --reason broken --park",
        lease(&fetched[0])
    ));
    assert_eq!(out, "1 event parked\n");
}

fn parked_replayed_and_skipped(cli: &Cli) {
    let parked = cli.lines("parked billing");
    assert_eq!(
        (&parked[0]["type"], &parked[0]["id"], &parked[0]["last_error"]),
        (&json!("counter"), &json!("a"), &json!("broken"))
    );
    // Others flow meanwhile, and what comes later of the parked one waits behind it.
    cli.add("a", 1);
    let (out, _) = cli.text("fetch billing --ack --wait 5");
    assert!(out.lines().count() == 1 && out.contains("counter/b"), "{out}");
    assert!(cli.lines("fetch billing").is_empty());
    let versions: Vec<Value> = cli
        .lines("parked billing counter a")
        .iter()
        .map(|event| event["sequence"].clone())
        .collect();
    assert_eq!(
        versions,
        [1, 2, 3, 4].map(|version: u64| json!(format!("{version:020}")))
    );
    let (out, _) = cli.text("parked billing counter a");
    assert!(
        out.starts_with("counter/a  parked since ") && out.contains(": broken\n"),
        "{out}"
    );
    assert!(cli.text("list").0.contains("4 events of 1 aggregate"));

    assert_eq!(
        cli.one("skip billing counter a --reason poison --through 1"),
        json!({ "skipped": 1 })
    );
    assert_eq!(
        cli.one("replay billing counter a"),
        json!({ "replaying_aggregates": 1 })
    );
    let told = cli.fails("replay billing counter a", 7);
    assert!(told.contains("being replayed"), "{told}");
    for version in [2, 3, 4] {
        assert_eq!(
            which(&cli.lines("fetch billing --ack --wait 5")),
            [("a", version)]
        );
    }
    assert!(cli.lines("parked billing").is_empty());
    assert!(
        cli.fails("skip billing counter a --reason again", 4)
            .contains("no event of this aggregate")
    );
    let stands = cli.one("show billing");
    assert_eq!(
        (
            &stands["lag"]["events"],
            &stands["parked"]["events"],
            &stands["leased"]
        ),
        (&json!(0), &json!(0), &json!(0))
    );
}

fn paused_and_reset(cli: &Cli) {
    cli.add("b", 1);
    assert!(cli.text("pause billing").0.starts_with("billing  paused\n"));
    let (out, err) = cli.text("fetch billing");
    assert!(out.is_empty() && err.contains("nothing to deliver"), "{out}{err}");
    assert!(cli.text("resume billing").0.starts_with("billing  active\n"));
    let fetched = cli.lines("fetch billing --wait 5");
    assert_eq!(which(&fetched), [("b", 3)]);
    let reset = cli.one("reset billing --to beginning");
    assert_eq!(
        (&reset["lag"]["events"], &reset["leased"]),
        (&json!(7), &json!(0))
    );
    let told = cli.fails(&format!("ack billing {}", lease(&fetched[0])), 7);
    assert!(told.contains("was reset"), "{told}");
    let position = cli.lines("fetch billing --max 1")[0]["event"]["position"].clone();
    let reset = cli.one(&format!("reset billing --to {}", position.as_str().unwrap()));
    assert_eq!(reset["lag"]["events"], 6);
    assert!(cli.fails("reset billing --to tomorrow", 2).contains("beginning"));
}

#[test]
fn wrong_values_are_told_with_the_fix() {
    let cli = Cli::start();
    for (arguments, code, says) in [
        ("create billing --batch 100000", 7, "`batch` is 100000"),
        (
            "create billing --first-pause 90 --longest-pause 1",
            7,
            "`retry.longest_pause_ms` is 1000",
        ),
        ("fetch billing", 4, "there is no consumer `billing`"),
        ("replay billing --all", 4, "there is no consumer `billing`"),
        ("delete billing", 4, "there is no consumer `billing`"),
    ] {
        let told = cli.fails(arguments, code);
        assert!(
            told.contains(says) && told.contains("fix:"),
            "{arguments}: {told}"
        );
    }
    cli.one("create billing");
    for (arguments, code, says) in [
        (
            "create billing --ordering none",
            7,
            "its ordering cannot be changed",
        ),
        ("fetch billing --wait 601", 7, "`wait_ms` is 601000"),
        ("fetch billing --max 1001", 7, "`max` is 1001"),
        (
            "replay billing counter a",
            4,
            "no event of this aggregate is parked",
        ),
    ] {
        let told = cli.fails(arguments, code);
        assert!(
            told.contains(says) && told.contains("fix:"),
            "{arguments}: {told}"
        );
    }
}

#[test]
fn a_webhook_has_options_and_is_not_taken_away_quietly() {
    let server = TestServer::with_webhooks(Limits::default(), &["127.0.0.1:9".to_owned()]);
    let cli = Cli { server };
    let url = "http://127.0.0.1:9/";
    cli.text(&format!(
        "create billing --webhook {url} --webhook-requests 3 --webhook-timeout 2"
    ));
    let (out, _) = cli.text("show billing");
    assert!(out.contains("3 requests at a time, each within 2 s"), "{out}");
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let (out, err) = texts(&cli.run("rotate-secret billing --secret-file -", &format!("{given}\n")));
    assert!(
        out.contains("signs with the given secret") && !(out + &err).contains(given),
        "{err}"
    );
    let (made, _) = cli.text("rotate-secret billing");
    assert!(made.starts_with("whsec_") && !made.contains(given), "{made}");
    let (_, err) = cli.text(&format!("create billing --webhook {url} --batch 50"));
    for line in [
        "-- batch is 50; it was 100",
        "-- webhook.requests is 8; it was 3",
        "-- webhook.timeout_ms is 10000; it was 2000",
    ] {
        assert!(err.contains(line), "{err}");
    }
    let (_, err) = cli.text("create billing --batch 50");
    assert!(
        err.contains(&format!("its webhook \"{url}\" is taken away")),
        "{err}"
    );
    let refused = cli.run("create billing --webhook https://example.com/", "");
    assert_eq!(refused.status.code(), Some(7));
}
