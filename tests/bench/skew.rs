//! Contention: one hot account, and accounts that are wanted more or less often.

use std::sync::Arc;

use serde_json::json;

use crate::{
    commands::{check_log, checked_note, deposits, open_accounts, take_acknowledged},
    deposits::Accounts,
    facts::Facts,
    failed::Failed,
    format,
    rates::{self, FIRST_RUN, Rate, Runs},
    report::Section,
    service::{Bench, End},
    zipf::Zipf,
};

const CONNECTIONS: usize = 64;
const ACCOUNTS: u32 = 100_000;
/// Skews that are measured once, for the picture; the last one is a target and takes turns with the others.
const SKEWS: [f64; 5] = [0.0, 0.5, 0.9, 1.0, 1.2];
const TARGET_SKEW: f64 = 1.5;

/// Throughput over skew, for the picture.
pub(crate) type Curve = Vec<(f64, f64)>;

/// Measures uniform, hot and skewed commands on one server, in turns, and checks its log.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<(Section, Curve), Failed> {
    let component = bench.component(bench.args.account.as_deref(), "account")?;
    let service = bench.server("skew")?;
    service.upload(&component)?;
    let mut acknowledged = open_accounts(&service, ACCOUNTS)?;
    let uniform_title = format!(
        "uniform, {} accounts",
        format::count(u64::from(bench.args.accounts))
    );
    let mut uniform = Runs::new(uniform_title, CONNECTIONS);
    let mut hot = Runs::new("one hot account", CONNECTIONS);
    let mut zipf = Runs::new(skew_title(TARGET_SKEW), CONNECTIONS);
    let law = Arc::new(Zipf::new(ACCOUNTS, TARGET_SKEW));
    let mut numbers = FIRST_RUN..;
    let mut next = || numbers.next().unwrap_or_default();
    for _ in 0..bench.args.runs() {
        let random = |seed| Accounts::random(bench.args.accounts, seed);
        uniform.measure(bench, &service, deposits(CONNECTIONS, next(), random))?;
        hot.measure(
            bench,
            &service,
            deposits(CONNECTIONS, next(), |seed| Accounts::random(1, seed)),
        )?;
        let skewed = |seed| Accounts::skewed(&law, seed);
        zipf.measure(bench, &service, deposits(CONNECTIONS, next(), skewed))?;
    }
    let mut all = vec![uniform.finish(), hot.finish()];
    let mut curve = Curve::new();
    for skew in SKEWS {
        let law = Arc::new(Zipf::new(ACCOUNTS, skew));
        let mut runs = Runs::new(skew_title(skew), CONNECTIONS);
        let scripts = deposits(CONNECTIONS, next(), |seed| Accounts::skewed(&law, seed));
        runs.measure(bench, &service, scripts)?;
        let rate = runs.finish();
        curve.push((skew, rate.per_second()));
        all.push(rate);
    }
    let zipf = zipf.finish();
    curve.push((TARGET_SKEW, zipf.per_second()));
    all.push(zipf);
    for (name, rate) in ["skew-uniform", "hot"].into_iter().zip(&all) {
        facts.put_rate(name, rate);
    }
    facts.put("zipf-1.5", curve.last().map_or(0.0, |(_, rate)| *rate));

    acknowledged.extend(take_acknowledged(&mut all));
    let refused = all.iter().map(Rate::refused).sum();
    let (service, checked) = check_log(bench, service, "account", &acknowledged, refused)?;
    service.end(End::Stopped)?;
    let title = format!(
        "Contention: deposits over {CONNECTIONS} connections; by Zipf's law over {} accounts",
        format::count(u64::from(ACCOUNTS))
    );
    let mut section = rates::section("contention", title, &all);
    section.notes.push(checked_note(bench, &checked));
    section.json = json!({ "rates": section.json, "skew": curve, "log": checked });
    Ok((section, curve))
}

fn skew_title(skew: f64) -> String {
    format!("Zipf {skew:.1}")
}
