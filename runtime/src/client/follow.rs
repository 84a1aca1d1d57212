//! Following the feed across lost connections.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::{
    address::{path, with_query},
    backoff::{Backoff, spread},
    error::ClientError,
    feed::{EventFilter, FeedQuery},
    model::Event,
    problem::Problem,
    sse::{SseMessage, SseParser},
    transport::{Call, Client, EXCERPT_CHARS, root_cause},
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Four of the server's heartbeats (15 s): a connection silent for so long is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// What a follower sees.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FollowItem {
    /// The next event.
    Event(Box<Event>),
    /// Everything that had happened was given; what comes now is live. Comes again after each reconnect.
    CaughtUp,
    /// The follower was too slow for the live feed and is read from the store; nothing is lost.
    FellBehind,
    /// The connection was lost and will be made again after the wait, by the next call.
    Reconnecting {
        /// Why it was lost.
        cause: Box<ClientError>,
        /// How long the next call waits first.
        wait: Duration,
    },
}

/// A feed or a history that is followed: each event once, in order, across lost connections.
///
/// The place in the feed is that of the last item *given to the caller*, so what arrived but was not given
/// is asked for again.
#[derive(Debug)]
pub struct Follow {
    client: Client,
    source: Source,
    cursor: Option<String>,
    stream: Option<Stream>,
    arrived: VecDeque<SseMessage>,
    backoff: Backoff,
    wait: Option<Duration>,
    was_connected: bool,
    silence_limit: Duration,
}

/// Where a history that is followed begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HistoryStart {
    /// At its first event.
    #[default]
    Beginning,
    /// At this version.
    Version(u64),
    /// After this cursor; `now` is the head of the log.
    After(String),
}

/// What is followed.
#[derive(Debug)]
enum Source {
    Feed(FeedQuery),
    History {
        path: String,
        start: HistoryStart,
        filter: EventFilter,
    },
}

impl Source {
    /// The path with its query; the cursor may be left to the `Last-Event-ID` header.
    fn target(&self, with_start: bool) -> String {
        let (path, start, filter) = match self {
            Self::Feed(query) => return query.target(with_start),
            Self::History { path, start, filter } => (path, start, filter),
        };
        let start = match start {
            HistoryStart::Version(from) => ("from", Some(from.to_string())),
            HistoryStart::After(cursor) if with_start => ("after", Some(cursor.clone())),
            _ => ("after", None),
        };
        let mut parameters = vec![start];
        parameters.extend(filter.parameters());
        with_query(path.clone(), &parameters)
    }
}

#[derive(Debug)]
struct Stream {
    body: Incoming,
    parser: SseParser,
}

impl Client {
    /// Follows the feed. Nothing is sent before the first [`Follow::next`].
    #[must_use]
    pub fn follow(&self, query: FeedQuery) -> Follow {
        Follow::new(self, Source::Feed(FeedQuery { limit: None, ..query }))
    }

    /// Follows the history of one aggregate, which need not exist yet. Nothing is sent before the first
    /// [`Follow::next`].
    #[must_use]
    pub fn follow_history(
        &self,
        aggregate_type: &str,
        id: &str,
        start: HistoryStart,
        filter: EventFilter,
    ) -> Follow {
        let path = path(&["v1", "aggregates", aggregate_type, id, "events"]);
        Follow::new(self, Source::History { path, start, filter })
    }
}

impl Follow {
    fn new(client: &Client, source: Source) -> Self {
        Self {
            client: client.clone(),
            source,
            cursor: None,
            stream: None,
            arrived: VecDeque::new(),
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            wait: None,
            was_connected: false,
            silence_limit: SILENCE_LIMIT,
        }
    }

    /// The next item; waits for it as long as it takes.
    ///
    /// # Errors
    /// [`ClientError`] when the first connection fails, when a later one is refused for good (a cursor of a dead
    /// branch, for example), or when the server says in the stream that it cannot go on: a damaged log.
    pub async fn next(&mut self) -> Result<FollowItem, ClientError> {
        loop {
            while let Some(message) = self.arrived.pop_front() {
                match self.item(message) {
                    Ok(item) => {
                        self.backoff.reset();
                        if let Some(item) = item {
                            return Ok(item);
                        }
                    }
                    Err(cause) => return self.lost(cause),
                }
            }
            if let Some(wait) = self.wait {
                sleep(wait).await;
                self.wait = None;
            }
            let progress = match &mut self.stream {
                None => self.connect().await,
                Some(_) => self.receive().await,
            };
            if let Err(cause) = progress {
                return self.lost(cause);
            }
        }
    }

