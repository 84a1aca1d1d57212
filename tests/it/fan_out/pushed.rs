//! Streams under load, which are written past what speaks HTTP: whole in every form, until the server stops or the client
//! goes. The bug that this looks for: a chunk within a chunk, a socket that stays open, an end that is none.

use std::{
    fs, io,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use annals::vocabulary::Cursor;
use annals_tests::{
    guests,
    http::{Connection, LineStream, SseStream},
    server::{Api, Process},
};

const SENDERS: u64 = 4;
/// How long commands are sent before something else happens.
const LOAD: Duration = Duration::from_secs(1);
/// All of it takes a few seconds, unless something hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// Few, so that there are several of what pushes.
const LIMITS: [&str; 1] = ["pushed-streams=3"];

fn server(data: &std::path::Path) -> Process {
    let server = Process::with_limits(data, &LIMITS);
    server.upload(&guests::counter()).ok();
    server
}

/// Sends commands until it is enough, or there is nobody to send them to.
fn send(address: SocketAddr, number: u64, is_enough: &AtomicBool) {
    let Ok(mut connection) = Connection::open(address) else {
        return;
    };
    let path = format!("/v1/aggregates/counter/c{number}/commands/add");
    let headers = [("content-type", "application/json")];
    let begun = Instant::now();
    while !is_enough.load(Ordering::SeqCst)
        && begun.elapsed() < LIMIT
        && connection.request("POST", &path, &headers, b"{\"by\":1}").is_ok()
    {}
}

fn place(cursor: &str) -> u64 {
    cursor.parse::<Cursor>().unwrap().position.0
}

/// Reads a stream to its end, and gives the positions of its events.
type Reader = fn(SocketAddr) -> io::Result<Vec<u64>>;

/// As a browser does.
fn sent_events(address: SocketAddr) -> io::Result<Vec<u64>> {
    let mut stream = SseStream::open(address, "/v1/events?after=now", &[])?;
    let mut given = Vec::new();
    while let Some(event) = stream.next_event()? {
        if event.event.is_empty() {
            given.push(place(&event.id));
        }
    }
    Ok(given)
}

fn lines(address: SocketAddr) -> io::Result<Vec<u64>> {
    let mut stream = LineStream::open(address, "/v1/events?after=now&follow=true", &[])?;
    let mut given = Vec::new();
    while let Some(value) = stream.next_value()? {
        if value.get("annals").is_none() {
            given.push(place(value["position"].as_str().unwrap()));
        }
    }
    Ok(given)
}

/// The same of a client that knows no chunks.
fn sent_events_without_chunks(address: SocketAddr) -> io::Result<Vec<u64>> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.write_all(
        b"GET /v1/events?after=now HTTP/1.0\r\nhost: annals\r\naccept: text/event-stream\r\n\r\n",
    )?;
    let mut given = Vec::new();
    let mut answer = BufReader::new(socket).lines();
    for line in answer.by_ref() {
        if line?.is_empty() {
            break;
        }
    }
    let mut is_named = false;
    for line in answer {
        let line = line?;
        match line.split_once(": ") {
            Some(("event", _)) => is_named = true,
            Some(("id", id)) if !is_named => given.push(place(id)),
            Some(("id" | "data" | "retry", _)) => {}
            _ => {
                assert!(line.is_empty(), "`{line}` is no line of a stream");
                is_named = false;
            }
        }
    }
    Ok(given)
}

#[test]
fn every_form_is_whole_under_load_and_ends_with_the_server() {
    let data = tempfile::tempdir().unwrap();
    let server = server(&data.path().join("data"));
    let address = server.address();
    let forms: [Reader; 3] = [sent_events, lines, sent_events_without_chunks];
    let is_enough = &AtomicBool::new(false);
    thread::scope(|scope| {
        let streams: Vec<_> = (0..12)
            .map(|number| scope.spawn(move || forms[number % 3](address)))
            .collect();
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| scope.spawn(move || send(address, number, is_enough)))
            .collect();
        thread::sleep(LOAD);
        // Busy to the end.
        server.terminate();
        is_enough.store(true, Ordering::SeqCst);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        for (number, stream) in streams.into_iter().enumerate() {
            // An end that is cut off would be an error.
            let given = stream.join().unwrap().unwrap();
            assert!(given.len() > 100, "stream {number}: only {} events", given.len());
            let is_dense = given.windows(2).all(|pair| pair[1] == pair[0] + 1);
            assert!(is_dense, "stream {number}: {given:?}");
        }
    });
}

/// Open sockets of a process.
fn sockets(process: u32) -> usize {
    let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let names = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    names
        .filter(|name| name.to_string_lossy().starts_with("socket:"))
        .count()
}

#[test]
fn whoever_goes_leaves_no_socket_behind_under_load_or_in_silence() {
    const STREAMS: usize = 30;
    let data = tempfile::tempdir().unwrap();
    let server = server(&data.path().join("data"));
    let address = server.address();
    let open = || {
        let mut streams: Vec<_> = (0..STREAMS)
            .map(|_| SseStream::open(address, "/v1/events?after=now", &[]).unwrap())
            .collect();
        for stream in &mut streams {
            // Live by now, and busy.
            for _ in 0..20 {
                stream.next_event().unwrap().unwrap();
            }
        }
        streams
    };
    let is_down_to = |expected: usize| {
        let begun = Instant::now();
        while sockets(server.id()) > expected {
            assert!(begun.elapsed() < LIMIT, "{} of {expected}", sockets(server.id()));
            thread::sleep(Duration::from_millis(10));
        }
    };
    let is_enough = &AtomicBool::new(false);
    let (alone, left) = thread::scope(|scope| {
        for number in 0..SENDERS {
            scope.spawn(move || send(address, number, is_enough));
        }
        thread::sleep(LOAD / 4);
        let alone = sockets(server.id());
        let streams = open();
        assert_eq!(sockets(server.id()), alone + STREAMS);
        drop(streams);
        is_down_to(alone);
        let left = open();
        is_enough.store(true, Ordering::SeqCst);
        (alone, left)
    });
    drop(left);
    is_down_to(alone - SENDERS as usize);
}
