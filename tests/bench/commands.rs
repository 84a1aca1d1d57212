//! Durable commands over HTTP: one deposit a request, to accounts at random; the echo and the day's work beside it.

use serde_json::json;

use crate::{
    deposits::{Accounts, Check, Requests, Template},
    facts::Facts,
    failed::Failed,
    format,
    ledger::{Acknowledged, Checked, Log},
    load::{Script, Span, drive},
    native,
    rates::{self, FIRST_RUN, Rate, Runs},
    report::Section,
    service::{Bench, End, Service},
};

/// Connections that open the accounts.
const SET_UP_CONNECTIONS: usize = 64;
/// Connections that read states.
const READERS: usize = 64;

/// Opens accounts, and gives what was acknowledged.
pub(crate) fn open_accounts(service: &Service, count: u32) -> Result<Vec<Acknowledged>, Failed> {
    let template = Template::command("account", "open", "{\"owner\":\"somebody\"}");
    let accounts = Accounts::rounds(count, 1);
    let scripts = Requests::connections(SET_UP_CONNECTIONS, 0, &template, &Check::Acknowledgement, |_| {
        accounts.clone()
    });
    let (seen, scripts) = drive(service.address, scripts, Span::ToTheEnd)?;
    seen.all_answered("opening the accounts")?;
    Ok(scripts.into_iter().flat_map(Script::into_acknowledged).collect())
}

/// Deposits over some connections, to accounts that `accounts` chooses.
pub(crate) fn deposits(connections: usize, run: u64, accounts: impl Fn(u64) -> Accounts) -> Vec<Requests> {
    let template = Template::command("account", "deposit", "{\"amount\":1}");
    Requests::connections(connections, run, &template, &Check::Acknowledgement, accounts)
}

/// Kills the server with `kill -9`, starts it again, and looks for every acknowledged command in its log.
pub(crate) fn check_log(
    bench: &Bench<'_>,
    service: Service,
    aggregate_type: &str,
    acknowledged: &[Acknowledged],
    refused: u64,
) -> Result<(Service, Checked), Failed> {
    eprintln!(
        "kill -9, start, and look for {} commands in the log",
        format::count(acknowledged.len() as u64)
    );
    let service = bench.restart(service, End::Killed)?;
    let log = Log::read(&mut service.connect()?, aggregate_type)?;
    let checked = log.check(acknowledged, refused)?;
    Ok((service, checked))
}

/// What the log came to, in words.
pub(crate) fn checked_note(bench: &Bench<'_>, checked: &Checked) -> String {
    let how = if bench.args.no_restart {
        "without a restart"
    } else {
        "after kill -9 and a start"
    };
    format!(
        "{how}, all of {} acknowledged commands were in the log, once and where their answers said ({} events)",
        format::count(checked.acknowledged),
        format::count(checked.events_in_log)
    )
}

/// What the acknowledgements of some lines are, taken out of them.
pub(crate) fn take_acknowledged(rates: &mut [Rate]) -> Vec<Acknowledged> {
    let taken = rates
        .iter_mut()
        .map(|rate| std::mem::take(&mut rate.acknowledged));
    taken.flatten().collect()
}

/// The three servers, side by side: those that are not asked cost nothing.
struct Servers {
    echo: Service,
    native: Service,
    annals: Service,
}

/// All lines of one server, in order of connections.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) echo: Vec<Rate>,
    pub(crate) native: Vec<Rate>,
    pub(crate) annals: Vec<Rate>,
    pub(crate) reads: Vec<Rate>,
}

impl Servers {
    fn start(bench: &Bench<'_>, name: &str) -> Result<Self, Failed> {
        let native = bench.dir.join(format!("{name}-native.redb"));
        let mut flags: Vec<&std::ffi::OsStr> = vec!["--native".as_ref(), native.as_os_str()];
        if bench.args.native_rows == native::Rows::Sequence {
            flags.extend(["--native-rows".as_ref(), "sequence".as_ref()] as [&std::ffi::OsStr; 2]);
        }
        Ok(Self {
            echo: bench.rival(&format!("{name}-echo"), &["--echo".as_ref()])?,
            native: bench.rival(&format!("{name}-native"), &flags)?,
            annals: bench.server(name)?,
        })
    }

    /// Some runs at each number of connections. They take turns, so that a slow minute of the machine meets all of them.
    fn measure(
        &self,
        bench: &Bench<'_>,
        connections: &[usize],
        runs: usize,
        reads: bool,
    ) -> Result<Lines, Failed> {
        let accounts = bench.args.accounts;
        let mut lines = Lines::default();
        let mut numbers = FIRST_RUN..;
        for &connections in connections {
            let title = format::connections(connections);
            let named = |what: &str| Runs::new(format!("{what}, {title}"), connections);
            let [mut echo, mut native, mut annals] = ["echo", "day's work", "annals"].map(named);
            let mut read = named("state reads");
            for _ in 0..runs {
                let run = numbers.next().unwrap_or_default();
                let scripts = || deposits(connections, run, |seed| Accounts::random(accounts, seed));
                let mut echoes = scripts();
                echoes.iter_mut().for_each(Requests::check_nothing);
                echo.measure(bench, &self.echo, echoes)?;
                native.measure(bench, &self.native, scripts())?;
                annals.measure(bench, &self.annals, scripts())?;
                if reads && connections == READERS {
                    let template = Template::state("account");
                    let scripts =
                        Requests::connections(connections, run, &template, &Check::AnyState, |seed| {
                            Accounts::random(accounts, seed)
                        });
                    read.measure(bench, &self.annals, scripts)?;
                }
            }
            lines.echo.push(echo.finish());
            lines.native.push(native.finish());
            lines.annals.push(annals.finish());
            lines
                .reads
                .extend(Some(read.finish()).filter(|read| !read.runs.is_empty()));
        }
        Ok(lines)
    }
}

