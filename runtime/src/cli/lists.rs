//! `annals types` and `annals modules`

use clap::Args;

use super::{
    error::CliError,
    output::Out,
    text::{count, escape, short, table},
};
use crate::{
    client::{Client, ModuleInfo, TypeInfo},
    vocabulary::AggregateType,
};

/// Most entries that a server puts on one page.
pub(crate) const PAGE_MAX: usize = 1_000;

/// A count for which zero would mean that nothing is to be done.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("must be a whole number".to_owned()),
    }
}

/// Arguments of `annals types`.
#[derive(Debug, Args)]
pub struct TypesArgs {
    /// List the aggregates of this type instead
    #[arg(value_name = "TYPE")]
    pub aggregate_type: Option<AggregateType>,
    /// Most aggregates to list
    #[arg(long, value_name = "N", requires = "aggregate_type", value_parser = at_least_one)]
    pub limit: Option<usize>,
}

pub(crate) async fn types(client: &Client, args: &TypesArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    if let Some(aggregate_type) = &args.aggregate_type {
        return aggregates(client, aggregate_type, args.limit, out).await;
    }
    let answer = client.types().await?;
    if out.is_json() {
        return Ok(out.raw(&answer.body)?);
    }
    if answer.value.types.is_empty() {
        out.note("no aggregate type is deployed yet; deploy one with `annals deploy CRATE`");
        return Ok(());
    }
    Ok(out.line(&type_table(&answer.value.types))?)
}

fn type_table(types: &[TypeInfo]) -> String {
    let mut rows = vec![heading(["TYPE", "MODULE", "VERSION", "DEPLOYED", "COMMANDS"])];
    rows.extend(types.iter().map(|info| {
        vec![
            escape(&info.aggregate_type),
            short(&info.module),
            optional(info.module_version.as_deref()),
            escape(&info.deployed_at),
            escape(&info.commands.join(", ")),
        ]
    }));
    table(&rows)
}

async fn aggregates(
    client: &Client,
    aggregate_type: &AggregateType,
    limit: Option<usize>,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let mut left = limit.unwrap_or(usize::MAX);
    let page_size = limit.map(|limit| limit.min(PAGE_MAX));
    let mut page = client.aggregates(aggregate_type.as_str(), page_size).await?;
    if page.items.is_empty() {
        out.note(&format!("there is no aggregate of type {aggregate_type} yet"));
    }
    let mut is_first = true;
    loop {
        page.items.truncate(left);
        left -= page.items.len();
        if out.is_json() {
            for (_, raw) in &page.items {
                out.line(raw.get())?;
            }
        } else if !page.items.is_empty() {
            let mut rows = Vec::new();
            if is_first {
                rows.push(heading(["ID", "VERSION", "LAST EVENT"]));
            }
            rows.extend(page.items.iter().map(|(aggregate, _)| {
                vec![
                    escape(&aggregate.id),
                    aggregate.version.to_string(),
                    escape(&aggregate.recorded_at),
                ]
            }));
            out.line(&table(&rows))?;
            is_first = false;
        }
        let Some(next) = page.next.filter(|_| left > 0) else {
            return Ok(());
        };
        page = client.aggregates_next(&next).await?;
    }
}

pub(crate) async fn modules(client: &Client, out: &mut Out<'_>) -> Result<(), CliError> {
    let answer = client.modules().await?;
    if out.is_json() {
        return Ok(out.raw(&answer.body)?);
    }
    if answer.value.modules.is_empty() {
        out.note("no module is uploaded yet; upload one with `annals deploy CRATE`");
        return Ok(());
    }
    Ok(out.line(&module_table(&answer.value.modules))?)
}

fn module_table(modules: &[ModuleInfo]) -> String {
    let mut rows = vec![heading([
        "TYPE", "VERSION", "STATUS", "BYTES", "UPLOADED", "DIGEST",
    ])];
    rows.extend(modules.iter().map(|module| {
        vec![
            escape(&module.aggregate_type),
            optional(module.module_version.as_deref()),
            if module.active { "active" } else { "-" }.to_owned(),
            count(module.size_bytes),
            escape(&module.uploaded_at),
            escape(&module.digest),
        ]
    }));
    table(&rows)
}

fn heading<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

fn optional(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .map_or_else(|| "-".to_owned(), escape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{FakeServer, Reply};

    async fn aggregates_of(server: &FakeServer, limit: Option<usize>, json: bool) -> String {
        let args = TypesArgs {
            aggregate_type: Some(AggregateType::parse("account").unwrap()),
            limit,
        };
        let mut bytes = Vec::new();
        types(&server.client(), &args, &mut Out::new(json, &mut bytes))
            .await
            .unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn aggregates_are_paged_through() {
        let server = FakeServer::start(|request| match request.line.as_str() {
            "GET /v1/aggregates/account" | "GET /v1/aggregates/account?limit=1" => {
                Reply::json(r#"{"aggregates":[{"id":"alice","version":3,"recorded_at":"t1"}]}"#)
                    .header("Link", "</v1/aggregates/account?after=alice>; rel=\"next\"")
            }
            "GET /v1/aggregates/account?after=alice" => {
                Reply::json(r#"{"aggregates":[{"id":"b\u001b","version":1,"recorded_at":"t2"}]}"#)
            }
            other => Reply::text(500, other),
        })
        .await;
        let all = aggregates_of(&server, None, false).await;
        assert_eq!(
            all,
            "ID     VERSION  LAST EVENT\nalice  3        t1\nb\\u{1b}  1  t2\n"
        );
        assert_eq!(
            aggregates_of(&server, None, true).await,
            "{\"id\":\"alice\",\"version\":3,\"recorded_at\":\"t1\"}\n\
             {\"id\":\"b\\u001b\",\"version\":1,\"recorded_at\":\"t2\"}\n"
        );
        let before = server.requests().len();
        assert!(!aggregates_of(&server, Some(1), false).await.contains("t2"));
        assert_eq!(server.requests().len(), before + 1);
    }

    #[test]
    fn modules_and_types_are_aligned() {
        let modules: crate::client::ModuleList = serde_json::from_str(
            r#"{"modules":[{"digest":"abc","type":"account","module_version":"0.1.0","size_bytes":12345,
            "uploaded_at":"t","active":true}]}"#,
        )
        .unwrap();
        assert_eq!(
            module_table(&modules.modules),
            "TYPE     VERSION  STATUS  BYTES   UPLOADED  DIGEST\naccount  0.1.0    active  12,345  t         abc"
        );
        let types: crate::client::TypeList = serde_json::from_str(
            r#"{"types":[{"type":"account","module":"abc","deployed_at":"t","commands":["open","close"]}]}"#,
        )
        .unwrap();
        assert_eq!(
            type_table(&types.types),
            "TYPE     MODULE  VERSION  DEPLOYED  COMMANDS\naccount  abc     -        t         open, close"
        );
    }
}
