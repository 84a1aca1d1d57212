//! `annals state`

use clap::Args;

use super::{
    error::CliError,
    output::Out,
    text::{escape, indent, short},
};
use crate::{
    client::Client,
    vocabulary::{AggregateId, AggregateType},
};

/// Arguments of `annals state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The aggregate's type, for example account
    #[arg(value_name = "TYPE")]
    pub aggregate_type: AggregateType,
    /// Which aggregate, for example alice
    pub id: AggregateId,
}

pub(crate) async fn run(client: &Client, args: &StateArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let answer = client
        .state(args.aggregate_type.as_str(), args.id.as_str())
        .await?;
    if out.is_json() {
        return Ok(out.raw(&answer.body)?);
    }
    let state = answer.value;
    out.line(&format!(
        "{}/{}  version {}  module {}",
        escape(&state.aggregate_type),
        escape(&state.id),
        state.version,
        short(&state.module)
    ))?;
    Ok(out.line(&indent(state.state.get()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{FakeServer, Reply};

    #[tokio::test]
    async fn a_state_is_shown_whole() {
        let body =
            r#"{"type":"account","id":"alice","version":3,"module":"3fa9c1d2aabbccdd","state":{"b":1.10}}"#;
        let server = FakeServer::start(move |_| Reply::json(body)).await;
        let args = StateArgs {
            aggregate_type: AggregateType::parse("account").unwrap(),
            id: AggregateId::parse("alice").unwrap(),
        };
        let cases = [
            (
                false,
                "account/alice  version 3  module 3fa9c1d2aabb\n{\n  \"b\": 1.10\n}\n".to_owned(),
            ),
            (true, format!("{body}\n")),
        ];
        for (json, expected) in cases {
            let mut bytes = Vec::new();
            run(&server.client(), &args, &mut Out::new(json, &mut bytes))
                .await
                .unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
    }
}