/// Measures the three servers at each number of connections, kills annals and the day's work, and looks for every
/// acknowledged command in what each of them has left behind.
pub(crate) fn race(
    bench: &Bench<'_>,
    name: &str,
    connections: &[usize],
    runs: usize,
    reads: bool,
) -> Result<(Lines, Vec<String>, serde_json::Value), Failed> {
    let component = bench.component(bench.args.account.as_deref(), "account")?;
    let servers = Servers::start(bench, name)?;
    servers.annals.upload(&component)?;
    let mut acknowledged = open_accounts(&servers.annals, bench.args.accounts)?;
    let mut by_native = open_accounts(&servers.native, bench.args.accounts)?;
    let mut lines = servers.measure(bench, connections, runs, reads)?;
    let memory = servers.annals.memory()?;
    let Servers { echo, native, annals } = servers;
    echo.end(End::Killed)?;
    native.end(End::Killed)?;
    by_native.extend(take_acknowledged(&mut lines.native));
    let refused = lines.native.iter().map(Rate::refused).sum();
    native::log(&bench.dir.join(format!("{name}-native.redb")))?.check(&by_native, refused)?;

    acknowledged.extend(take_acknowledged(&mut lines.annals));
    let refused = lines.annals.iter().map(Rate::refused).sum();
    let (service, checked) = check_log(bench, annals, "account", &acknowledged, refused)?;
    let started_in = service.started_in;
    service.end(End::Stopped)?;
    let notes = vec![
        checked_note(bench, &checked),
        format!(
            "the server had at most {} of memory, and started on this log in {} after the kill",
            format::bytes(memory.peak),
            format::seconds(started_in)
        ),
    ];
    let json = json!({
        "log": checked,
        "restart_seconds": started_in.as_secs_f64(),
        "server_memory_bytes": memory,
    });
    Ok((lines, notes, json))
}

/// The lines that the targets name.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Vec<Section>, Failed> {
    let (lines, notes, mut json) = race(
        bench,
        "commands",
        &bench.args.connections,
        bench.args.runs(),
        true,
    )?;
    for (name, rates) in [
        ("echo", &lines.echo),
        ("native", &lines.native),
        ("commands", &lines.annals),
    ] {
        for rate in rates {
            facts.put_rate(&format!("{name}-{}", rate.connections), rate);
        }
    }
    for rate in &lines.reads {
        facts.put_rate("reads", rate);
    }
    let mut echo = rates::section(
        "echo",
        "Floor: an axum handler that echoes the JSON of the command",
        &lines.echo,
    );
    for rate in lines.echo.iter().filter(|rate| rate.refused() > 0) {
        echo.notes.push(format!(
            "{}: not all answers were 2xx: the floor is not one",
            rate.name
        ));
    }
    let rows = match bench.args.native_rows {
        native::Rows::Account => "rows by account and version",
        native::Rows::Sequence => "rows as they come, so that no history can be read",
    };
    let title = format!("The day's work: axum, a map, a redb writer with group commit, durable; {rows}");
    let native = rates::section("native", title, &lines.native);
    let title = format!(
        "Durable commands over HTTP: one deposit a request, {} accounts, uniformly at random",
        format::count(u64::from(bench.args.accounts))
    );
    let mut commands = rates::section("commands", title, &lines.annals);
    commands
        .notes
        .extend(ratios("the echo", &lines.annals, &lines.echo));
    commands
        .notes
        .extend(ratios("the day's work", &lines.annals, &lines.native));
    commands.notes.extend(notes);
    if let Some(object) = json.as_object_mut() {
        object.insert("rates".to_owned(), commands.json.take());
    }
    commands.json = json;
    let mut sections = vec![echo, native, commands];
    if !lines.reads.is_empty() {
        let title = "State reads: a GET of a live account";
        sections.push(rates::section("reads", title, &lines.reads));
    }
    Ok(sections)
}

fn ratios(what: &str, rates: &[Rate], floors: &[Rate]) -> Option<String> {
    let ratios: Vec<String> = rates
        .iter()
        .zip(floors)
        .map(|(rate, floor)| {
            format!(
                "{:.2}",
                rate.per_second() / floor.per_second().max(f64::MIN_POSITIVE)
            )
        })
        .collect();
    (!ratios.is_empty()).then(|| format!("as a share of {what}: {}", ratios.join(" · ")))
}
