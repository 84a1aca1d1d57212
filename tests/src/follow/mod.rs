//! Very many subscribers of a feed, read by one thread that looks at each as cheaply as can be and checks its order.
//!
//! It looks at every socket each few milliseconds and takes what is there, so that its cost is that of copying what was
//! sent. What each subscriber is given must be every position after the one it started from, one after the other.

mod answer;
mod frames;
mod places;
mod reader;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use answer::Answer;
pub use frames::{Frame, Frames};
pub use places::Places;

use reader::Reader;

/// How often every socket is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A read takes as much as this.
const READ_BYTES: usize = 256 * 1024;

/// Who follows, from where.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is asked for, as `/v1/events?after=now`.
    pub path: String,
    /// Subscribers that read whatever has come.
    pub fast: usize,
    /// Subscribers that read a few bytes a second until they are released, through a link with small packets and a
    /// small window, so that the systems on both sides hold little of what they do not read.
    pub slow: usize,
    /// The position before the first that they are given; none for whatever the first may be.
    pub after: Option<u64>,
}

/// What one subscriber was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Events, each at the position after the one before.
    pub events: u64,
    /// How often it was told that it is at the end.
    pub caught_up: u64,
    /// How often it was told that it is too slow for what is live.
    pub fell_behind: u64,
    /// The last position.
    pub position: u64,
}

/// Which of the subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those that read whatever has come.
    Fast,
    /// Those that hardly read.
    Slow,
}

/// Subscribers that are being read.
#[derive(Debug)]
pub struct Subscribers {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<Vec<Told>>>>,
    /// The thread, below `/proc`.
    task: String,
    fast: usize,
}

/// What the reading thread tells and is told.
#[derive(Debug, Default)]
struct Shared {
    /// The position of each, the fast ones first.
    places: Vec<AtomicU64>,
    delivered: AtomicU64,
    /// Subscribers that were told at least once that they are at the end.
    caught_up: AtomicU64,
    released: AtomicBool,
    stopped: AtomicBool,
    /// Why none is read any more.
    failure: OnceLock<String>,
}

impl Subscribers {
    /// Connects all of them, and waits until each was told that it is at the end, for as long as `limit`.
    ///
    /// # Errors
    /// As the sockets say, or when one of them was not told so.
    pub fn open(address: SocketAddr, plan: &Plan, limit: Duration) -> io::Result<Self> {
        let opened = Self::start(address, plan)?;
        let count = opened.shared.places.len() as u64;
        opened.wait(limit, || {
            let caught_up = opened.shared.caught_up.load(Ordering::Acquire);
            (caught_up >= count).then_some(()).ok_or_else(|| {
                format!("{caught_up} of {count} subscribers were told that they are at the end")
            })
        })?;
        Ok(opened)
    }

