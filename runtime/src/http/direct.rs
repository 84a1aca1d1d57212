//! The two paths that carry nearly all traffic, commands and states: matched by hand, and answered without the router's
//! layers, whose cost would be a good part of a command's. Everything else, and whatever is not quite one of the two,
//! goes through the router.

use std::{borrow::Cow, panic::AssertUnwindSafe};

use axum::{
    body::HttpBody,
    extract::{Request, State},
    http::{Method, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use percent_encoding::percent_decode_str;

use crate::vocabulary::AggregateKey;

use super::{
    app::App,
    extract::not_utf8,
    problem::{Problem, panicked},
    routes,
};

/// What a path asks for, its segments still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target<'a> {
    Command {
        aggregate_type: &'a str,
        id: &'a str,
        command: &'a str,
    },
    State {
        aggregate_type: &'a str,
        id: &'a str,
    },
}

impl<'a> Target<'a> {
    fn find(method: &Method, path: &'a str) -> Option<Self> {
        let mut segments = path.strip_prefix("/v1/aggregates/")?.split('/');
        let mut next = || segments.next();
        let (aggregate_type, id) = (next()?, next()?);
        let target = if *method == Method::POST {
            next().filter(|segment| *segment == "commands")?;
            Self::Command {
                aggregate_type,
                id,
                command: next()?,
            }
        } else if *method == Method::GET || *method == Method::HEAD {
            Self::State { aggregate_type, id }
        } else {
            return None;
        };
        segments.next().is_none().then_some(target)
    }
}

/// Whether a request is for one of the two paths. An empty segment is for the router to judge.
pub(super) fn is_direct(method: &Method, path: &str) -> bool {
    *method != Method::HEAD
        && !path.contains("//")
        && !path.ends_with('/')
        && Target::find(method, path).is_some()
}

/// Answers a request for which [`is_direct`] holds.
pub(super) async fn answer<B>(app: &App, parts: &Parts, body: B) -> Response
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    let answered = AssertUnwindSafe(ask(app, parts, body)).catch_unwind().await;
    match answered {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(panic) => panicked(panic),
    }
}

/// The same behind the router, for `HEAD` and whatever else it adds.
pub(super) async fn routed(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    answer(&app, &parts, body).await
}

async fn ask<B>(app: &App, parts: &Parts, body: B) -> Result<Response, Problem>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    let path = parts.uri.path();
    let decoded = |segment| decoded(path, segment);
    match Target::find(&parts.method, path) {
        Some(Target::Command {
            aggregate_type,
            id,
            command,
        }) => {
            let key = AggregateKey::new(decoded(aggregate_type)?.parse()?, decoded(id)?.parse()?);
            let command = decoded(command)?.parse()?;
            routes::commands::send(app, key, command, parts, body).await
        }
        Some(Target::State { aggregate_type, id }) => {
            let key = AggregateKey::new(decoded(aggregate_type)?.parse()?, decoded(id)?.parse()?);
            routes::aggregates::state(app, key, parts).await
        }
        None => Err(super::problem::not_found(parts.uri.clone()).await),
    }
}

fn decoded<'a>(path: &str, segment: &'a str) -> Result<Cow<'a, str>, Problem> {
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| not_utf8("path", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_paths_are_found_and_nothing_else_is() {
        let command = Target::Command {
            aggregate_type: "account",
            id: "a%2Fb",
            command: "open",
        };
        let state = Target::State {
            aggregate_type: "account",
            id: "a",
        };
        for (method, path, expected) in [
            (
                Method::POST,
                "/v1/aggregates/account/a%2Fb/commands/open",
                Some(command),
            ),
            (Method::GET, "/v1/aggregates/account/a", Some(state)),
            (Method::HEAD, "/v1/aggregates/account/a", Some(state)),
            (Method::POST, "/v1/aggregates/account/a", None),
            (Method::PUT, "/v1/aggregates/account/a", None),
            (Method::GET, "/v1/aggregates/account/a/events", None),
            (Method::GET, "/v1/aggregates/account", None),
            (Method::POST, "/v1/aggregates/account/a/commands/open/", None),
            (Method::POST, "/v1/aggregates/account/a/orders/open", None),
            (Method::POST, "/v2/aggregates/account/a/commands/open", None),
        ] {
            assert_eq!(Target::find(&method, path), expected, "{method} {path}");
            let is_direct = is_direct(&method, path);
            assert_eq!(
                is_direct,
                expected.is_some() && method != Method::HEAD,
                "{method} {path}"
            );
        }
        for path in ["/v1/aggregates//a", "/v1/aggregates/account/", "/v1/aggregates//"] {
            assert!(!is_direct(&Method::GET, path), "{path}");
        }
    }
}
