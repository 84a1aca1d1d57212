//! `annals demo`: what annals does, in the commands a person would type.
//!
//! The commands shown are the ones that are run: each is parsed by the same grammar, and the demo fails when one
//! ends otherwise than it should. The server is a process of its own, because it is killed on the way.

mod scratch;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser};

use super::{
    Cli, build::build, error::CliError, events::Printer, exit::Exit, output::Out, process::ServerProcess,
    send, serve::shutdown_signal, text::escape,
};
use crate::{
    client::{Client, ClientError, FeedQuery, Follow, FollowItem},
    toolchain::BuildRequest,
};

use scratch::DataDir;

/// Where the example is, seen from the repository's folder.
const EXAMPLE: &str = "examples/account";
/// An event that was acknowledged is on the feed long before that.
const FEED_LIMIT: Duration = Duration::from_secs(10);

/// Arguments of `annals demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The crate of the account; by default examples/account here or in a folder above
    #[arg(long = "crate", value_name = "DIR")]
    pub crate_dir: Option<PathBuf>,
    /// Keep the data here; by default in a folder that is removed at the end
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// End after the last step instead of serving on until Ctrl-C
    #[arg(long)]
    pub once: bool,
}

pub(crate) fn run(args: &DemoArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    if out.is_json() {
        return Err(CliError::usage(
            "the demo is for people, so it has no --json",
            "use `annals send`, `annals state` and `annals events` with --json",
        ));
    }
    let crate_dir = match &args.crate_dir {
        Some(dir) => dir.clone(),
        None => find_example()?,
    };
    title(
        out,
        "An aggregate is a small crate. Build it into a WebAssembly component:",
    )?;
    typed(out, &["annals", "build", &crate_dir.display().to_string()])?;
    out.flush()?;
    let component = build(&BuildRequest::new(&crate_dir))?.component;
    out.line(&shown(&component))?;

    let data = DataDir::open(args.data.as_deref())?;
    title(out, "Start a server:")?;
    let server = start(&data, args.listen, out)?;
    let mut demo = Demo { server, data, out };
    let account = demo.play(&component)?;
    if args.once {
        return demo.server.stop();
    }
    demo.go_on(&account)?;
    demo.out.flush()?;
    super::block_on(async {
        shutdown_signal()?.await;
        Ok(())
    })?;
    demo.server.stop()
}

fn start(data: &DataDir, listen: SocketAddr, out: &mut Out<'_>) -> Result<ServerProcess, CliError> {
    let listen_text = listen.to_string();
    let data_text = data.path().display().to_string();
    typed(
        out,
        &["annals", "serve", "--data", &data_text, "--listen", &listen_text],
    )?;
    out.flush()?;
    let server = ServerProcess::start(data.path(), listen)?;
    out.line(&format!(
        "serving {} after {} ms",
        server.url(),
        server.start_time().as_millis()
    ))?;
    Ok(server)
}

/// A demo that is under way.
struct Demo<'a, 'b> {
    server: ServerProcess,
    data: DataDir,
    out: &'a mut Out<'b>,
}

