//! `annals consumers fetch`

use std::time::Duration;

use clap::Args;

use super::{
    super::{
        error::CliError,
        events::Printer,
        output::Out,
        text::{compact, escape, plural},
    },
    words,
};
use crate::{
    client::{Client, Delivery, FetchQuery, Leases, Verbatim},
    vocabulary::{ConsumerName, Millis},
};

/// Arguments of `annals consumers fetch`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The consumer's name, for example billing
    pub name: ConsumerName,
    /// Who asks: only the same member can acknowledge
    #[arg(long)]
    pub member: Option<String>,
    /// Most events; without it the consumer's batch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max: Option<u32>,
    /// Seconds to wait for the first event
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = words::seconds)]
    pub wait: Millis,
    /// Acknowledge all of them once they are written to standard output
    #[arg(long)]
    pub ack: bool,
}

pub(super) async fn fetch(client: &Client, args: &FetchArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let query = FetchQuery {
        member: args.member.clone(),
        max: args.max,
        wait: Duration::from_millis(args.wait),
    };
    let fetched = client.fetch(args.name.as_str(), &query).await?.value.events;
    if fetched.is_empty() {
        out.note(&nothing(args));
        return Ok(());
    }
    print(&fetched, out)?;
    // Whoever reads them has got them, or this fails: nothing is acknowledged that nobody saw.
    out.flush()?;
    if !args.ack {
        let member = args
            .member
            .as_ref()
            .map(|member| format!(" --member {}", escape(member)));
        out.note(&format!(
            "-- to acknowledge: annals consumers ack {}{} LEASE",
            args.name,
            member.unwrap_or_default()
        ));
        return Ok(());
    }
    let leases: Vec<String> = fetched.into_iter().map(|delivery| delivery.value.lease).collect();
    let leases = Leases {
        member: args.member.as_deref(),
        leases: &leases,
    };
    let settled = client.ack(args.name.as_str(), leases).await?.value;
    out.note(&format!("-- {} acknowledged", plural(settled.done, "event")));
    Ok(())
}

fn nothing(args: &FetchArgs) -> String {
    if args.wait == 0 {
        format!(
            "there is nothing to deliver now; --wait SECONDS waits for it, and `annals consumers show {}` tells how it stands",
            args.name
        )
    } else {
        format!(
            "there was nothing to deliver within {}",
            words::exactly(args.wait)
        )
    }
}

/// One delivery a line: lease, attempt, and the event as `annals events` shows it.
fn print(fetched: &[Verbatim<Delivery>], out: &mut Out<'_>) -> Result<(), CliError> {
    let mut printer = Printer::new(None);
    for delivery in fetched {
        if out.is_json() {
            out.line(&compact(delivery.raw.get()))?;
            continue;
        }
        let Delivery {
            lease,
            attempt,
            last_error,
            event,
        } = &delivery.value;
        let mut line = format!("{}  {attempt:>3}  {}", escape(lease), printer.render(event));
        if let Some(error) = last_error {
            line.push_str(&format!("  last error: {}", escape(error)));
        }
        out.line(&line)?;
    }
    Ok(())
}
