//! The floor of HTTP: a handler that parses JSON and answers with it, in a process of its own, asked with the very requests
//! that annals gets.

use std::{io::Write, process::Command};

use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::post,
    serve::ListenerExt,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    commands::{Rate, rates_section, run_all},
    deposits::{Accounts, Check, Requests, Template},
    failed::Failed,
    report::Section,
    service::{Bench, Service},
};

/// What this process is with `--echo`.
pub(crate) fn serve() -> Result<(), Failed> {
    let failed = |error| Failed::io("serve an echo", &error);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut output = std::io::stdout();
        writeln!(output, "{}", json!({ "server": format!("http://{address}") })).map_err(failed)?;
        output.flush().map_err(failed)?;
        let router = Router::new().route("/v1/aggregates/{type}/{id}/commands/{command}", post(echo));
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                eprintln!("no TCP_NODELAY: {error}");
            }
        });
        axum::serve(listener, router).await.map_err(failed)
    })
}

async fn echo(body: Bytes) -> impl IntoResponse {
    match serde_json::from_slice::<Value>(&body) {
        Ok(value) => {
            let headers = [(header::CONTENT_TYPE, "application/json")];
            (headers, value.to_string()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// How much of it there is at each number of connections.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<(Section, Vec<Rate>), Failed> {
    let program = std::env::current_exe().map_err(|error| Failed::io("find this program", &error))?;
    let mut command = Command::new(program);
    command.arg("--echo");
    let service = Service::start(command, &bench.dir.join("echo.log"), None)?;
    let template = Template::command("account", "deposit", "{\"amount\":1}");
    let rates = run_all(bench, &service, "floor: echo", |connections, run| {
        Requests::connections(connections, run, &template, &Check::Nothing, |seed| {
            Accounts::random(bench.args.accounts, seed)
        })
    })?;
    let mut section = rates_section(
        "echo",
        "Floor: an axum handler that echoes the JSON of the command",
        &rates,
    );
    for rate in &rates {
        if rate.refused() > 0 {
            section.notes.push(format!(
                "{} answers were not 2xx: the floor is not one",
                rate.refused()
            ));
        }
    }
    Ok((section, rates))
}
