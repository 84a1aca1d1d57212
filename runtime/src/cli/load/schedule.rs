//! What to send next: one command of each aggregate at a time, in the order of the file. Pure: no I/O, no clock of its own.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::line::LoadCommand;
use crate::{
    client::{Backoff, ClientError, spread},
    vocabulary::{AggregateId, AggregateType},
};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

type Aggregate = (AggregateType, AggregateId);

/// A command on its way, with what has been tried.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) command: LoadCommand,
    pub(crate) retries: u64,
    /// When it is given up; set with the first try.
    until: Option<Instant>,
    backoff: Backoff,
}

impl Errand {
    fn new(command: LoadCommand) -> Self {
        Self {
            command,
            retries: 0,
            until: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
        }
    }

    /// It is being tried.
    pub(crate) fn begin(&mut self, now: Instant, retry_for: Duration) {
        self.until.get_or_insert(now + retry_for);
    }

    /// When to try again after a failure; none when it must not or need not be.
    pub(crate) fn again_at(&mut self, error: &ClientError, now: Instant) -> Option<Instant> {
        if !may_retry(error, self.command.key.is_some()) {
            return None;
        }
        self.tries_again_at(error, now)
    }

    /// The same where it has not been sent, so that any way to the server that may come back is worth waiting for.
    pub(crate) fn unsent_again_at(&mut self, error: &ClientError, now: Instant) -> Option<Instant> {
        can_help(error).then(|| self.tries_again_at(error, now))?
    }

    fn tries_again_at(&mut self, error: &ClientError, now: Instant) -> Option<Instant> {
        let at = now + self.backoff.next(retry_after(error), spread());
        let is_in_time = self.until.is_none_or(|until| at <= until);
        is_in_time.then(|| {
            self.retries += 1;
            at
        })
    }

    fn aggregate(&self) -> Aggregate {
        (self.command.aggregate_type.clone(), self.command.id.clone())
    }
}

/// The commands of one stream that are not answered for good.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// Can be sent, in the order of the file but for those that are tried again.
    ready: VecDeque<Errand>,
    /// Sent, by the number of their line on the stream.
    under_way: HashMap<u64, Errand>,
    /// To be tried again, with why they failed.
    later: BTreeMap<(Instant, u64), (Errand, ClientError)>,
    /// For each aggregate with a command in one of the above, the later ones.
    behind: HashMap<Aggregate, VecDeque<Errand>>,
    count: usize,
    bytes: usize,
}

impl Schedule {
    /// Adds a command.
    pub(crate) fn add(&mut self, command: LoadCommand) {
        self.count += 1;
        self.bytes += command.size_bytes();
        let errand = Errand::new(command);
        match self.behind.get_mut(&errand.aggregate()) {
            Some(behind) => behind.push_back(errand),
            None => {
                self.behind.insert(errand.aggregate(), VecDeque::new());
                self.ready.push_back(errand);
            }
        }
    }

    /// The next command to send.
    pub(crate) fn next(&mut self) -> Option<Errand> {
        self.ready.pop_front()
    }

    /// Whether there is a command to send.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The command was not sent after all.
    pub(crate) fn put_back(&mut self, errand: Errand) {
        self.ready.push_front(errand);
    }

    /// The command was sent.
    pub(crate) fn sent(&mut self, line: u64, errand: Errand) {
        self.under_way.insert(line, errand);
    }

    /// The command that was sent as this line.
    pub(crate) fn answered(&mut self, line: u64) -> Option<Errand> {
        self.under_way.remove(&line)
    }

    /// Everything that was sent and not answered, in the order of the lines.
    pub(crate) fn unanswered(&mut self) -> Vec<Errand> {
        let mut unanswered: Vec<(u64, Errand)> = self.under_way.drain().collect();
        unanswered.sort_unstable_by_key(|(line, _)| *line);
        unanswered.into_iter().map(|(_, errand)| errand).collect()
    }

    /// The command is to be tried again; those of its aggregate wait for it.
    pub(crate) fn again(&mut self, at: Instant, errand: Errand, error: ClientError) {
        self.later.insert((at, errand.command.line), (errand, error));
    }

    /// The command has its answer, or is given up: the next of its aggregate may go.
    pub(crate) fn done(&mut self, errand: &Errand) {
        self.count -= 1;
        self.bytes -= errand.command.size_bytes();
        let aggregate = errand.aggregate();
        match self.behind.get_mut(&aggregate).and_then(VecDeque::pop_front) {
            Some(next) => self.ready.push_back(next),
            None => drop(self.behind.remove(&aggregate)),
        }
    }

    /// When the next command is to be tried again.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.later.keys().next().map(|(at, _)| *at)
    }

    /// Makes ready what is due: before the others, as it comes from further up in the file.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let (errand, _) = entry.remove();
            self.ready.push_front(errand);
        }
    }

    /// Gives up everything that is not under way: what has failed before, with why, and what was never sent.
    pub(crate) fn give_up(&mut self) -> (Vec<(Errand, ClientError)>, Vec<LoadCommand>) {
        let failed: Vec<_> = std::mem::take(&mut self.later).into_values().collect();
        let behind = self.behind.values_mut().flat_map(std::mem::take);
        let unsent: Vec<_> = self
            .ready
            .drain(..)
            .chain(behind)
            .map(|errand| errand.command)
            .collect();
        let bytes = failed.iter().map(|(errand, _)| errand.command.size_bytes());
        self.bytes -= bytes.sum::<usize>() + unsent.iter().map(LoadCommand::size_bytes).sum::<usize>();
        self.count -= failed.len() + unsent.len();
        (failed, unsent)
    }

    /// Commands that were sent and not answered.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Commands that are not answered for good.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Their memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether trying again can help, and can do no harm: nothing was decided, or the key makes it the same decision.
