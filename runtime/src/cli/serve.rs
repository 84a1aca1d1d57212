//! `annals serve`

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::{error::CliError, output::Out};
use crate::{
    server::{Allowed, HostPattern, Server, ServerConfig},
    vocabulary::Limits,
};

/// Arguments of `annals serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where everything is kept; made when it is missing
    #[arg(long, env = "ANNALS_DATA", value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// The address to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "ANNALS_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7070"
    )]
    pub listen: SocketAddr,
    /// Threads that decide commands; by default one for each processor
    #[arg(long, env = "ANNALS_SHARDS", value_name = "N", value_parser = super::lists::at_least_one)]
    pub shards: Option<usize>,
    /// Threads that speak HTTP; by default one for each processor
    #[arg(long, env = "ANNALS_HTTP_THREADS", value_name = "N", value_parser = super::lists::at_least_one)]
    pub http_threads: Option<usize>,
    /// Sets a limit of docs/limits.md, for example page-events=500; can be given again
    #[arg(
        long = "limit",
        env = "ANNALS_LIMITS",
        value_name = "NAME=VALUE",
        value_delimiter = ','
    )]
    pub limits: Vec<String>,
    /// A host that webhooks may be sent to, for example hooks.example.com, *.example.com or localhost:9000; can be given
    /// again; without a port it is that of the URL's scheme
    #[arg(
        long = "webhook-host",
        env = "ANNALS_WEBHOOK_HOSTS",
        value_name = "HOST[:PORT]",
        value_delimiter = ','
    )]
    pub webhook_hosts: Vec<String>,
    /// Lets webhooks go to loopback and private addresses, and without TLS
    #[arg(long, env = "ANNALS_WEBHOOK_PRIVATE", value_parser = clap::builder::FalseyValueParser::new())]
    pub webhook_private: bool,
    /// How the log on standard error is written
    #[arg(long, env = "ANNALS_LOG", value_name = "FORMAT", default_value = "human")]
    pub log: LogFormat,
    /// What is logged, for example info,annals::store=debug
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub log_filter: String,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl ServeArgs {
    fn config(&self) -> Result<ServerConfig, CliError> {
        Ok(ServerConfig {
            data: self.data.clone(),
            listen: self.listen,
            shards: self.shards,
            limits: limits(&self.limits)?,
            webhooks: Allowed {
                hosts: hosts(&self.webhook_hosts)?,
                private: self.webhook_private,
            },
        })
    }
}

/// The default limits with the given ones put in.
fn limits(given: &[String]) -> Result<Limits, CliError> {
    let mut limits = Limits::default();
    for setting in given {
        let Some((name, value)) = setting.split_once('=') else {
            let problem = format!("`--limit {}` has no value", setting.escape_debug());
            return Err(CliError::usage(
                problem,
                "write NAME=VALUE, for example page-events=500",
            ));
        };
        limits.set(name.trim(), value.trim()).map_err(|error| {
            CliError::usage(error.to_string(), "docs/limits.md lists names, units and maxima")
        })?;
    }
    Ok(limits)
}

fn hosts(given: &[String]) -> Result<Vec<HostPattern>, CliError> {
    let parsed = given.iter().map(|text| text.trim().parse());
    parsed.collect::<Result<Vec<HostPattern>, _>>().map_err(|error| {
        CliError::usage(
            error.to_string(),
            "write --webhook-host HOST[:PORT], for example hooks.example.com, *.example.com or [::1]:9000",
        )
    })
}

pub(crate) fn run(args: &ServeArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    start_log(args.log, &args.log_filter)?;
    use_small_pages();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = args.http_threads {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|error| CliError::failed(format!("cannot start: {error}")))?;
    runtime.block_on(serve(args, out))
}

/// Asks the system not to give memory in pages of 2 MiB: each is zeroed when it is first touched, which is seen as a pause of
/// milliseconds in the answers that wait meanwhile (docs/decisions/process-allocator.md).
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "large pages of memory could not be refused");
    }
}

