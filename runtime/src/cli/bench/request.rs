//! Requests as bytes, prebuilt, with the digits of an id and of a command put in place.

use std::str::FromStr;

use crate::vocabulary::CommandName;

const ID_PREFIX: &str = "bench-";
const ID_DIGITS: usize = 6;
const COMMAND_DIGITS: usize = 16;

/// A command that each aggregate gets once: `NAME` or `NAME:JSON`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Its name.
    pub command: CommandName,
    /// Its payload.
    pub payload: Option<String>,
}

impl FromStr for Opening {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, payload) = match text.split_once(':') {
            Some((name, payload)) => (name, Some(json(payload)?)),
            None => (text, None),
        };
        let command = name
            .parse()
            .map_err(|error: crate::vocabulary::InvalidName| error.to_string())?;
        Ok(Self { command, payload })
    }
}

/// A text, once it is known to be JSON.
pub(super) fn json(text: &str) -> Result<String, String> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "it is not JSON: {}; quote it for the shell: '{{\"amount\":1}}'",
            crate::vocabulary::json_problem(&error, text.as_bytes())
        )),
    }
}

/// The id of an aggregate.
pub(super) fn id(number: u32) -> String {
    format!("{ID_PREFIX}{number:0ID_DIGITS$}")
}

/// The aggregate that an id names.
pub(super) fn number_of(id: &str) -> Option<u32> {
    id.strip_prefix(ID_PREFIX)?.parse().ok()
}

/// The command that a correlation id names.
pub(super) fn command_of(correlation_id: &str) -> Option<u64> {
    u64::from_str_radix(correlation_id, 16).ok()
}

/// A request with places for an aggregate and a command.
#[derive(Debug, Clone)]
pub(super) struct Template {
    bytes: Vec<u8>,
    id_at: usize,
    command_at: usize,
}

impl Template {
    pub(super) fn new(aggregate_type: &str, command: &CommandName, payload: Option<&str>) -> Self {
        let payload = payload.unwrap_or_default();
        let path = format!("POST /v1/aggregates/{aggregate_type}/{ID_PREFIX}");
        let media_type = if payload.is_empty() {
            ""
        } else {
            "content-type: application/json\r\n"
        };
        let headers = format!(
            "/commands/{command} HTTP/1.1\r\nhost: annals\r\n{media_type}content-length: {}\r\ncorrelation-id: ",
            payload.len()
        );
        let text = format!(
            "{path}{:0ID_DIGITS$}{headers}{:0COMMAND_DIGITS$}\r\n\r\n{payload}",
            0, 0
        );
        Self {
            id_at: path.len(),
            command_at: path.len() + ID_DIGITS + headers.len(),
            bytes: text.into_bytes(),
        }
    }

    /// The request for this aggregate and command, in place of what the buffer held.
    pub(super) fn write(&self, aggregate: u32, command: u64, request: &mut Vec<u8>) {
        request.clear();
        request.extend_from_slice(&self.bytes);
        put(request, self.id_at, &format!("{aggregate:0ID_DIGITS$}"));
        put(request, self.command_at, &format!("{command:0COMMAND_DIGITS$x}"));
    }
}

fn put(request: &mut [u8], at: usize, digits: &str) {
    if let Some(place) = request.get_mut(at..at + digits.len()) {
        place.copy_from_slice(digits.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_their_digits_in_place() {
        let deposit = "deposit".parse().unwrap();
        let mut request = Vec::new();
        Template::new("account", &deposit, Some("{}")).write(4_711, 0xbeef, &mut request);
        let expected = "POST /v1/aggregates/account/bench-004711/commands/deposit HTTP/1.1\r\nhost: annals\r\n\
                        content-type: application/json\r\ncontent-length: 2\r\n\
                        correlation-id: 000000000000beef\r\n\r\n{}";
        assert_eq!(String::from_utf8(request).unwrap(), expected);
        assert_eq!(number_of(&id(4_711)), Some(4_711));
        assert_eq!(
            (number_of("alice"), command_of("000000000000beef")),
            (None, Some(0xbeef))
        );
    }
}
