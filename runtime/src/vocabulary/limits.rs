//! Every limit, with its unit and its reason. Nothing in annals is unbounded.
//!
//! [`TABLE`] is what `docs/limits.md` is made of, and what `annals serve --limit NAME=VALUE` sets.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// One limit, for the documentation and for operators.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Name, in kebab case.
    pub name: &'static str,
    /// What is limited.
    pub what: &'static str,
    /// `B`, `count`, `fuel` or `ms`.
    pub unit: &'static str,
    /// What happens beyond it: a status, or what the server does.
    pub on_breach: &'static str,
    /// Why there is such a limit.
    pub reason: &'static str,
    /// The largest value that can be set.
    pub maximum: u64,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

impl Limit {
    /// Its value.
    #[must_use]
    pub fn get(&self, limits: &Limits) -> u64 {
        (self.get)(limits)
    }
}

/// A limit that cannot be set as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No limit has this name.
    #[error("there is no limit `{0}`; docs/limits.md lists them")]
    Unknown(String),
    /// Not a number, zero, or beyond the maximum.
    #[error("`{name}={found}`: must be a whole number from 1 to {maximum} ({unit})")]
    OutOfRange {
        /// The limit, as the documentation has it.
        name: String,
        /// What was asked for.
        found: String,
        /// The largest value.
        maximum: u64,
        /// Its unit.
        unit: &'static str,
    },
}

/// How a limit's value is written as a number.
trait Number {
    fn number(self) -> u64;
    fn from_number(number: u64) -> Self;
}

impl Number for u64 {
    fn number(self) -> u64 {
        self
    }
    fn from_number(number: u64) -> Self {
        number
    }
}

