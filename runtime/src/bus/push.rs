//! Frames that are pushed: one task writes what a relay broadcasts to all of those who take it as it comes.
//!
//! Whoever follows has a task that waits for its socket. A hundred of them are a hundred wakes for each frame, and as many
//! passages through what speaks HTTP, to do the same: hand the system these bytes. So a subscriber that keeps up gives a
//! pusher its [`Outlet`] and its place in the broadcast, and waits to be given them back: when there is no room in the outlet,
//! when it is quiet, when there is something else than a frame to be told of. What it gets back is exactly where the pusher
//! stopped, so it goes on from there by itself, and comes again when it has caught up.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{
        broadcast::{
            Receiver,
            error::{RecvError, TryRecvError},
        },
        mpsc, oneshot,
    },
    time::{Instant, sleep_until, timeout},
};

use super::{Signal, relay::Frame};
use crate::vocabulary::{Limits, Position};

/// Where the frames of a subscriber can be put without waiting.
pub trait Outlet: fmt::Debug + Send + Sync {
    /// Takes a frame, and passes on at once as much of it as there is room for; the rest, if any, is kept.
    fn put(&self, frame: &Bytes) -> Put;
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// All of it has been passed on.
    Passed,
    /// Some of it is kept: there is no room for the next one.
    Kept,
    /// Nobody is there who would want it.
    Gone,
}

/// How frames are pushed.
#[derive(Debug, Clone, Copy)]
struct Manner {
    /// So many outlets for each pusher, which puts a frame into one after the other.
    outlets: usize,
    /// So many pauses within the time until the next frame.
    pauses: usize,
    /// After so long without a frame everybody is on their own again.
    silence: Duration,
    /// So many positions may be passed over before a subscriber is told.
    untold: u64,
}

/// A subscriber that wants frames to be pushed.
#[derive(Debug)]
pub(super) struct Join {
    /// Everything up to here is in its outlet.
    pub(super) reached: Position,
    /// The broadcast; whatever is after `reached` is to come from it.
    pub(super) receiver: Receiver<Signal>,
    pub(super) outlet: Arc<dyn Outlet>,
    pub(super) back: oneshot::Sender<Back>,
}

/// What a subscriber goes on with by itself.
#[derive(Debug)]
pub(super) struct Back {
    /// The last event that was put into its outlet, unless nothing was.
    pub(super) last: Option<Position>,
    /// Everything up to here was, or is not wanted.
    pub(super) through: Position,
    /// What comes next, before what is received; some of it may come both ways.
    pub(super) next: VecDeque<Received>,
    pub(super) receiver: Receiver<Signal>,
}

/// What the broadcast says; an error, when some of it was lost or it has ended.
pub(super) type Received = Result<Signal, RecvError>;

/// The pushers of one relay.
#[derive(Debug)]
pub(super) struct Pushers {
    all: Vec<Handle>,
    manner: Manner,
}

#[derive(Debug)]
struct Handle {
    joins: mpsc::Sender<Join>,
    outlets: Arc<AtomicUsize>,
}

impl Pushers {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            all: Vec::new(),
            manner: Manner {
                outlets: limits.pushed_streams,
                pauses: pauses(limits.stream_gather),
                silence: silence(limits),
                untold: limits.checkpoint_positions,
            },
        }
    }

    /// Hands a subscriber to a pusher, which hands it back at once if it cannot have it.
    pub(super) fn join(&mut self, mut join: Join) {
        self.all.retain(|pusher| !pusher.joins.is_closed());
        for pusher in &self.all {
            if pusher.outlets.load(Ordering::Acquire) >= self.manner.outlets {
                continue;
            }
            pusher.outlets.fetch_add(1, Ordering::AcqRel);
            match pusher.joins.try_send(join) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back)) => {
                    pusher.outlets.fetch_sub(1, Ordering::AcqRel);
                    join = back;
                }
            }
        }
        self.all.push(Pusher::start(join, self.manner));
    }
}

/// Silence that ends pushing, in times for which a busy stream gathers.
const QUIET_GATHERS: u32 = 10;

/// As short as tokio's timers are.
const PAUSE: Duration = Duration::from_millis(1);

