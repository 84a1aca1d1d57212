//! The load generator: keep-alive connections on one thread, each with one request under way.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep_until};

use crate::{
    failed::Failed,
    ledger::Acknowledged,
    numbers::nanos,
    wire::{Answer, Wire},
};

/// What one connection asks, one request after the other.
pub(crate) trait Script: Send + 'static {
    /// Puts the next request into the empty buffer; false when there is none.
    fn next(&mut self, request: &mut Vec<u8>) -> bool;

    /// Takes the answer to the last request. An error ends the benchmark.
    fn answered(&mut self, answer: &Answer<'_>) -> Result<(), Failed>;

    /// The commands that were acknowledged.
    fn into_acknowledged(self) -> Vec<Acknowledged>;
}

/// How long requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Span {
    /// Until no script has another request.
    ToTheEnd,
    /// For a time, of which the beginning is not counted.
    Timed { warm_up: Duration, measured: Duration },
}

impl Span {
    /// How long requests are sent at most.
    pub(crate) fn length(self) -> Duration {
        match self {
            Self::ToTheEnd => LONGEST,
            Self::Timed { warm_up, measured } => warm_up + measured,
        }
    }

    /// How long all of it may take, with the last answers.
    pub(crate) fn limit(self) -> Duration {
        self.length() + LAST_ANSWERS
    }
}

/// When the connections of a run send: each as soon as it has its answer, or at a rate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// The next request when the answer to the last has come.
    Closed,
    /// So many requests per second over all connections, evenly. One that is late since an answer was is asked at once, and
    /// its latency counts from when it was due.
    PerSecond(u32),
}

/// No step of the benchmark takes longer, unless something hangs.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How long after the end of the measured time the last answers may come.
const LAST_ANSWERS: Duration = Duration::from_secs(60);
/// The runtime's timer rings up to so much late: it counts in milliseconds, and waits for whole ones.
const TIMER: Duration = Duration::from_millis(2);

/// What was seen within the measured time.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Of answers with a 2xx, nanoseconds each.
    pub(crate) latencies: Vec<u64>,
    /// Answers with a 2xx by the second in which they came.
    pub(crate) per_second: Vec<u64>,
    /// All other answers, by status. Those of the warm-up too: none is ever overlooked.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// The text of one of them.
    pub(crate) refusal: Option<String>,
    /// The measured time.
    pub(crate) time: Duration,
    /// The longest time within it in which no answer came at all, over any connection.
    pub(crate) stall: Duration,
}

impl Seen {
    /// Answers with a 2xx.
    pub(crate) fn answered(&self) -> u64 {
        self.latencies.len() as u64
    }

    pub(crate) fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Ends the benchmark when anything but a 2xx came.
    pub(crate) fn all_answered(&self, what: &str) -> Result<(), Failed> {
        match &self.refusal {
            None => Ok(()),
            Some(text) => Err(Failed::new(format!(
                "{what}: {} answers were not 2xx; one of them: {text}",
                self.refused_total()
            ))),
        }
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (second, number) in other.per_second.into_iter().enumerate() {
            self.count(second, number);
        }
        for (status, number) in other.refused {
            *self.refused.entry(status).or_default() += number;
        }
        self.refusal = self.refusal.take().or(other.refusal);
        self.stall = self.stall.max(other.stall);
    }

    /// Counts an answer with a 2xx, provided that it came within the measured time.
    pub(crate) fn success(&mut self, clock: &Clock, asked: Instant, now: Instant) {
        if clock.counts(now) {
            self.latencies.push(nanos(now - asked));
            self.count((now - clock.from).as_secs() as usize, 1);
            self.stall = self.stall.max(clock.silence(now));
        }
    }

    /// Counts any other answer.
    pub(crate) fn refuse(&mut self, status: u16, text: impl FnOnce() -> String) {
        *self.refused.entry(status).or_default() += 1;
        self.refusal.get_or_insert_with(text);
    }

    /// Sets what is known only at the end.
    pub(crate) fn end(&mut self, clock: &Clock) {
        self.time = clock.time();
        // The second in which the last answers came is not a whole one.
        if let Some(until) = clock.until {
            self.per_second.resize((until - clock.from).as_secs() as usize, 0);
            self.stall = self.stall.max(clock.silence(until));
        }
    }

    fn count(&mut self, second: usize, number: u64) {
        if self.per_second.len() <= second {
            self.per_second.resize(second + 1, 0);
        }
        if let Some(count) = self.per_second.get_mut(second) {
            *count += number;
        }
    }
}

