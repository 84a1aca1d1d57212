//! Where a consumer is to begin, as JSON.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{consumers::Start, vocabulary::shown};

use super::{app::Running, consumer_body, feed::place, problem::Problem};

const FIX: &str =
    "use `\"beginning\"`, `\"now\"`, `{\"after\": \"<cursor>\"}` or `{\"time\": \"2026-01-01T00:00:00Z\"}`";

/// `start` of a consumer: one of four ways.
#[derive(Debug)]
pub(super) enum StartBody {
    Word(String),
    Place(Place),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    after: Option<String>,
    time: Option<String>,
}

impl StartBody {
    /// One of the ways, and one only.
    pub(super) async fn into_start(self, running: &Running) -> Result<Start, Problem> {
        let wrong = |detail: &str| Err(Problem::malformed(detail, FIX));
        match self {
            Self::Word(word) if word == "beginning" => Ok(Start::Beginning),
            Self::Word(word) if word == "now" => Ok(Start::Now),
            Self::Word(word) => wrong(&format!("`start` is \"{}\"", shown(&word))),
            Self::Place(Place { after, time }) => match (after, time) {
                (Some(cursor), None) => Ok(Start::After(place(running, &cursor).await?)),
                (None, Some(text)) => Ok(Start::Time(consumer_body::time("start.time", &text)?)),
                (None, None) => wrong("`start` names neither a cursor nor a time"),
                (Some(_), Some(_)) => {
                    wrong("`start` names both a cursor and a time, which may contradict each other")
                }
            },
        }
    }
}

impl<'de> Deserialize<'de> for StartBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = StartBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`\"beginning\"`, `\"now\"`, or an object with `after` or `time`")
    }

    fn visit_str<E>(self, word: &str) -> Result<StartBody, E> {
        Ok(StartBody::Word(word.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<StartBody, A::Error> {
        Place::deserialize(MapAccessDeserializer::new(members)).map(StartBody::Place)
    }
}
