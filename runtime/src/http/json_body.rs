//! Bodies that are small JSON documents, from the headers to the value.

use axum::{body::Body, http::HeaderMap};
use serde::de::DeserializeOwned;

use crate::vocabulary::{json_problem, shown};

use super::{
    app::App,
    extract::read_body,
    media_type::{check_content_type, negotiate},
    objects::Objects,
    problem::Problem,
};

/// What a body is.
#[derive(Debug)]
pub(super) struct JsonBody {
    /// Its name in problems, with its article.
    pub(super) what: &'static str,
    /// The most it may have, bytes.
    pub(super) limit: usize,
    /// One that would be taken.
    pub(super) example: &'static str,
}

impl JsonBody {
    /// Takes JSON and answers with JSON. An empty body is `{}`.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        app: &App,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<T, Problem> {
        negotiate(headers, &["application/json"])?;
        check_content_type(headers, &["application/json"])?;
        let body = read_body(app, body, self.what, self.limit).await?;
        let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
        parse(body).map_err(|problem| {
            let detail = format!("{} cannot be read: {problem}", self.what);
            Problem::malformed(detail, format!("send for example `{}`", self.example))
        })
    }
}

/// Reads a value, or says in words what is wrong with which member.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(Objects(&mut json)).map_err(|error| {
        let problem = json_problem(error.inner(), body);
        let member = format!("`{}`", shown(&error.path().to_string()));
        let is_named = !error.inner().is_data() || member == "`.`" || problem.contains(&member);
        if is_named {
            problem
        } else {
            format!("{member}: {problem}")
        }
    })?;
    json.end().map_err(|error| json_problem(&error, body))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{
        super::{objects::or_null, whole::Whole},
        *,
    };

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(default, deserialize_with = "or_null")]
        retry: Retry,
        batch: Option<Whole<1, 1_000>>,
        types: Option<Vec<String>>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Retry {
        attempts: u32,
    }

    #[test]
    fn members_are_named_with_what_should_stand_there() {
        for (text, told) in [
            ("[]", "found a list where an object should stand (at byte 0)"),
            (
                "{\"retry\":[2]}",
                "`retry`: found a list where an object should stand (at byte 9)",
            ),
            (
                "{\"batch\":-1}",
                "`batch`: found integer `-1` where a whole number from 1 to 1000 should stand (at byte 11)",
            ),
            (
                "{\"batch\":5000000000}",
                "`batch`: found integer `5000000000` where a whole number from 1 to 1000 should stand (at byte 19)",
            ),
            (
                "{\"types\":[\"a\",7]}",
                "`types[1]`: found integer `7` where a string should stand (at byte 15)",
            ),
            ("{\"retry\":{}}", "`retry`: the member `attempts` is missing"),
            (
                "{\"retry\":{\"pause\":1}}",
                "`retry.pause`: `pause` is no member; the members are `attempts` (at byte 17)",
            ),
            (
                "{\"batches\":1}",
                "`batches` is no member; the members are `retry`, `batch`, `types` (at byte 10)",
            ),
            (
                "{\"batch\":1,\"batch\":2}",
                "the member `batch` is there twice (at byte 18)",
            ),
            ("{\"batch\":", "it ends in the middle of a value, after 9 bytes"),
            (
                "{} {}",
                "`{` stands behind the value, where nothing more may (at byte 4)",
            ),
        ] {
            assert_eq!(parse::<Outer>(text.as_bytes()).unwrap_err(), told, "{text}");
        }
        let all = r#"{"retry":null,"batch":null,"types":null}"#;
        assert_eq!(parse::<Outer>(all.as_bytes()), parse::<Outer>(b"{}"));
    }
}