impl Demo<'_, '_> {
    /// Plays all steps and returns the account that they were played with.
    fn play(&mut self, component: &Path) -> Result<String, CliError> {
        title(
            self.out,
            "Upload the component. It is the first of its type, so it becomes active:",
        )?;
        self.step(&["deploy", &shown(component)], Exit::Ok)?;
        let account = self.free_account()?;
        let account = account.as_str();

        title(
            self.out,
            "Send commands. What is accepted is on disk before the answer is sent:",
        )?;
        self.step(
            &[
                "send",
                "account",
                account,
                "open",
                r#"{"owner":"Alice"}"#,
                "--create",
            ],
            Exit::Ok,
        )?;
        let deposit = [
            "send",
            "account",
            account,
            "deposit",
            r#"{"amount":100}"#,
            "--key",
            "deposit-1",
        ];
        self.step(&deposit, Exit::Ok)?;
        self.step(
            &["send", "account", account, "withdraw", r#"{"amount":30}"#],
            Exit::Ok,
        )?;
        title(
            self.out,
            "The account's own rules say no to an overdraft. Nothing is stored:",
        )?;
        self.step(
            &["send", "account", account, "withdraw", r#"{"amount":500}"#],
            Exit::Rejected,
        )?;
        title(
            self.out,
            "A command sent again with the same key gets the first answer, and is not decided again:",
        )?;
        self.step(&deposit, Exit::Ok)?;

        title(self.out, "Read the state and the history:")?;
        self.step(&["state", "account", account], Exit::Ok)?;
        self.step(&["events", "account", account], Exit::Ok)?;
        title(self.out, "Follow the feed while something happens:")?;
        self.live(account)?;
        self.crash(account, &deposit)?;
        Ok(account.to_owned())
    }

    /// Kills the server and starts it again at the same address.
    fn crash(&mut self, account: &str, deposit: &[&str]) -> Result<(), CliError> {
        title(
            self.out,
            "Kill the server without warning, and start it again on the same data:",
        )?;
        let listen = self.server.address();
        typed(self.out, &["kill", "-9", &self.server.id().to_string()])?;
        self.server.kill()?;
        self.server = start(&self.data, listen, self.out)?;
        title(
            self.out,
            "Everything that was acknowledged is there, and the key still knows its answer:",
        )?;
        self.step(&["state", "account", account], Exit::Ok)?;
        self.step(deposit, Exit::Ok)
    }

    /// Shows a command, runs it, and fails unless it ends as it should.
    fn step(&mut self, words: &[&str], expected: Exit) -> Result<(), CliError> {
        let line: Vec<&str> = std::iter::once("annals").chain(words.iter().copied()).collect();
        typed(self.out, &line)?;
        let mut all = vec!["annals".to_owned(), "--server".to_owned(), self.server.url()];
        all.extend(words.iter().map(ToString::to_string));
        let cli = Cli::try_parse_from(all).map_err(|error| CliError::failed(error.to_string()))?;
        match super::run(cli, self.out) {
            Ok(()) if expected == Exit::Ok => Ok(()),
            Ok(()) => Err(CliError::failed(
                "this command should have been refused, and was not",
            )),
            Err(error) if error.exit() == expected => {
                self.out.line(&error.report(false))?;
                self.out.line(&format!("[exit code {}]", expected as u8))?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// `alice`, or in a folder that has seen a demo before, the first of her namesakes that does not exist.
    fn free_account(&self) -> Result<String, CliError> {
        let client = self.client()?;
        let mut name = "alice".to_owned();
        let mut found = None;
        super::block_on(async {
            for number in 2_u32.. {
                match client.state("account", &name).await {
                    Ok(_) => name = format!("alice-{number}"),
                    Err(ClientError::Problem(problem)) if problem.slug == "unknown-aggregate" => break,
                    Err(ClientError::Problem(problem)) if problem.slug == "ended" => {
                        name = format!("alice-{number}");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            found = Some(name);
            Ok(())
        })?;
        found.ok_or_else(|| CliError::failed("every namesake of alice has an account already"))
    }

    fn live(&mut self, account: &str) -> Result<(), CliError> {
        let client = self.client()?;
        let out = &mut *self.out;
        super::block_on(async {
            typed(out, &["annals", "events", "--follow", "--after", "now"])?;
            let mut follow = client.follow(FeedQuery {
                after: Some("now".to_owned()),
                ..FeedQuery::default()
            });
            while !matches!(next(&mut follow).await?, FollowItem::CaughtUp) {}
            let mut printer = Printer::new(None);
            for (command, payload) in [("deposit", r#"{"amount":7}"#), ("withdraw", r#"{"amount":1}"#)] {
                let line = ["annals", "send", "account", account, command, payload];
                typed(out, &line)?;
                let sent = Cli::try_parse_from(line).map_err(|error| CliError::failed(error.to_string()))?;
                let super::Command::Send(args) = sent.command else {
                    return Err(CliError::failed("`annals send` was read as another command"));
                };
                send::run(&client, &args, Some(payload), out).await?;
                if let FollowItem::Event(event) = next(&mut follow).await? {
                    out.line("the feed:")?;
                    printer.print(&event, out)?;
                }
            }
            Ok(())
        })
    }

    fn go_on(&mut self, account: &str) -> Result<(), CliError> {
        let url = self.server.url();
        let program = shown(&std::env::current_exe().unwrap_or_else(|_| "annals".into()));
        title(self.out, "To go on in another terminal:")?;
        self.out.line(&format!("export ANNALS_SERVER={url}"))?;
        for rest in [
            "types".to_owned(),
            format!("send account {account} deposit '{{\"amount\":5}}'"),
            format!("state account {account}"),
            "events --follow".to_owned(),
            "help".to_owned(),
        ] {
            self.out.line(&format!("{program} {rest}"))?;
        }
        self.out
            .line(&format!("curl -s {url}/v1/aggregates/account/{account}"))?;
        self.out.line(&format!(
            "curl -sN -H 'Accept: text/event-stream' {url}/v1/events"
        ))?;
        Ok(self.out.line("\nCtrl-C ends the server.")?)
    }

    fn client(&self) -> Result<Client, CliError> {
        let base = self.server.url().parse();
        Ok(Client::new(
            base.map_err(|error| CliError::failed(format!("{error}")))?,
        ))
    }
}

async fn next(follow: &mut Follow) -> Result<FollowItem, CliError> {
    match tokio::time::timeout(FEED_LIMIT, follow.next()).await {
        Ok(item) => Ok(item?),
        Err(_) => Err(CliError::failed(format!(
            "the feed gave nothing within {} s after an event was acknowledged",
            FEED_LIMIT.as_secs()
        ))),
    }
}

fn find_example() -> Result<PathBuf, CliError> {
    let here = std::env::current_dir()
        .map_err(|error| CliError::failed(format!("cannot tell the current folder: {error}")))?;
    let found = here
        .ancestors()
        .map(|dir| dir.join(EXAMPLE))
        .find(|dir| dir.join("Cargo.toml").is_file());
    found
        .map(|dir| dir.strip_prefix(&here).map(Path::to_owned).unwrap_or(dir))
        .ok_or_else(|| {
            CliError::usage(
                format!("there is no {EXAMPLE} in `{}` or above", here.display()),
                "run the demo in the repository's folder, or name an account's crate with --crate DIR",
            )
        })
}

/// A path as short as it can be typed from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

fn title(out: &mut Out<'_>, text: &str) -> Result<(), CliError> {
    Ok(out.line(&format!("\n# {text}"))?)
}

/// A command as a person would type it.
fn typed(out: &mut Out<'_>, words: &[&str]) -> Result<(), CliError> {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    Ok(out.line(&format!("$ {}", words.join(" ")))?)
}

/// A word, in quotes where a shell would take it apart.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", escape(word).replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        let cases = [
            ("open", "open"),
            ("--if-match=3", "--if-match=3"),
            (r#"{"a":1}"#, r#"'{"a":1}'"#),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ];
        for (word, expected) in cases {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn the_demo_is_for_people() {
        let cli = Cli::try_parse_from(["annals", "demo", "--once", "--json"]).unwrap();
        let mut bytes = Vec::new();
        let error = super::super::run(cli, &mut Out::new(true, &mut bytes)).unwrap_err();
        assert_eq!((error.exit(), bytes.len()), (Exit::Usage, 0));
    }
}