impl Number for usize {
    fn number(self) -> u64 {
        self as u64
    }
    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Number for Duration {
    fn number(self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
    fn from_number(number: u64) -> Self {
        Self::from_millis(number)
    }
}

macro_rules! limits {
    ($($name:ident: $type:ty = $default:expr, at most $maximum:expr, $unit:literal,
       $what:literal, on breach $breach:literal, because $reason:literal;)*) => {
        /// The limits in force. [`Limits::default`] is what the documentation's table shows.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = concat!("Limit on ", $what, ", in ", $unit, ". ", $reason)] pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        /// All limits.
        pub static TABLE: &[Limit] = &[$(Limit {
            name: stringify!($name),
            what: $what,
            unit: $unit,
            on_breach: $breach,
            reason: $reason,
            maximum: $maximum,
            get: |limits| limits.$name.number(),
            set: |limits, number| limits.$name = <$type>::from_number(number),
        },)*];
    };
}

limits! {
    module_bytes: usize = 32 * MIB, at most 256 * MIB as u64, "B",
        "uploaded module", on breach "413", because "Room for JavaScript and Python guests of 12 to 18 MB.";
    payload_bytes: usize = MIB, at most 16 * MIB as u64, "B",
        "payload of one command, event or reply", on breach "413, 422", because "The host copies it a few times.";
    events_per_command: usize = 1_000, at most 10_000, "count",
        "events from one command", on breach "422", because "One commit must stay small beside a group.";
    events_per_command_bytes: usize = 8 * MIB, at most 64 * MIB as u64, "B",
        "events from one command, together", on breach "422", because "As above.";
    snapshot_bytes: usize = 16 * MIB, at most 256 * MIB as u64, "B",
        "saved state of one aggregate", on breach "snapshot skipped, warned", because "It is read back in one piece.";
    view_bytes: usize = 16 * MIB, at most 64 * MIB as u64, "B",
        "rendered state of one aggregate", on breach "422", because "It is sent in one piece.";
    cell_memory_bytes: usize = 64 * MIB, at most 1024 * MIB as u64, "B",
        "linear memory of one cell", on breach "500, cell retired", because "Shared by the live aggregates of the cell.";
    aggregates_per_cell: usize = 1_024, at most 4_096, "count",
        "live aggregates in one cell", on breach "another cell is opened", because "The blast radius of a trap.";
    cells: usize = 256, at most 4_096, "count",
        "cells in the process", on breach "503", because "Each reserves address space.";
    describe_fuel: u64 = 200_000_000, at most 10_000_000_000, "fuel",
        "starting a module and asking what it is", on breach "422", because "A module that needs more does not start.";
    handle_fuel: u64 = 50_000_000, at most 10_000_000_000, "fuel",
        "one decision, where the module does it in one call with applying and checking it; and each other call that a command makes", on breach "422", because "About 50 ms of work.";
    snapshot_fuel: u64 = 1_000_000_000, at most 100_000_000_000, "fuel",
        "one save, restore or view of a state", on breach "snapshot skipped, warned", because "Ten megabytes of state fit.";
    handle_wall: Duration = Duration::from_secs(1), at most 60 * 1_000, "ms",
        "one decision, by the wall clock", on breach "503", because "The net under the fuel.";
    replay_wall: Duration = Duration::from_secs(60), at most 3_600 * 1_000, "ms",
        "one rebuild from the log, by the wall clock", on breach "503", because "There is no fuel verdict on replay: what was once committed must stay readable.";
    describe_wall: Duration = Duration::from_secs(5), at most 60 * 1_000, "ms",
        "starting a module and asking what it is, or a save, restore or view, by the wall clock", on breach "422", because "The net under the fuel.";
    log_lines_per_call: usize = 64, at most 10_000, "count",
        "log lines of one guest call", on breach "the rest is dropped and counted", because "A module must not fill the server's log.";
    log_line_bytes: usize = 4 * KIB, at most 64 * KIB as u64, "B",
        "one log line of a guest with its fields", on breach "the rest is cut", because "As above.";
    lane_queue: usize = 256, at most 65_536, "count",
        "commands waiting for one aggregate", on breach "429", because "More would wait longer than a client does.";
    lane_in_flight: usize = 512, at most 65_536, "count",
        "decisions of one aggregate that wait for their fsync", on breach "waits", because "One fsync covers them all; what is lost with it is decided again.";
    shard_queue: usize = 4_096, at most 1_048_576, "count",
        "requests waiting at one shard", on breach "429", because "As above.";
    in_flight_bytes: usize = 64 * MIB, at most 4_096 * MIB as u64, "B",
        "payloads of all commands in flight", on breach "429", because "Memory.";
    arriving_bytes: usize = 256 * MIB, at most 4_096 * MIB as u64, "B",
        "bodies that are arriving, together", on breach "429", because "Memory: a client may announce much and send slowly.";
    uploads: usize = 4, at most 64, "count",
        "uploads at a time", on breach "waits", because "Each is held in memory, checked and compiled.";
    live_per_shard: usize = 100_000, at most 1_000_000, "count",
        "live aggregates in one shard", on breach "the longest unused are evicted", because "Memory.";
    live_bytes: usize = 1_024 * MIB, at most 1_048_576 * MIB as u64, "B",
        "linear memory of all cells in the process", on breach "the cell of the longest unused is emptied", because "Memory; it returns by whole cells only.";
    lane_idle: Duration = Duration::from_secs(60), at most 86_400 * 1_000, "ms",
        "time without a request before an aggregate is evicted", on breach "evicted", because "Memory.";
    snapshot_every: u64 = 100, at most 1_000_000, "count",
        "events after which a state is saved, unless the module says otherwise", on breach "a snapshot is taken", because "Applying 100 events takes well under a millisecond.";
    snapshot_bytes_per_event: usize = KIB, at most 1_024 * MIB as u64, "B",
        "size of the last snapshot for each event since, before a state is saved again", on breach "the snapshot waits for more events", because "Saving a large state takes long: a state of 10 MiB is saved every 10,240 events.";
    snapshot_on_eviction: u64 = 16, at most 1_000_000, "count",
        "events since the last snapshot that are worth one at eviction", on breach "a snapshot is taken", because "Fewer are applied faster than a snapshot is read.";
    rebuilds_per_shard: usize = 64, at most 65_536, "count",
        "aggregates that are being rebuilt from the log in one shard", on breach "waits", because "What is half built takes memory, and with more at a time all are late.";
    rebuild_slice_events: usize = 1_000, at most 10_000, "count",
        "events applied in one turn of a rebuild", on breach "goes on at its next turn", because "Neighbours wait for one turn; it has fewer events where those take long.";
    rebuild_slice_bytes: usize = MIB, at most 64 * MIB as u64, "B",
        "payloads applied in one turn of a rebuild", on breach "goes on at its next turn", because "As above; a single larger event still passes.";
    rebuild_slice_wall: Duration = Duration::from_millis(100), at most 60 * 1_000, "ms",
        "one turn of a rebuild, by the wall clock", on breach "the rebuild begins again, these events one at a time", because "A turn aims at 2 ms; its neighbours wait until it is over.";
    rebuild_event_wall: Duration = Duration::from_secs(1), at most 3_600 * 1_000, "ms",
        "applying one such event, by the wall clock", on breach "503", because "As long as a decision may take: what could be recorded can be applied.";
    rebuild_pause: Duration = Duration::from_secs(10), at most 3_600 * 1_000, "ms",
        "time after such an event before its shard tries one that takes as long again", on breach "503", because "Its neighbours wait for `rebuild-event-wall` once in this time.";
    page_events: usize = 1_000, at most 10_000, "count",
        "events in one page", on breach "cut, with `next`", because "A page is built in memory.";
    page_bytes: usize = 8 * MIB, at most 64 * MIB as u64, "B",
        "payloads in one page", on breach "cut, with `next`", because "As above.";
    bus_commits: usize = 4_096, at most 1_048_576, "count",
        "commits kept for subscribers that are a little behind", on breach "`fell-behind`, from the store", because "A tenth of a second at full speed.";
    bus_commit_bytes: usize = 16 * KIB, at most 1_024 * KIB as u64, "B",
        "largest commit that is kept there", on breach "read from the store", because "Bounds the memory of the bus.";
    stream_page_events: usize = 128, at most 1_000, "count",
        "events that one subscriber is read ahead", on breach "waits for the client", because "What a slow one holds in memory.";
    stream_page_bytes: usize = 256 * KIB, at most 8 * MIB as u64, "B",
        "payloads that one subscriber is read ahead", on breach "waits for the client", because "As above; a single larger event still passes.";
    large_pages: usize = 16, at most 1_024, "count",
        "subscribers at a time that are read ahead eight times as far, since they keep up", on breach "they are read ahead as usual", because "Twice as fast, for a few megabytes each.";
    relays: usize = 32, at most 1_024, "count",
        "filters and forms for which events are written once for all who follow", on breach "they are written for each subscriber", because "Each is a task, and keeps frames.";
    relay_frames: usize = 32, at most 4_096, "count",
        "frames of such a relay that are kept for subscribers that are a little behind", on breach "`fell-behind`, from the store", because "A third of a second.";
    relay_frame_bytes: usize = 256 * KIB, at most 1_024 * KIB as u64, "B",
        "events put into one frame of a relay when they are ready together", on breach "another frame", because "Together with `relay-frames`, 8 MiB for each relay.";
    pushed_streams: usize = 64, at most 4_096, "count",
        "subscribers that keep up to which one task writes the frames of a relay", on breach "another task", because "A frame is written to one after the other, some tens of microseconds each, spread over four fifths of `stream-gather`.";
    subscribers: usize = 4_096, at most 65_536, "count",
        "streams at a time", on breach "429", because "File descriptors and memory.";
    consumers: usize = 1_000, at most 10_000, "count",
        "durable consumers", on breach "429", because "Each holds events in memory.";
    consumer_events: usize = 16_384, at most 262_144, "count",
        "events that one consumer is read ahead; replays have a quarter as many beside", on breach "waits for acknowledgements", because "Memory; and what is kept of a consumer names each that is not done.";
    consumer_bytes: usize = 16 * MIB, at most 256 * MIB as u64, "B",
        "payloads that one consumer is read ahead; replays have a quarter as much beside", on breach "waits for acknowledgements", because "Memory; a single larger event still passes.";
    consumer_wait: Duration = Duration::from_secs(60), at most 600 * 1_000, "ms",
        "longest wait of a fetch", on breach "400", because "A connection that waits costs memory, and proxies cut it.";
    parked_aggregates: usize = 10_000, at most 1_000_000, "count",
        "aggregates with parked events of one consumer", on breach "the next one is tried on, at its longest pause", because "Somebody has to look at them.";
    webhooks: usize = 256, at most 4_096, "count",
        "consumers with a webhook", on breach "429", because "Each has connections, and a thread while a name is looked up.";
    webhook_requests: usize = 64, at most 1_024, "count",
        "requests of one webhook under way", on breach "400", because "Each is a connection and an event in memory.";
    webhook_batch_bytes: usize = MIB, at most 64 * MIB as u64, "B",
        "events in one request of a webhook", on breach "the rest comes with the next one", because "What receivers commonly take; a single larger event still passes.";
    webhook_connect: Duration = Duration::from_secs(5), at most 60 * 1_000, "ms",
        "looking up a receiver, connecting and agreeing on TLS", on breach "the attempt has failed", because "A connection that is not there by then is not coming.";
    webhook_answer_bytes: usize = 16 * KIB, at most MIB as u64, "B",
        "read of a receiver's answer, and of its head", on breach "the connection is closed", because "Only the status counts; the rest is for people, or for keeping the connection.";
    webhook_answer: Duration = Duration::from_secs(2), at most 60 * 1_000, "ms",
        "time for the rest of an answer whose head is there", on breach "the connection is closed", because "As above.";
    webhook_idle: Duration = Duration::from_secs(30), at most 600 * 1_000, "ms",
        "time for which an unused connection to a receiver is kept", on breach "it is closed", because "Most receivers close theirs after a minute.";
    webhook_failures: usize = 10, at most 10_000, "count",
        "failed requests of a webhook in a row before it is left alone for a while", on breach "the circuit opens", because "A receiver that is down recovers sooner, and no event's attempts are used up.";
    webhook_pause: Duration = Duration::from_secs(300), at most 86_400 * 1_000, "ms",
        "longest time for which a failing receiver is left alone before it is tried again", on breach "one request is sent", because "It begins with a second and doubles.";
    webhook_retry_after: Duration = Duration::from_secs(3_600), at most 86_400 * 1_000, "ms",
        "longest Retry-After of a receiver that is respected", on breach "it is tried again after this time", because "A wrong date must not stop a consumer for years.";
    webhook_secret_overlap: Duration = Duration::from_secs(86_400), at most 2_592_000 * 1_000, "ms",
        "time for which a webhook's old secret signs beside the new one", on breach "the new one signs alone", because "Receivers take the new one over meanwhile.";
    heartbeat: Duration = Duration::from_secs(15), at most 300 * 1_000, "ms",
        "silence on a stream", on breach "a comment is sent", because "Proxies close silent connections.";
    stream_frame_bytes: usize = 32 * KIB, at most 1_024 * KIB as u64, "B",
        "events put into one piece of a stream when they are ready together", on breach "another piece", because "Memory; larger ones are hardly faster.";
    stream_gather: Duration = Duration::from_millis(10), at most 1_000, "ms",
        "time for which a busy stream gathers what happens before it sends the next piece", on breach "it is sent", because "A write for many events instead of one for each; what comes after a silence is sent at once.";
    checkpoint_positions: u64 = 10_000, at most 1_000_000_000, "count",
        "events that a filtered stream passes over in silence", on breach "a `checkpoint` is sent, at the end of the 4 MiB of the log that are looked at in one go", because "Who comes back goes on there: a tenth of a second of reading.";
    filter_names: usize = 64, at most 1_024, "count",
        "aggregate and event types in one filter", on breach "400", because "Each event is held against each of them.";
    filter_bytes: usize = 4 * KIB, at most 64 * KIB as u64, "B",
        "texts of one filter, together", on breach "400", because "It is kept as long as the stream is.";
    wait: Duration = Duration::from_secs(10), at most 600 * 1_000, "ms",
        "waiting for a position, where the request does not say how long", on breach "504", because "A commit takes milliseconds: what takes longer has another cause.";
    wait_longest: Duration = Duration::from_secs(60), at most 600 * 1_000, "ms",
        "waiting that a request may ask for", on breach "400; `Prefer: wait` is cut to it", because "Proxies give up silent requests.";
    shutdown: Duration = Duration::from_secs(20), at most 600 * 1_000, "ms",
        "time for accepted requests to finish at shutdown", on breach "connections are cut", because "Supervisors kill after 30 s or more.";
    connections: usize = 8_192, at most 65_536, "count",
        "open connections", on breach "waits in the kernel's queue", because "File descriptors.";
    streams_per_connection: usize = 256, at most 4_096, "count",
        "requests under way on one HTTP/2 connection", on breach "waits", because "One connection must not take what all share.";
    command_streams: usize = 64, at most 4_096, "count",
        "pipelined command streams at a time", on breach "429", because "Each holds lines and answers in memory.";
    pipeline_lines: usize = 1_024, at most 16_384, "count",
        "lines of one pipelined stream under way", on breach "waits", because "Several group commits' worth.";
    pipeline_line_bytes: usize = 1536 * KIB, at most 32 * MIB as u64, "B",
        "one line of a pipelined stream", on breach "413 for that line", because "A payload of 1 MiB in base64, with the rest around it.";
    pipeline_payload_bytes: usize = 16 * MIB, at most 1_024 * MIB as u64, "B",
        "payloads of one pipelined stream under way", on breach "waits", because "A quarter of what may be in flight in all.";
    pipeline_answer_bytes: usize = 4 * MIB, at most 256 * MIB as u64, "B",
        "answers held for a pipelined client that does not read", on breach "waits", because "Memory; some 5,000 usual answers.";
    pipeline_stall: Duration = Duration::from_secs(30), at most 600 * 1_000, "ms",
        "time for which a pipelined client may leave held answers unread", on breach "the stream ends, with a line that says so", because "Memory; a client that writes all before it reads would else wait for ever.";
    pipeline_idle: Duration = Duration::from_secs(300), at most 86_400 * 1_000, "ms",
        "time without a byte from a pipelined client that has all its answers", on breach "the stream ends, with a line that says so", because "Memory.";
    header_bytes: usize = 32 * KIB, at most 256 * KIB as u64, "B",
        "request line and headers", on breach "431", because "An id of 255 bytes is 765 when it is encoded.";
    request_read: Duration = Duration::from_secs(30), at most 600 * 1_000, "ms",
        "time for a client to send headers or body", on breach "408", because "A connection costs memory.";
}

impl Limits {
    /// Sets one limit by name; `-` and `_` are the same.
    ///
    /// # Errors
    /// [`LimitError`] names the limit and what it may be.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), LimitError> {
        let wanted = name.replace('-', "_");
        let limit = TABLE.iter().find(|limit| limit.name == wanted);
        let limit = limit.ok_or_else(|| LimitError::Unknown(name.to_owned()))?;
        match value.parse() {
            Ok(number) if (1..=limit.maximum).contains(&number) => {
                (limit.set)(self, number);
                Ok(())
            }
            _ => Err(LimitError::OutOfRange {
                name: limit.name.replace('_', "-"),
                found: value.to_owned(),
                maximum: limit.maximum,
                unit: limit.unit,
            }),
        }
    }
}

/// The table as Markdown, as it stands in `docs/limits.md`.
#[must_use]
pub fn markdown() -> String {
    let defaults = Limits::default();
    let mut text = String::from(
        "# Limits\n\nEverything has a limit. This table is generated from `runtime/src/vocabulary/limits.rs`. Set one with \
         `annals serve --limit NAME=VALUE`.\n\n| name | what | default | maximum | unit | on breach | why |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for limit in TABLE {
        let Limit {
            what,
            unit,
            on_breach,
            reason,
            maximum,
            ..
        } = limit;
        let (name, default) = (limit.name.replace('_', "-"), limit.get(&defaults));
        text.push_str(&format!(
            "| `{name}` | {what} | {default} | {maximum} | {unit} | {on_breach} | {reason} |\n"
        ));
    }
    text.push_str(
        "\nFixed: aggregate ids and idempotency keys 255 B, aggregate types, command names and event types 63 B (400); a \
         module's identity is its SHA-256.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_shows_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/limits.md");
        if std::env::var_os("ANNALS_BLESS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let documented = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            documented,
            markdown(),
            "run this test with ANNALS_BLESS=1 to write docs/limits.md anew"
        );
    }

    #[test]
    fn defaults_are_within_their_maximum_and_every_limit_can_be_set() {
        for limit in TABLE {
            let mut limits = Limits::default();
            assert!(
                (1..=limit.maximum).contains(&limit.get(&limits)),
                "{}",
                limit.name
            );
            limits.set(&limit.name.replace('_', "-"), "1").unwrap();
            assert_eq!(limit.get(&limits), 1, "{}", limit.name);
            let beyond = (limit.maximum + 1).to_string();
            for wrong in ["0", "-1", "x", "", beyond.as_str()] {
                let error = limits.set(limit.name, wrong).unwrap_err().to_string();
                assert!(error.contains(&limit.maximum.to_string()), "{error}");
                assert!(error.contains(&limit.name.replace('_', "-")), "{error}");
            }
        }
        assert!(Limits::default().set("nothing", "1").is_err());
    }
}
