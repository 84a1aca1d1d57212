//! Every limit, with its unit and its reason. Nothing in annals is unbounded.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The limits in force. [`Limits::default`] is what the documentation's table shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest upload, bytes: room for JavaScript and Python guests of 12 to 18 MB.
    pub module_bytes: usize,
    /// Largest payload of one command, event or reply, bytes: the host copies it a few times.
    pub payload_bytes: usize,
    /// Most events from one command, count: one commit must stay small beside a group.
    pub events_per_command: usize,
    /// Most bytes of events from one command, together.
    pub events_per_command_bytes: usize,
    /// Largest saved state, bytes: beyond it the snapshot is skipped with a warning.
    pub snapshot_bytes: usize,
    /// Largest rendered state, bytes.
    pub view_bytes: usize,
    /// Linear memory of one cell, bytes.
    pub cell_memory_bytes: usize,
    /// Live aggregates in one cell, count: the blast radius of a trap.
    pub aggregates_per_cell: usize,
    /// Cells in the process, count: each reserves address space.
    pub cells: usize,
    /// Fuel for instantiating a module and describing it, units of wasmtime.
    pub describe_fuel: u64,
    /// Fuel for one `handle`; also for each other call that a command makes: constructor, `apply` before the commit,
    /// the invariants' check, destructor.
    pub handle_fuel: u64,
    /// Fuel for one `save`, `restore` or `render`, each of which goes over a whole state.
    pub snapshot_fuel: u64,
    /// Wall time of one `handle`, the net under the fuel.
    pub handle_wall: Duration,
    /// Wall time of one rebuild from the log. There is no fuel verdict on replay: what was once committed
    /// must stay readable.
    pub replay_wall: Duration,
    /// Wall time for describing a module at upload, and for one `save`, `restore` or `render`.
    pub describe_wall: Duration,
    /// Log lines that one guest call may write, count; the rest is dropped and counted.
    pub log_lines_per_call: usize,
    /// Longest log message of a guest with its fields, bytes; the rest is cut.
    pub log_line_bytes: usize,
    /// Commands waiting in one lane, count.
    pub lane_queue: usize,
    /// Requests waiting at one shard, count.
    pub shard_queue: usize,
    /// Payload bytes of commands in flight in the whole process.
    pub in_flight_bytes: usize,
    /// Proposals waiting for the writer, count.
    pub writer_queue: usize,
    /// Live aggregates in one shard, count; the least recently used are evicted beyond it.
    pub live_per_shard: usize,
    /// A lane without a command for this long is evicted.
    pub lane_idle: Duration,
    /// Events after which a snapshot is taken, unless the module's manifest says otherwise.
    pub snapshot_every: u64,
    /// Events in one page of history or feed, count.
    pub page_events: usize,
    /// Payload bytes in one page of history or feed.
    pub page_bytes: usize,
    /// Commits kept for subscribers that are a little behind, count; one further behind reads from the store.
    pub bus_commits: usize,
    /// SSE and NDJSON subscribers, count.
    pub subscribers: usize,
    /// Silence on a live stream before a heartbeat comment.
    pub heartbeat: Duration,
    /// Time that accepted requests are given to finish at shutdown.
    pub shutdown: Duration,
    /// Open HTTP connections, count.
    pub connections: usize,
    /// Request line and headers of one request, bytes.
    pub header_bytes: usize,
    /// Time for a client to send the whole of a request's headers or body.
    pub request_read: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            module_bytes: 32 * MIB,
            payload_bytes: MIB,
            events_per_command: 1_000,
            events_per_command_bytes: 8 * MIB,
            snapshot_bytes: 16 * MIB,
            view_bytes: 16 * MIB,
            cell_memory_bytes: 64 * MIB,
            aggregates_per_cell: 256,
            cells: 256,
            describe_fuel: 200_000_000,
            handle_fuel: 50_000_000,
            snapshot_fuel: 1_000_000_000,
            handle_wall: Duration::from_secs(1),
            replay_wall: Duration::from_secs(60),
            describe_wall: Duration::from_secs(5),
            log_lines_per_call: 64,
            log_line_bytes: 4 * KIB,
            lane_queue: 256,
            shard_queue: 4_096,
            in_flight_bytes: 64 * MIB,
            writer_queue: 8_192,
            live_per_shard: 20_000,
            lane_idle: Duration::from_secs(60),
            snapshot_every: 100,
            page_events: 1_000,
            page_bytes: 8 * MIB,
            bus_commits: 4_096,
            subscribers: 4_096,
            heartbeat: Duration::from_secs(15),
            shutdown: Duration::from_secs(20),
            connections: 8_192,
            header_bytes: 32 * KIB,
            request_read: Duration::from_secs(30),
        }
    }
}
