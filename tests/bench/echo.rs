//! The floor of HTTP: a handler that parses JSON and answers with it, in a process of its own, asked with the very requests
//! that annals gets.

use std::io::Write;

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

use crate::failed::Failed;

/// What this process is with `--echo`.
pub(crate) fn serve() -> Result<(), Failed> {
    serve_router(Router::new().route("/v1/aggregates/{type}/{id}/commands/{command}", post(echo)))
}

/// Serves on a free port, which the first line of the output names, until the process is ended.
pub(crate) fn serve_router(router: Router) -> Result<(), Failed> {
    let failed = |error| Failed::io("serve", &error);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut output = std::io::stdout();
        writeln!(output, "{}", json!({ "server": format!("http://{address}") })).map_err(failed)?;
        output.flush().map_err(failed)?;
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