/// Runs one script for each connection, and gives the scripts back.
pub(crate) fn drive<S: Script>(
    address: SocketAddr,
    scripts: Vec<S>,
    span: Span,
) -> Result<(Seen, Vec<S>), Failed> {
    drive_at(Pace::Closed, address, scripts, span)
}

/// The same at a pace.
pub(crate) fn drive_at<S: Script>(
    pace: Pace,
    address: SocketAddr,
    scripts: Vec<S>,
    span: Span,
) -> Result<(Seen, Vec<S>), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::io("start the load generator", &error))?;
    let limit = span.limit();
    runtime.block_on(async {
        tokio::time::timeout(limit, converse_all(pace, address, scripts, span))
            .await
            .map_err(|_| Failed::new(format!("some answers have not come within {} s", limit.as_secs())))?
    })
}

async fn converse_all<S: Script>(
    pace: Pace,
    address: SocketAddr,
    scripts: Vec<S>,
    span: Span,
) -> Result<(Seen, Vec<S>), Failed> {
    let mut connections = Vec::with_capacity(scripts.len());
    for script in scripts {
        connections.push((Wire::open(address).await?, script));
    }
    let clock = Clock::start(span);
    let mut running = JoinSet::new();
    let count = connections.len();
    for (place, (wire, script)) in connections.into_iter().enumerate() {
        let turns = Turns::of(pace, place, count, &clock);
        running.spawn(converse(turns, wire, script, clock.clone()));
    }
    let mut all = Seen::default();
    let mut scripts = Vec::with_capacity(running.len());
    while let Some(ended) = running.join_next().await {
        let (seen, script) =
            ended.map_err(|error| Failed::new(format!("a connection panicked: {error}")))??;
        all.add(seen);
        scripts.push(script);
    }
    all.end(&clock);
    Ok((all, scripts))
}

/// The measured time, shared by the connections of a run.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    started: Instant,
    /// When the warm-up is over.
    from: Instant,
    until: Option<Instant>,
    /// When the last answer came, nanoseconds after `from`.
    last: Arc<AtomicU64>,
}

