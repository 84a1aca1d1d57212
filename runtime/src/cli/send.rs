//! `annals send`

use std::io::Read;

use clap::Args;

use super::{
    error::CliError,
    output::Out,
    text::{compact, escape},
};
use crate::{
    client::{Accepted, Client, Precondition, SendCommand},
    vocabulary::{AggregateId, AggregateType, CommandName, IdempotencyKey, Limits, json_problem},
};

/// Arguments of `annals send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The aggregate's type, for example account
    #[arg(value_name = "TYPE")]
    pub aggregate_type: AggregateType,
    /// Which aggregate, for example alice
    pub id: AggregateId,
    /// The command's name, for example deposit
    pub command: CommandName,
    /// The payload as JSON, or - to read it from standard input
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub payload: Option<String>,
    /// Idempotency key: sending again with the same key gives the first answer
    #[arg(long)]
    pub key: Option<IdempotencyKey>,
    /// Only when the aggregate is at this version
    #[arg(long, value_name = "VERSION", conflicts_with = "create")]
    pub if_match: Option<u64>,
    /// Only when the aggregate does not exist yet
    #[arg(long)]
    pub create: bool,
}

/// The payload, once it is known to be JSON.
pub(crate) fn payload(args: &SendArgs) -> Result<Option<String>, CliError> {
    let text = match args.payload.as_deref() {
        None => return Ok(None),
        Some("-") => read_stdin()?,
        Some(text) => text.to_owned(),
    };
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => {
            let shown: String = text.chars().take(200).collect();
            Err(CliError::usage(
                format!(
                    "the payload is not JSON: {}: `{}`",
                    json_problem(&error, text.as_bytes()),
                    escape(&shown)
                ),
                "quote it for the shell, for example '{\"amount\":10}', or give - and write it to standard input",
            ))
        }
    }
}

fn read_stdin() -> Result<String, CliError> {
    let limit = Limits::default().payload_bytes;
    let mut text = String::new();
    // One byte more than a server takes by default tells that there is too much.
    let mut stdin = std::io::stdin().take(limit as u64 + 1);
    stdin
        .read_to_string(&mut text)
        .map_err(|error| CliError::failed(format!("cannot read standard input: {error}")))?;
    if text.len() > limit {
        return Err(CliError::usage(
            format!("the payload on standard input has more than {limit} bytes, the limit of a payload"),
            "send less in one command",
        ));
    }
    Ok(text)
}

pub(crate) async fn run(
    client: &Client,
    args: &SendArgs,
    payload: Option<&str>,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let precondition = match args.if_match {
        Some(version) => Precondition::Version(version),
        None if args.create => Precondition::Absent,
        None => Precondition::None,
    };
    let command = SendCommand {
        aggregate_type: args.aggregate_type.as_str(),
        id: args.id.as_str(),
        command: args.command.as_str(),
        payload,
        idempotency_key: args.key.as_ref().map(IdempotencyKey::as_str),
        precondition,
    };
    let answer = client.send(&command).await?;
    if out.is_json() {
        return Ok(out.raw(&answer.body)?);
    }
    Ok(out.line(&accepted(&answer.value, answer.is_replayed()))?)
}

/// An accepted command for people.
pub(crate) fn accepted(answer: &Accepted, is_replayed: bool) -> String {
    let mut text = format!(
        "accepted  {}/{}  version {}",
        escape(&answer.aggregate_type),
        escape(&answer.id),
        answer.version
    );
    if is_replayed {
        text.push_str("  (the first answer to this key, again)");
    }
    if answer.events.is_empty() {
        text.push_str("\n  nothing changed");
    }
    for event in &answer.events {
        let data = event.fields.data.as_ref().map_or("", |data| data.get());
        let name = escape(&event.fields.event_type);
        text.push_str(format!("\n  {name}  {}", escape(&compact(data))).trim_end());
    }
    if let Some(reply) = &answer.reply {
        text.push_str(&format!("\n  reply  {}", escape(&compact(reply.get()))));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        client::fake::{FakeServer, Reply, event},
    };

    fn args(line: &[&str]) -> SendArgs {
        let line = ["annals", "send", "account", "alice", "deposit"]
            .iter()
            .chain(line);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Send(args) => args,
            other => panic!("{other:?}"),
        }
    }

    async fn sent(server: &FakeServer, json: bool) -> (String, Result<(), CliError>) {
        let args = args(&["{\"amount\":1}"]);
        let payload = payload(&args).unwrap();
        let mut bytes = Vec::new();
        let result = run(
            &server.client(),
            &args,
            payload.as_deref(),
            &mut Out::new(json, &mut bytes),
        )
        .await;
        (String::from_utf8(bytes).unwrap(), result)
    }

    #[tokio::test]
    async fn an_answer_is_shown_to_people_and_to_programs() {
        let body = format!(
            r#"{{"type":"account","id":"alice","version":2,"events":[{}], "reply":{{"b": 1}},"fuel":1}}"#,
            event("alice", 2)
        );
        let server = FakeServer::start({
            let body = body.clone();
            move |_| Reply::json(&body).header("Idempotency-Replayed", "true")
        })
        .await;
        let (text, result) = sent(&server, false).await;
        assert_eq!(
            text,
            "accepted  account/alice  version 2  (the first answer to this key, again)\n  opened  \
             {\"z\":2,\"a\":1.10}\n  reply  {\"b\":1}\n"
        );
        result.unwrap();
        let (text, _) = sent(&server, true).await;
        assert_eq!(text, body + "\n");
    }

    #[tokio::test]
    async fn a_problem_prints_no_result() {
        let server = FakeServer::start(|_| Reply::problem(422, "rejected")).await;
        let (text, result) = sent(&server, true).await;
        assert_eq!(text, "");
        assert_eq!(result.unwrap_err().exit() as u8, 3);
    }

    #[test]
    fn a_payload_must_be_json() {
        assert_eq!(payload(&args(&[])).unwrap(), None);
        assert_eq!(payload(&args(&["[1.10]"])).unwrap().as_deref(), Some("[1.10]"));
        for text in ["{amount:1}", "", "1 2", "\u{1b}"] {
            let error = payload(&args(&[text])).unwrap_err();
            assert_eq!(error.exit() as u8, 2, "{text}");
            assert!(error.report(false).contains("shell"), "{error}");
        }
    }
}