fn may_retry(error: &ClientError, has_key: bool) -> bool {
    can_help(error) && (has_key || error.nothing_happened())
}

/// Whether the same may fare better later.
pub(crate) fn can_help(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Lost { .. } | ClientError::TimedOut { .. } => true,
        // 408 ends a stream that was silent for too long; the line came when it had ended.
        ClientError::Problem(problem) => matches!(problem.status, 408 | 429 | 503),
        _ => false,
    }
}

fn retry_after(error: &ClientError) -> Option<Duration> {
    match error {
        ClientError::Problem(problem) => problem.retry_after_seconds.map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Problem;

    fn command(line: u64, id: &str) -> LoadCommand {
        let text = format!(r#"{{"type":"a","id":"{id}","command":"go"}}"#);
        LoadCommand::read(line, text.as_bytes(), None).unwrap()
    }

    fn busy() -> ClientError {
        let body = r#"{"type":"urn:annals:problem:busy"}"#;
        ClientError::Problem(Box::new(Problem::read(429, None, body.into()).unwrap()))
    }

    #[test]
    fn only_what_can_help_and_do_no_harm_is_tried_again() {
        let (address, cause) = (String::new(), String::new());
        let limit = Duration::from_secs(1);
        let problem = |status, slug: &str| {
            let body = format!(r#"{{"type":"urn:annals:problem:{slug}"}}"#);
            ClientError::Problem(Box::new(Problem::read(status, None, body.into()).unwrap()))
        };
        let unreachable = ClientError::Unreachable {
            address: address.clone(),
            cause: cause.clone(),
        };
        let lost = ClientError::Lost {
            address: address.clone(),
            cause,
        };
        let cases = [
            (unreachable, true, true),
            (lost, false, true),
            (ClientError::TimedOut { address, limit }, false, true),
            (problem(429, "busy"), true, true),
            (problem(408, "request-timeout"), true, true),
            (problem(503, "unavailable"), true, true),
            (problem(503, "outcome-unknown"), false, true),
            (problem(507, "disk-full"), false, false),
            (problem(500, "module-trapped"), false, false),
            (problem(412, "precondition-failed"), false, false),
            (problem(404, "unknown-type"), false, false),
        ];
        for (error, without_key, with_key) in cases {
            assert_eq!(may_retry(&error, false), without_key, "{error:?}");
            assert_eq!(may_retry(&error, true), with_key, "{error:?}");
        }
    }

    #[test]
    fn an_aggregate_has_one_command_on_its_way_and_in_the_order_of_the_file() {
        let mut schedule = Schedule::default();
        for (line, id) in [(1, "x"), (2, "x"), (3, "y"), (4, "x")] {
            schedule.add(command(line, id));
        }
        let first = schedule.next().unwrap();
        let other = schedule.next().unwrap();
        assert_eq!((first.command.line, other.command.line), (1, 3));
        assert!(schedule.next().is_none());
        schedule.sent(1, first);
        schedule.sent(2, other);
        let other = schedule.answered(2).unwrap();
        schedule.done(&other);
        assert!(!schedule.has_ready());
        // A failure lets nobody past.
        let mut first = schedule.answered(1).unwrap();
        let now = Instant::now();
        first.begin(now, Duration::from_secs(60));
        let at = first.again_at(&busy(), now).unwrap();
        schedule.again(at, first, busy());
        assert!(!schedule.has_ready() && schedule.next_due() == Some(at));
        schedule.wake(at);
        for line in [1, 2, 4] {
            let next = schedule.next().unwrap();
            assert_eq!(next.command.line, line);
            assert!(schedule.next().is_none());
            schedule.done(&next);
        }
        assert_eq!((schedule.count(), schedule.bytes()), (0, 0));
        assert!(schedule.behind.is_empty());
    }

    #[test]
    fn what_is_given_up_is_all_told() {
        let mut schedule = Schedule::default();
        for line in 1..=9 {
            schedule.add(command(line, ["x", "y", "z"][(line % 3) as usize]));
        }
        let failed = schedule.next().unwrap();
        let sent = schedule.next().unwrap();
        schedule.sent(1, sent);
        schedule.again(Instant::now(), failed, busy());
        let (failed, unsent) = schedule.give_up();
        assert_eq!((failed.len(), unsent.len(), schedule.count()), (1, 7, 1));
        let last = schedule.unanswered().pop().unwrap();
        schedule.done(&last);
        assert_eq!((schedule.count(), schedule.bytes()), (0, 0));
    }

    #[test]
    fn a_command_is_given_up_in_time() {
        let mut schedule = Schedule::default();
        schedule.add(command(1, "x"));
        let mut errand = schedule.next().unwrap();
        let now = Instant::now();
        errand.begin(now, Duration::from_secs(1));
        let mut at = now;
        let mut tries = 0;
        while let Some(next) = errand.again_at(&busy(), at) {
            assert!(next <= now + Duration::from_secs(1) && next > at);
            at = next;
            tries += 1;
        }
        assert!((2..20).contains(&tries), "{tries}");
        assert_eq!(errand.retries, tries);
    }
}