impl Clock {
    pub(crate) fn start(span: Span) -> Self {
        let now = Instant::now();
        match span {
            Span::ToTheEnd => Self {
                started: now,
                from: now,
                until: None,
                last: Arc::default(),
            },
            Span::Timed { warm_up, measured } => Self {
                started: now,
                from: now + warm_up,
                until: Some(now + warm_up + measured),
                last: Arc::default(),
            },
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether an answer at this instant counts: a rate is made of what was finished within the time.
    fn counts(&self, at: Instant) -> bool {
        at >= self.from && self.until.is_none_or(|until| at < until)
    }

    /// How long it is since the answer before this one.
    fn silence(&self, now: Instant) -> Duration {
        let now = nanos(now - self.from);
        let before = self.last.fetch_max(now, Ordering::Relaxed);
        Duration::from_nanos(now.saturating_sub(before))
    }

    fn time(&self) -> Duration {
        self.until.unwrap_or_else(Instant::now) - self.from
    }
}

/// When one connection sends.
#[derive(Debug)]
struct Turns {
    /// When the next request is due, and how long after it the one after that.
    due: Option<(Instant, Duration)>,
}

impl Turns {
    fn of(pace: Pace, place: usize, connections: usize, clock: &Clock) -> Self {
        let due = match pace {
            Pace::Closed => None,
            Pace::PerSecond(rate) => {
                let between = Duration::from_secs(1) / rate.max(1);
                let (place, connections) = (place as u32, connections as u32);
                Some((clock.started + between * place, between * connections))
            }
        };
        Self { due }
    }

    /// Waits for the next turn, and tells from when on its request waits: from when it was due. Only what a timer is always
    /// late by is not the server's; a generator that gets no processor is later, and its requests have waited.
    async fn next(&mut self) -> Instant {
        let Some((due, between)) = &mut self.due else {
            return Instant::now();
        };
        let turn = *due;
        *due += *between;
        if turn <= Instant::now() {
            return turn;
        }
        sleep_until(turn.into()).await;
        Instant::now().min(turn + TIMER)
    }
}

async fn converse<S: Script>(
    mut turns: Turns,
    mut wire: Wire,
    mut script: S,
    clock: Clock,
) -> Result<(Seen, S), Failed> {
    let mut seen = Seen::default();
    let mut request = Vec::with_capacity(512);
    while !clock.is_over() {
        request.clear();
        if !script.next(&mut request) {
            break;
        }
        let asked = turns.next().await;
        let answer = wire.ask(&request).await?;
        let now = Instant::now();
        script.answered(&answer)?;
        if answer.is_success() {
            seen.success(&clock, asked, now);
        } else {
            seen.refuse(answer.status, || answer.text());
        }
    }
    Ok((seen, script))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;

    /// Sends as often as it may; the server refuses every second request.
    struct Asking {
        left: usize,
        successes: usize,
    }

    impl Script for Asking {
        fn next(&mut self, request: &mut Vec<u8>) -> bool {
            request.extend_from_slice(b"ask!");
            self.left = self.left.saturating_sub(1);
            self.left > 0
        }

        fn answered(&mut self, answer: &Answer<'_>) -> Result<(), Failed> {
            self.successes += usize::from(answer.is_success());
            Ok(())
        }

        fn into_acknowledged(self) -> Vec<Acknowledged> {
            Vec::new()
        }
    }

    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut request = [0; 4];
                    let mut statuses = ["200 OK", "429 Too Many Requests"].iter().cycle();
                    while stream.read_exact(&mut request).is_ok() {
                        let status = statuses.next().unwrap();
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nhi");
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                });
            }
        });
        address
    }

    fn scripts(connections: usize, left: usize) -> Vec<Asking> {
        (0..connections).map(|_| Asking { left, successes: 0 }).collect()
    }

    #[test]
    fn everything_is_sent_and_every_refusal_counted() {
        let (seen, scripts) = drive(server(), scripts(3, 11), Span::ToTheEnd).unwrap();
        assert_eq!((seen.answered(), seen.refused_total()), (15, 15));
        assert_eq!(seen.refused, BTreeMap::from([(429, 15)]));
        assert_eq!(scripts.iter().map(|script| script.successes).sum::<usize>(), 15);
        let refused = seen.all_answered("the test").unwrap_err().to_string();
        assert!(
            refused.contains("15 answers") && refused.contains("429 hi"),
            "{refused}"
        );
    }

    #[test]
    fn a_pace_is_kept_and_what_is_late_counts_from_when_it_was_due() {
        let span = Span::Timed {
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(1),
        };
        let (seen, _) = drive_at(Pace::PerSecond(200), server(), scripts(4, usize::MAX), span).unwrap();
        let sent = seen.answered() + seen.refused_total();
        assert!((150..=200).contains(&sent), "{sent}");

        // In the warm-up too, of which nothing counts.
        let half = Duration::from_millis(500);
        let halves = Span::Timed {
            warm_up: half,
            measured: half,
        };
        let (seen, scripts) =
            drive_at(Pace::PerSecond(200), server(), scripts(4, usize::MAX), halves).unwrap();
        let asked: usize = scripts.iter().map(|script| usize::MAX - script.left).sum();
        let counted = seen.answered() as usize;
        assert!(
            (150..=204).contains(&asked) && counted <= 60,
            "{asked}, {counted}"
        );

        let clock = Clock::start(span);
        let mut turns = Turns::of(Pace::PerSecond(1_000), 3, 4, &clock);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let late = runtime.block_on(async {
            std::thread::sleep(Duration::from_millis(20));
            (turns.next().await, turns.next().await)
        });
        let after = |turn: Instant| (turn - clock.from).as_millis();
        assert_eq!((after(late.0), after(late.1)), (3, 7));

        // A generator that gets no processor is not the timer: what it is late by counts, too.
        let clock = Clock::start(span);
        let mut turns = Turns::of(Pace::PerSecond(100), 1, 2, &clock);
        let starved = runtime.block_on(async {
            let hog = tokio::spawn(async { std::thread::sleep(Duration::from_millis(100)) });
            let turn = turns.next().await;
            hog.await.unwrap();
            turn
        });
        let due = Duration::from_millis(10);
        assert!((due..=due + TIMER).contains(&(starved - clock.from)));
    }

    #[test]
    fn the_warm_up_is_cut_off() {
        let span = Span::Timed {
            warm_up: Duration::from_millis(300),
            measured: Duration::from_secs(1),
        };
        let (seen, scripts) = drive(server(), scripts(2, usize::MAX), span).unwrap();
        let sent = scripts.iter().map(|script| script.successes as u64).sum::<u64>();
        assert!(
            seen.answered() > 0 && seen.answered() < sent,
            "{} of {sent}",
            seen.answered()
        );
        assert_eq!(seen.per_second, [seen.answered()]);
        assert_eq!(seen.time, Duration::from_secs(1));
        assert!(
            seen.stall > Duration::ZERO && seen.stall <= seen.time,
            "{:?}",
            seen.stall
        );
    }
}