    /// Connects all of them.
    ///
    /// # Errors
    /// As the sockets say.
    pub fn start(address: SocketAddr, plan: &Plan) -> io::Result<Self> {
        let slow = (0..plan.fast + plan.slow).map(|number| number >= plan.fast);
        let readers: Vec<Reader> = slow
            .map(|is_slow| Reader::open(address, &plan.path, is_slow, plan.after))
            .collect::<io::Result<_>>()?;
        let shared = Arc::new(Shared {
            places: readers.iter().map(|_| AtomicU64::new(0)).collect(),
            ..Shared::default()
        });
        let (started, task) = mpsc::channel();
        let told = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let task = std::fs::read_link("/proc/thread-self")?;
            // Whoever asked waits for it.
            drop(started.send(task.to_string_lossy().into_owned()));
            let ended = read_all(readers, &told);
            if let Err(error) = &ended {
                told.failure.get_or_init(|| error.to_string());
            }
            ended
        });
        Ok(Self {
            task: task.recv().unwrap_or_default(),
            thread: Some(thread),
            shared,
            fast: plan.fast,
        })
    }

    /// The thread that reads, as a folder below `/proc`: for its processor time.
    #[must_use]
    pub fn task(&self) -> &str {
        &self.task
    }

    /// Events that all of them together were given so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.shared.delivered.load(Ordering::Acquire)
    }

    /// How many of them stand at this position, or behind it.
    #[must_use]
    pub fn arrived(&self, which: Which, position: u64) -> usize {
        let places = self.places(which).iter();
        places
            .filter(|place| place.load(Ordering::Acquire) >= position)
            .count()
    }

    /// Waits until they stand at this position. Gives how long that took.
    ///
    /// # Errors
    /// When one was given something else than the next position, was cut off, or `limit` was over.
    pub fn wait_for(&self, which: Which, position: u64, limit: Duration) -> io::Result<Duration> {
        let count = self.places(which).len();
        self.wait(limit, || {
            let arrived = self.arrived(which, position);
            (arrived == count)
                .then_some(())
                .ok_or_else(|| format!("{arrived} of {count} subscribers stand at position {position}"))
        })
    }

    /// Lets the slow ones read whatever has come.
    pub fn release(&self) {
        self.shared.released.store(true, Ordering::Release);
    }

    /// Ends them, and gives what each was told, the fast ones first.
    ///
    /// # Errors
    /// When one was given something else than the next position, or was cut off.
    pub fn end(mut self) -> io::Result<Vec<Told>> {
        self.shared.stopped.store(true, Ordering::Release);
        self.thread.take().map_or_else(|| Ok(Vec::new()), join)
    }

    fn places(&self, which: Which) -> &[AtomicU64] {
        let (fast, slow) = self.shared.places.split_at(self.fast);
        match which {
            Which::All => &self.shared.places,
            Which::Fast => fast,
            Which::Slow => slow,
        }
    }

    fn wait(&self, limit: Duration, mut is_done: impl FnMut() -> Result<(), String>) -> io::Result<Duration> {
        let started = Instant::now();
        loop {
            let Err(missing) = is_done() else {
                return Ok(started.elapsed());
            };
            if let Some(failure) = self.shared.failure.get() {
                return Err(io::Error::other(failure.as_str()));
            }
            if started.elapsed() > limit {
                return Err(io::Error::other(format!(
                    "after {} s only {missing}",
                    limit.as_secs()
                )));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Whoever drops them does not want to know.
            drop(join(thread));
        }
    }
}

fn join(thread: JoinHandle<io::Result<Vec<Told>>>) -> io::Result<Vec<Told>> {
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread of the subscribers panicked")))
}

fn read_all(mut readers: Vec<Reader>, shared: &Shared) -> io::Result<Vec<Told>> {
    let mut buffer = vec![0; READ_BYTES];
    let mut is_released = false;
    while !shared.stopped.load(Ordering::Acquire) {
        let now = Instant::now();
        if !is_released && shared.released.load(Ordering::Acquire) {
            is_released = true;
            readers.iter_mut().try_for_each(Reader::release)?;
        }
        let mut has_more = false;
        for (number, (reader, place)) in readers.iter_mut().zip(&shared.places).enumerate() {
            if !reader.is_due(now) {
                continue;
            }
            let before = *reader.told();
            has_more |= reader
                .read(&mut buffer, now)
                .map_err(|error| io::Error::new(error.kind(), format!("subscriber {number}: {error}")))?;
            let after = reader.told();
            if after.caught_up > 0 && before.caught_up == 0 {
                shared.caught_up.fetch_add(1, Ordering::AcqRel);
            }
            shared
                .delivered
                .fetch_add(after.events - before.events, Ordering::AcqRel);
            place.store(after.position, Ordering::Release);
        }
        if !has_more {
            std::thread::sleep(LOOK_EVERY.saturating_sub(now.elapsed()));
        }
    }
    Ok(readers.iter().map(|reader| *reader.told()).collect())
}

/// Lets this process, and those that it starts from now on, have so many files open.
///
/// # Errors
/// When the system does not let it; the message says what to do.
pub fn allow_open_files(count: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(count),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        let most = limit.maximum.map_or_else(|| "no number".to_owned(), |most| most.to_string());
        io::Error::other(format!(
            "{count} files must be open at a time, and the limit of this system is {most} ({error}): raise it with \
             `ulimit -Hn {count}`"
        ))
    })
}