    /// Whether the next item is there already. A checkpoint is none.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        let is_item = |message: &SseMessage| message.event.as_deref() != Some("checkpoint");
        self.arrived.iter().any(is_item)
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut call = Call::get(self.source.target(self.cursor.is_none()));
        call.headers
            .insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(cursor) = &self.cursor {
            let cursor = HeaderValue::from_str(cursor)
                .map_err(|_| ClientError::Request(format!("the cursor `{}`", cursor.escape_debug())))?;
            call.headers.insert(LAST_EVENT_ID, cursor);
        }
        let what = format!("GET {}{}", self.client.base(), call.target);
        let response = self.client.open(call).await?;
        let media_type = response.headers().get(header::CONTENT_TYPE);
        let media_type = media_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if !media_type.starts_with("text/event-stream") {
            return Err(ClientError::Unexpected {
                what,
                problem: format!(
                    "answered `{}` instead of text/event-stream",
                    media_type.escape_debug()
                ),
            });
        }
        self.was_connected = true;
        self.stream = Some(Stream {
            body: response.into_body(),
            parser: SseParser::default(),
        });
        Ok(())
    }

    async fn receive(&mut self) -> Result<(), ClientError> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let piece = match timeout(self.silence_limit, stream.body.frame()).await {
            Err(_) => return Err(self.client.timed_out(self.silence_limit)),
            Ok(None) => return Err(self.client.lost("the server ended the stream".to_owned())),
            Ok(Some(Err(error))) => return Err(self.client.lost(root_cause(&error))),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_else(|_| Bytes::new()),
        };
        let taken = stream.parser.take(&piece, &mut self.arrived);
        taken.map_err(|error| unexpected(error.to_string()))
    }

    /// The stream is over: whether to connect again, and when.
    fn lost(&mut self, cause: ClientError) -> Result<FollowItem, ClientError> {
        self.stream = None;
        self.arrived.clear();
        let retry_after = match &cause {
            ClientError::Unreachable { .. } | ClientError::Lost { .. } | ClientError::TimedOut { .. } => None,
            ClientError::Problem(problem) if matches!(problem.status, 429 | 503) => {
                problem.retry_after_seconds.map(Duration::from_secs)
            }
            _ => return Err(cause),
        };
        if !self.was_connected {
            return Err(cause);
        }
        let wait = self.backoff.next(retry_after, spread());
        self.wait = Some(wait);
        Ok(FollowItem::Reconnecting {
            cause: Box::new(cause),
            wait,
        })
    }

    fn item(&mut self, message: SseMessage) -> Result<Option<FollowItem>, ClientError> {
        let item = match message.event.as_deref() {
            None => {
                let event: Event = serde_json::from_str(&message.data)
                    .map_err(|error| unexpected(format!("an event could not be read: {error}")))?;
                self.cursor = Some(event.fields.position.clone());
                Some(FollowItem::Event(Box::new(event)))
            }
            Some(name) => {
                self.advance(&message)?;
                match name {
                    "caught-up" => Some(FollowItem::CaughtUp),
                    "fell-behind" => Some(FollowItem::FellBehind),
                    "failed" => return Err(failure(&message.data)),
                    // Checkpoints only move the cursor; names of a newer server do not concern us.
                    _ => None,
                }
            }
        };
        Ok(item)
    }

    /// Named messages may carry a cursor: in `id:`, or in `caught-up` and `checkpoint` as `position`.
    fn advance(&mut self, message: &SseMessage) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        struct Place {
            position: String,
        }
        if matches!(message.event.as_deref(), Some("caught-up" | "checkpoint")) {
            let place: Place = serde_json::from_str(&message.data)
                .map_err(|error| unexpected(format!("a position could not be read: {error}")))?;
            self.cursor = Some(place.position);
        } else if let Some(id) = &message.id {
            self.cursor = Some(id.clone());
        }
        Ok(())
    }
}

/// Why the server cannot go on with a stream, as it says in it.
fn failure(document: &str) -> ClientError {
    Problem::in_stream(document).map_or_else(
        || {
            let excerpt: String = document.chars().take(EXCERPT_CHARS).collect();
            unexpected(format!(
                "it failed without a problem document: `{}`",
                excerpt.escape_debug()
            ))
        },
        |problem| ClientError::Problem(Box::new(problem)),
    )
}

fn unexpected(problem: String) -> ClientError {
    ClientError::Unexpected {
        what: "the event stream".to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests;