/// As many as there is time for while a busy stream gathers, with a fifth of it to spare.
fn pauses(gather: Duration) -> usize {
    let most = gather.as_millis() * 4 / 5 / PAUSE.as_millis();
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// How many of so many outlets are given a frame before each pause.
fn at_once(outlets: usize, pauses: usize) -> usize {
    outlets.div_ceil(pauses.max(1)).max(1)
}

/// Shorter than the pause between frames that only say how far the log has been looked through, which come each half
/// heartbeat: whoever is given nothing else has heartbeats to send.
fn silence(limits: &Limits) -> Duration {
    let quiet = limits.stream_gather.saturating_mul(QUIET_GATHERS);
    quiet.min(limits.heartbeat / 4)
}

/// The task.
struct Pusher {
    manner: Manner,
    joins: mpsc::Receiver<Join>,
    outlets: Arc<AtomicUsize>,
    members: Vec<Member>,
    /// Those who have got further than this task.
    early: Vec<Join>,
    receiver: Receiver<Signal>,
    /// What was received already, before what is received next.
    next: VecDeque<Received>,
    /// Everything up to here has been put into all outlets.
    through: Position,
    /// The last event of that.
    last: Option<Position>,
}

struct Member {
    /// The last event before it joined.
    joined: Option<Position>,
    outlet: Arc<dyn Outlet>,
    back: oneshot::Sender<Back>,
}

impl Pusher {
    /// Begins where the first subscriber is.
    fn start(first: Join, manner: Manner) -> Handle {
        let (joins, joining) = mpsc::channel(manner.outlets);
        let outlets = Arc::new(AtomicUsize::new(1));
        let pusher = Self {
            manner,
            joins: joining,
            outlets: Arc::clone(&outlets),
            members: vec![Member {
                joined: None,
                outlet: first.outlet,
                back: first.back,
            }],
            early: Vec::new(),
            receiver: first.receiver,
            next: VecDeque::new(),
            through: first.reached,
            last: None,
        };
        tokio::spawn(pusher.run());
        Handle { joins, outlets }
    }

    async fn run(mut self) {
        loop {
            let received = match self.next.pop_front() {
                Some(received) => received,
                None => tokio::select! {
                    Some(join) = self.joins.recv() => {
                        self.take_in(join);
                        continue;
                    }
                    received = timeout(self.manner.silence, self.receiver.recv()) => match received {
                        Ok(received) => received,
                        Err(_) => break,
                    },
                },
            };
            match received {
                Ok(Signal::Frame(frame)) => self.push(&frame).await,
                // Each has to see to that by itself.
                other => {
                    self.next.push_front(other);
                    break;
                }
            }
            if self.members.is_empty() && self.early.is_empty() || self.has_untold() {
                break;
            }
        }
        self.end().await;
    }

    /// Whether subscribers should be told how far they are, since it is far from their last event.
    fn has_untold(&self) -> bool {
        let last = self.last.unwrap_or_default();
        self.last.is_some() && self.through.0 - last.0 >= self.manner.untold
    }

    fn take_in(&mut self, join: Join) {
        if join.reached > self.through {
            self.early.push(join);
        } else if join.reached == self.through {
            self.members.push(Member {
                joined: self.last,
                outlet: join.outlet,
                back: join.back,
            });
        } else {
            // It has not taken what all others have been given.
            self.refuse(join);
        }
    }

    async fn push(&mut self, frame: &Frame) {
        // The first subscriber may have read a part of the frame from the store.
        let written = frame.after(self.through);
        self.through = self.through.max(frame.through);
        if let Some(written) = &written {
            self.last = Some(written.position());
            self.put(written.bytes()).await;
        }
        for join in std::mem::take(&mut self.early) {
            self.take_in(join);
        }
    }

    async fn put(&mut self, frame: &Bytes) {
        let at_once = at_once(self.members.len(), self.manner.pauses);
        let (mut at, mut done, mut due) = (0_usize, 0_usize, Instant::now());
        while let Some(member) = self.members.get(at) {
            if member.back.is_closed() {
                self.leave(at);
                continue;
            }
            match member.outlet.put(frame) {
                Put::Passed => at += 1,
                Put::Kept | Put::Gone => {
                    let member = self.leave(at);
                    self.give_back(member);
                }
            }
            done += 1;
            // A frame takes the system tens of microseconds. Whoever waits for an answer to a command goes first, and many
            // outlets are spread over the time until the next frame: all at once, they would take both processors for it.
            tokio::task::yield_now().await;
            let is_late = !self.next.is_empty() || !self.receiver.is_empty();
            if done.is_multiple_of(at_once) && at < self.members.len() && !is_late {
                // By the time since the frame came: each pause by itself lasts longer than it should.
                due += PAUSE;
                sleep_until(due).await;
            }
        }
    }

    fn leave(&mut self, at: usize) -> Member {
        self.outlets.fetch_sub(1, Ordering::AcqRel);
        self.members.swap_remove(at)
    }

    /// Lets a subscriber go on from where this task is.
    fn give_back(&mut self, member: Member) {
        // What comes from now on; what came before is received here, and some of it both here and there.
        let receiver = self.receiver.resubscribe();
        self.receive_all();
        let back = Back {
            last: self.last.filter(|_| self.last != member.joined),
            through: self.through,
            next: self.next.clone(),
            receiver,
        };
        // An error says that it is gone.
        drop(member.back.send(back));
    }

    /// Receives what is there.
    fn receive_all(&mut self) {
        loop {
            let received = match self.receiver.try_recv() {
                Ok(signal) => Ok(signal),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            };
            self.next.push_back(received);
        }
    }

    fn refuse(&self, join: Join) {
        self.outlets.fetch_sub(1, Ordering::AcqRel);
        let back = Back {
            last: None,
            through: join.reached,
            next: VecDeque::new(),
            receiver: join.receiver,
        };
        drop(join.back.send(back));
    }

    async fn end(mut self) {
        self.joins.close();
        // Also those who are about to join: they have a place already.
        while let Some(join) = self.joins.recv().await {
            self.refuse(join);
        }
        for join in std::mem::take(&mut self.early) {
            self.refuse(join);
        }
        while let Some(member) = self.members.pop() {
            self.give_back(member);
        }
    }
}

#[cfg(test)]
mod tests;
