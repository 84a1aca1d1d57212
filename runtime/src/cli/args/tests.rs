//! The grammar holds together, and each command reads its arguments.

use clap::{CommandFactory, Parser};

use super::*;
use crate::cli::consumers::ConsumersCommand;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("annals").chain(line.split_whitespace()))
}

#[test]
fn the_grammar_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn global_options_go_anywhere() {
    for line in [
        "--json --server http://h:1 modules",
        "modules --json --server http://h:1",
    ] {
        let cli = parse(line).unwrap();
        assert!(cli.global.json, "{line}");
        assert_eq!(cli.global.server.to_string(), "http://h:1");
    }
    assert_eq!(
        parse("modules").unwrap().global.server.to_string(),
        "http://127.0.0.1:7070"
    );
}

#[test]
fn commands_read_their_arguments() {
    let Command::Send(send) = parse("send account alice deposit 5 --key k --if-match 3")
        .unwrap()
        .command
    else {
        panic!("not send");
    };
    assert_eq!(
        (send.aggregate_type.as_str(), send.id.as_str()),
        ("account", "alice")
    );
    assert_eq!((send.payload.as_deref(), send.if_match), (Some("5"), Some(3)));
    assert_eq!(send.key.unwrap().as_str(), "k");

    let Command::Send(send) = parse("send account alice adjust -5").unwrap().command else {
        panic!("not send");
    };
    assert_eq!(send.payload.as_deref(), Some("-5"));

    let Command::Load(load) = parse("load - --connections 8 --keys").unwrap().command else {
        panic!("not load");
    };
    assert_eq!((load.connections, load.keys), (8, true));

    let line = r#"bench m.wasm --command deposit --payload {"amount":1} --open open:{"owner":"x"} --ids 7"#;
    let Command::Bench(bench) = parse(line).unwrap().command else {
        panic!("not bench");
    };
    assert_eq!((bench.ids, bench.connections, bench.seconds), (7, 64, 10));
    let open = bench.open.unwrap();
    assert_eq!(
        (open.command.as_str(), open.payload.as_deref()),
        ("open", Some(r#"{"owner":"x"}"#))
    );

    let line = "consumers nack billing 0a - --reason no --park --member m";
    let Command::Consumers(consumers) = parse(line).unwrap().command else {
        panic!("not consumers");
    };
    let ConsumersCommand::Nack(nack) = consumers.command else {
        panic!("not nack");
    };
    assert_eq!(
        (nack.of.leases.as_slice(), nack.park),
        (&["0a".to_owned(), "-".to_owned()][..], true)
    );

    let Command::Serve(serve) = parse("serve --data d --listen 127.0.0.1:0 --log json")
        .unwrap()
        .command
    else {
        panic!("not serve");
    };
    assert_eq!((serve.data.to_str(), serve.listen.port()), (Some("d"), 0));
}

#[test]
fn wrong_arguments_are_refused_with_the_reason() {
    let cases = [
        ("", "Usage"),
        ("fly", "fly"),
        ("modules --server https://h", "TLS"),
        ("send Account alice open", "[a-z]"),
        ("send account .. open", "proxies"),
        ("send account alice", "COMMAND"),
        (
            "send account alice open --if-match 1 --create",
            "cannot be used with",
        ),
        ("send account alice open --if-match x", "invalid digit"),
        ("events account alice --type account", "cannot be used with"),
        ("events account alice --id-prefix a", "cannot be used with"),
        ("events account alice --include-system", "cannot be used with"),
        ("events --since yesterday", "2026-11-21"),
        ("events account --until 5", "2026-11-21"),
        ("events --backward", "<ID>"),
        ("events account alice --backward --follow", "cannot be used with"),
        ("consumers", "Usage"),
        ("consumers show Billing", "[a-z]"),
        ("consumers create", "<NAME>"),
        ("consumers create billing --type Account", "[a-z]"),
        ("consumers create billing --since yesterday", "2026-11-21"),
        ("consumers create billing --start end", "beginning"),
        ("consumers create billing --ordering total", "aggregate, none"),
        ("consumers create billing --ack-deadline 30s", "0.5"),
        ("consumers create billing --batch x", "invalid digit"),
        ("consumers fetch billing --max 0", "0"),
        ("consumers fetch billing --wait soon", "seconds"),
        ("consumers ack billing", "<LEASE>"),
        ("consumers nack billing 0a", "--reason"),
        (
            "consumers nack billing 0a --reason r --delay 1 --park",
            "cannot be used with",
        ),
        ("consumers parked billing account", "<ID>"),
        ("consumers parked billing --version 1", "<ID>"),
        ("consumers replay billing", "<TYPE>"),
        ("consumers replay billing account", "<ID>"),
        (
            "consumers replay billing account alice --all",
            "cannot be used with",
        ),
        ("consumers skip billing account alice", "--reason"),
        ("consumers reset billing", "--to"),
        ("load --connections 0", "0"),
        ("bench m.wasm", "--command"),
        ("bench m.wasm --command a --connections 0", "1 to 4096"),
        ("bench m.wasm --command a --ids 1000001", "1 to 1000000"),
        ("bench m.wasm --command a --payload {", "not JSON"),
        ("bench m.wasm --command a --open b:{", "not JSON"),
        ("bench m.wasm --command a --open :1", "empty"),
        ("serve --listen localhost", "socket address"),
        ("serve --log loud", "human"),
    ];
    for (line, part) in cases {
        let message = parse(line).unwrap_err().to_string();
        assert!(message.contains(part), "`{line}`: {message}");
    }
}

#[test]
fn help_shows_every_exit_code() {
    let help = Cli::command().render_help().to_string();
    for (exit, meaning) in Exit::TABLE {
        // Wrapping may break a long meaning.
        let beginning: String = meaning.chars().take(30).collect();
        assert!(help.contains(&format!("{}  {beginning}", exit as u8)), "{help}");
    }
}
