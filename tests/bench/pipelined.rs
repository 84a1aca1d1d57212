//! Many commands on one connection, beside many connections with one command each.

use serde_json::json;

use crate::{
    commands::{check_log, checked_note, deposits, open_accounts, take_acknowledged},
    deposits::Accounts,
    facts::Facts,
    failed::Failed,
    format,
    load::Span,
    ndjson::{self, Piped, WINDOW},
    rates::{self, Busy, FIRST_RUN, Rate, Runs},
    report::Section,
    service::{Bench, End},
};

/// Connections of the line that it is held against.
const CONNECTIONS: usize = 512;

/// Measures both in turns on one server, and checks its log.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    let component = bench.component(bench.args.account.as_deref(), "account")?;
    let service = bench.server("pipelined")?;
    service.upload(&component)?;
    let accounts = bench.args.accounts;
    let mut acknowledged = open_accounts(&service, accounts)?;
    let mut uniform = Runs::new(format::connections(CONNECTIONS), CONNECTIONS);
    let mut pipelined = Runs::new("pipelined, 1 connection", 1);
    let mut refusal = None;
    let mut numbers = FIRST_RUN..;
    let mut next = || numbers.next().unwrap_or_default();
    let span = Span::Timed {
        warm_up: bench.args.warm_up(),
        measured: bench.args.measured(),
    };
    for _ in 0..bench.args.runs() {
        let scripts = deposits(CONNECTIONS, next(), |seed| Accounts::random(accounts, seed));
        uniform.measure(bench, &service, scripts)?;
        let busy = Busy::start(&service)?;
        let run = next();
        match ndjson::drive(service.address, Accounts::random(accounts, run), run, span)? {
            Piped::Answered(seen, acknowledged) => {
                pipelined.add(seen, acknowledged, busy.end(&service)?, bench.args.warm_up());
            }
            Piped::Refused(status, text) => {
                refusal = Some(format!(
                    "POST /v1/commands was answered {status}, so this line is 0: {text}"
                ));
                break;
            }
        }
    }
    let mut all = vec![uniform.finish(), pipelined.finish()];
    for (name, rate) in ["pipelined-uniform", "pipelined"].into_iter().zip(&all) {
        facts.put_rate(name, rate);
    }
    acknowledged.extend(take_acknowledged(&mut all));
    let refused = all.iter().map(Rate::refused).sum();
    let (service, checked) = check_log(bench, service, "account", &acknowledged, refused)?;
    service.end(End::Stopped)?;
    let title = format!(
        "Many commands on one connection: NDJSON, at most {} lines without an answer",
        format::count(WINDOW as u64)
    );
    let mut section = rates::section("pipelined", title, &all);
    section.notes.extend(refusal);
    section.notes.push(checked_note(bench, &checked));
    section.json = json!({ "rates": section.json, "log": checked });
    Ok(section)
}
