//! Places in the log, as clients name them.

use crate::{
    store::{FeedFilter, PageLimit},
    vocabulary::{Cursor, Position},
};

use super::super::{app::Running, problem::Problem, routes::blocking};

/// Where a cursor points to, in this branch of this log: perhaps beyond its end.
pub(in crate::http) fn cursor(running: &Running, text: &str) -> Result<Position, Problem> {
    let cursor: Cursor = text.parse()?;
    let identity = running.store.identity();
    if !cursor.is_of(identity.log_id) {
        return Err(bad_cursor(text, "belongs to another log"));
    }
    if cursor.epoch != identity.epoch {
        let detail = format!("the cursor `{text}` belongs to a branch of the log that a restore has ended");
        return Err(Problem::new(410, "dead-branch", "The branch has ended", detail)
            .fix("start again from the beginning, or from a cursor given out since")
            .with("cursor", text));
    }
    Ok(cursor.position)
}

/// Where a stream or a page begins: behind the id that a reconnecting client saw last, which is the later word, or as
/// `after` says, where nothing is the beginning and `now` the end.
pub(in crate::http) async fn start(
    running: &Running,
    resume: Option<&str>,
    after: Option<&str>,
) -> Result<Position, Problem> {
    match (resume, after) {
        (Some(id), _) => place(running, id).await,
        (None, None) => Ok(Position(0)),
        (None, Some("now")) => Ok(running.store.last_position()),
        (None, Some(cursor)) => place(running, cursor).await,
    }
}

/// Where a cursor points to, which is not beyond the end.
pub(in crate::http) async fn place(running: &Running, text: &str) -> Result<Position, Problem> {
    let position = cursor(running, text)?;
    if position <= running.store.last_position() || is_readable(running, position).await? {
        return Ok(position);
    }
    Err(bad_cursor(text, "lies beyond the end of the log"))
}

/// Whether there is an event at a position. A commit is readable a little before the store says that the log has got
/// there, so that a client may hold the cursor already.
async fn is_readable(running: &Running, position: Position) -> Result<bool, Problem> {
    let Some(before) = position.0.checked_sub(1).map(Position) else {
        return Ok(true);
    };
    let store = running.store.clone();
    let one = PageLimit { events: 1, bytes: 0 };
    let page = blocking(move || store.feed(before, &FeedFilter::everything(), one)).await??;
    Ok(!page.events.is_empty())
}

fn bad_cursor(text: &str, why: &str) -> Problem {
    Problem::new(
        400,
        "bad-cursor",
        "Not a cursor of this log",
        format!("the cursor `{text}` {why}"),
    )
    .fix("start without a cursor, or with one that this server gave out")
    .with("cursor", text)
}