async fn serve(args: &ServeArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let shutdown = shutdown_signal()?;
    let server = Server::bind(args.config()?).await.map_err(not_started)?;
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let serving = server.run(
        move |address| {
            // Nobody waits any more only when the server is going down already.
            let _ = ready.send(address);
        },
        shutdown,
    );
    let telling = async {
        match is_ready.await {
            Ok(address) => tell(args, address, out),
            // The server did not start; it says why itself.
            Err(_) => Ok(()),
        }
    };
    let (served, told) = tokio::join!(serving, telling);
    served.map_err(not_started)?;
    told
}

/// The first line of standard output, once requests are served.
fn tell(args: &ServeArgs, address: SocketAddr, out: &mut Out<'_>) -> Result<(), CliError> {
    if out.is_json() {
        let line = serde_json::json!({ "server": format!("http://{address}"), "data": args.data });
        out.line(&line.to_string())?;
    } else {
        out.line(&format!("serving http://{address} from {}", args.data.display()))?;
    }
    Ok(out.flush()?)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err wants")]
fn not_started(error: crate::server::StartError) -> CliError {
    CliError::failed(error.to_string())
}

/// Completes at SIGINT (Ctrl-C) or SIGTERM.
pub(crate) fn shutdown_signal() -> Result<impl Future<Output = ()> + Send + 'static, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen =
        |kind| signal(kind).map_err(|error| CliError::failed(format!("cannot listen for signals: {error}")));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn start_log(format: LogFormat, filter: &str) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        CliError::usage(
            format!("`{}` is not a log filter: {error}", filter.escape_debug()),
            "write a level or a list such as info,annals::store=debug",
        )
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| CliError::failed(format!("cannot start the log: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(listen: SocketAddr) -> ServeArgs {
        ServeArgs {
            data: "d".into(),
            listen,
            shards: Some(3),
            http_threads: None,
            limits: vec!["page-events=500".into(), "lane_queue = 7".into()],
            webhook_hosts: vec!["hooks.example.com".into()],
            webhook_private: true,
            log: LogFormat::Human,
            log_filter: "info".into(),
        }
    }

    #[test]
    fn arguments_become_the_configuration() {
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = args(listen).config().unwrap();
        assert_eq!(
            (config.data, config.listen, config.shards),
            ("d".into(), listen, Some(3))
        );
        let expected = Limits {
            page_events: 500,
            lane_queue: 7,
            ..Limits::default()
        };
        assert_eq!(config.limits, expected);
        assert_eq!(config.webhooks.hosts, ["hooks.example.com".parse().unwrap()]);
        assert!(config.webhooks.private);
    }

    #[test]
    fn a_wrong_limit_is_shown_with_what_it_may_be() {
        for (given, says) in [
            ("page-events", "no value"),
            ("page-events=0", "from 1 to 10000"),
            ("page-events=many", "many"),
            ("pages=1", "no limit `pages`"),
        ] {
            let error = limits(&[given.to_owned()]).unwrap_err();
            assert_eq!(error.exit() as u8, 2);
            assert!(error.to_string().contains(says), "{given}: {error}");
        }
    }

    #[test]
    fn a_wrong_webhook_host_is_shown() {
        let error = hosts(&["https://a".to_owned()]).unwrap_err();
        assert_eq!(error.exit() as u8, 2);
        assert!(error.to_string().contains("`https://a`"), "{error}");
    }

    #[test]
    fn a_wrong_filter_is_shown() {
        let error = start_log(LogFormat::Human, "annals=loud").unwrap_err();
        assert_eq!(error.exit() as u8, 2);
        assert!(error.to_string().contains("annals=loud"), "{error}");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_the_fix() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let mut bytes = Vec::new();
        let error = serve(&args(address), &mut Out::new(false, &mut bytes))
            .await
            .unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(&address.to_string()) && message.contains("--listen"),
            "{message}"
        );
        assert_eq!((error.exit() as u8, bytes.len()), (1, 0));
    }
}
