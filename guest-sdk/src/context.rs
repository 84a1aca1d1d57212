//! Everything a decision may depend on beside the state and the command.

use std::cell::Cell;

/// What the host knows about the decision at hand: time, identity, and a seed. It is stored with the events, so that
/// a decision can be made again later and compared. There is no other clock and no other randomness.
///
/// ```
/// use annals_sdk::Context;
///
/// let context = Context::builder("alice").now(1_700_000_000_000).actor("ann@example.org").seed(1, 2).build();
/// assert_eq!(context.aggregate_id(), "alice");
/// assert_eq!(context.now(), 1_700_000_000_000);
/// assert_eq!(context.actor(), Some("ann@example.org"));
///
/// let again = Context::builder("alice").seed(1, 2).build();
/// assert_eq!(context.uuid(), again.uuid(), "the same seed gives the same identifiers");
/// assert_ne!(context.uuid(), context.uuid(), "every call gives another");
/// ```
#[derive(Clone)]
pub struct Context {
    /// One after the other: one piece of memory for each decision is cheaper than one for each text.
    texts: String,
    aggregate_id: Span,
    version: u64,
    now: u64,
    actor: Option<Span>,
    command_id: Span,
    correlation_id: Span,
    causation_id: Option<Span>,
    attributes: Vec<(Span, Span)>,
    random: Random,
}

/// Where in the texts one begins and ends.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    from: usize,
    to: usize,
}

/// A context in pieces that are somebody else's.
pub(crate) struct Parts<'a> {
    pub(crate) aggregate_id: &'a str,
    pub(crate) version: u64,
    pub(crate) now: u64,
    pub(crate) seed: (u64, u64),
    pub(crate) actor: Option<&'a str>,
    pub(crate) command_id: &'a str,
    pub(crate) correlation_id: &'a str,
    pub(crate) causation_id: Option<&'a str>,
}

impl From<Parts<'_>> for Context {
    fn from(parts: Parts<'_>) -> Self {
        let required = [parts.aggregate_id, parts.command_id, parts.correlation_id];
        let optional = [parts.actor, parts.causation_id];
        let length: usize = required.iter().map(|text| text.len()).sum();
        let more: usize = optional.iter().flatten().map(|text| text.len()).sum();
        let (high, low) = parts.seed;
        let mut context = Self {
            texts: String::with_capacity(length + more),
            aggregate_id: Span::default(),
            version: parts.version,
            now: parts.now,
            actor: None,
            command_id: Span::default(),
            correlation_id: Span::default(),
            causation_id: None,
            attributes: Vec::new(),
            random: Random::from_seed(high, low),
        };
        context.aggregate_id = context.put(parts.aggregate_id);
        context.command_id = context.put(parts.command_id);
        context.correlation_id = context.put(parts.correlation_id);
        context.actor = parts.actor.map(|text| context.put(text));
        context.causation_id = parts.causation_id.map(|text| context.put(text));
        context
    }
}

impl Context {
    /// A context made by hand, for tests. The host makes the real ones.
    ///
    /// ```
    /// assert_eq!(annals_sdk::Context::builder("alice").build().version(), 0);
    /// ```
    pub fn builder(aggregate_id: impl Into<String>) -> ContextBuilder {
        let aggregate_id: String = aggregate_id.into();
        let parts = Parts {
            aggregate_id: &aggregate_id,
            version: 0,
            now: 0,
            seed: (0, 0),
            actor: None,
            command_id: "command-1",
            correlation_id: "correlation-1",
            causation_id: None,
        };
        ContextBuilder {
            context: Self::from(parts),
        }
    }

    fn put(&mut self, text: &str) -> Span {
        let from = self.texts.len();
        self.texts.push_str(text);
        Span {
            from,
            to: self.texts.len(),
        }
    }

    fn text(&self, span: Span) -> &str {
        self.texts.get(span.from..span.to).unwrap_or_default()
    }

    /// Adds what newer hosts say.
    pub(crate) fn with_attribute(&mut self, name: &str, value: &str) {
        let attribute = (self.put(name), self.put(value));
        self.attributes.push(attribute);
    }

    /// Which aggregate decides.
    #[must_use]
    pub fn aggregate_id(&self) -> &str {
        self.text(self.aggregate_id)
    }

    /// The version that the decision is made on: how many events there are; 0 when the aggregate does not exist yet.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The time of the decision, in milliseconds since the Unix epoch. It never runs backwards within an aggregate,
    /// and is what gets stored with the events.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// [`now`](Self::now) in whole seconds since the Unix epoch.
    #[must_use]
    pub fn now_seconds(&self) -> u64 {
        self.now / 1000
    }

    /// Who asks, as authenticated by the host.
    #[must_use]
    pub fn actor(&self) -> Option<&str> {
        self.actor.map(|span| self.text(span))
    }

    /// Identifies this command: the idempotency key when there is one, else drawn by the host.
    #[must_use]
    pub fn command_id(&self) -> &str {
        self.text(self.command_id)
    }

    /// Shared by everything that one request of the outside world led to.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        self.text(self.correlation_id)
    }

    /// The event or command that caused this one.
    #[must_use]
    pub fn causation_id(&self) -> Option<&str> {
        self.causation_id.map(|span| self.text(span))
    }

    /// What newer hosts say beside the above.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| self.text(*key) == name)
            .map(|(_, value)| self.text(*value))
    }

    /// The next 64 bits derived from the seed: the same in a replay of this decision, another at every call. Good
    /// for identifiers and for drawing lots; not for secrets.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        self.random.next()
    }

    /// An even draw from `0..bound`; 0 when `bound` is 0. Takes from the same sequence as
    /// [`random_u64`](Self::random_u64).
    ///
    /// ```
    /// let context = annals_sdk::Context::builder("alice").build();
    /// assert!((0..100).all(|_| context.random_below(6) < 6));
    /// ```
    #[must_use]
    pub fn random_below(&self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Draws from the uneven rest of the range are thrown away.
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.random.next();
            if draw < limit {
                return draw % bound;
            }
        }
    }

    /// A new identifier derived from the seed, in the form of a version 4 UUID. Takes from the same sequence as
    /// [`random_u64`](Self::random_u64).
    ///
    /// ```
    /// assert_eq!(annals_sdk::Context::builder("alice").build().uuid().len(), 36);
    /// ```
    #[must_use]
    pub fn uuid(&self) -> String {
        let high = (self.random.next() & !0xf000) | 0x4000;
        let low = (self.random.next() & !(0b11 << 62)) | (0b10 << 62);
        let (time_low, time_mid, time_high) = (high >> 32, (high >> 16) & 0xffff, high & 0xffff);
        format!(
            "{time_low:08x}-{time_mid:04x}-{time_high:04x}-{:04x}-{:012x}",
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let attributes = self.attributes.iter();
        let attributes: Vec<_> = attributes
            .map(|(name, value)| (self.text(*name), self.text(*value)))
            .collect();
        f.debug_struct("Context")
            .field("aggregate_id", &self.aggregate_id())
            .field("version", &self.version)
            .field("now", &self.now)
            .field("actor", &self.actor())
            .field("command_id", &self.command_id())
            .field("correlation_id", &self.correlation_id())
            .field("causation_id", &self.causation_id())
            .field("attributes", &attributes)
            .field("random", &self.random)
            .finish()
    }
}

/// Makes a [`Context`] by hand, for tests.
///
/// ```
/// let context = annals_sdk::Context::builder("alice").version(7).attribute("region", "eu").build();
/// assert_eq!((context.version(), context.attribute("region")), (7, Some("eu")));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ContextBuilder {
    context: Context,
}

impl ContextBuilder {
    /// The version that the decision is made on.
    pub fn version(mut self, version: u64) -> Self {
        self.context.version = version;
        self
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(mut self, now: u64) -> Self {
        self.context.now = now;
        self
    }

    /// The seed that everything random is derived from.
    pub fn seed(mut self, high: u64, low: u64) -> Self {
        self.context.random = Random::from_seed(high, low);
        self
    }

    /// Who asks.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        let actor: String = actor.into();
        self.context.actor = Some(self.context.put(&actor));
        self
    }

    /// What identifies the command.
    pub fn command_id(mut self, id: impl Into<String>) -> Self {
        let id: String = id.into();
        self.context.command_id = self.context.put(&id);
        self
    }

    /// What the whole request shares.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        let id: String = id.into();
        self.context.correlation_id = self.context.put(&id);
        self
    }

    /// What caused the command.
    pub fn causation_id(mut self, id: impl Into<String>) -> Self {
        let id: String = id.into();
        self.context.causation_id = Some(self.context.put(&id));
        self
    }

    /// Adds an attribute.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value): (String, String) = (name.into(), value.into());
        self.context.with_attribute(&name, &value);
        self
    }

    /// The context.
    #[must_use]
    pub fn build(self) -> Context {
        self.context
    }
}

/// xoshiro256++, seeded through SplitMix64 as its authors advise. The sequence is part of the contract with stored
/// decisions: a test pins it.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: Cell<State>,
}

/// Most decisions draw nothing, so the seed is spread out at the first draw.
#[derive(Debug, Clone, Copy)]
enum State {
    Seed(u64, u64),
    Drawn([u64; 4]),
}

impl Random {
    pub(crate) fn from_seed(high: u64, low: u64) -> Self {
        Self {
            state: Cell::new(State::Seed(high, low)),
        }
    }

    fn next(&self) -> u64 {
        let [mut a, mut b, mut c, mut d] = match self.state.get() {
            State::Seed(high, low) => spread(high, low),
            State::Drawn(words) => words,
        };
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= shifted;
        d = d.rotate_left(45);
        self.state.set(State::Drawn([a, b, c, d]));
        result
    }
}

fn spread(high: u64, low: u64) -> [u64; 4] {
    let (mut high, mut low) = (high, low);
    let mut word = || split_mix(&mut low).wrapping_add(split_mix(&mut high).rotate_left(32));
    // The last word is odd, because xoshiro never leaves the state of all zeros.
    [word(), word(), word(), word() | 1]
}

/// One step of SplitMix64.
fn split_mix(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *counter;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn draws_are_distinct_and_depend_on_both_halves_of_the_seed() {
        let mut seen = BTreeSet::new();
        for (high, low) in [(0, 0), (0, 1), (1, 0), (1, 1), (u64::MAX, 0)] {
            let context = Context::builder("a").seed(high, low).build();
            seen.extend((0..1000).map(|_| context.random_u64()));
        }
        assert_eq!(seen.len(), 5000);
    }

    #[test]
    fn a_uuid_is_a_version_4_uuid() {
        let context = Context::builder("a").build();
        for _ in 0..1000 {
            let uuid = context.uuid();
            let parts: Vec<_> = uuid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
            assert_eq!(&uuid[14..15], "4", "{uuid}");
            assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
        }
    }

    #[test]
    fn the_sequence_of_a_seed_never_changes() {
        let context = Context::builder("a").seed(1, 2).build();
        let drawn = (context.random_u64(), context.uuid());
        assert_eq!(drawn, (PINNED_DRAW, PINNED_UUID.to_owned()));
    }

    const PINNED_DRAW: u64 = 3_704_835_355_796_229_289;
    const PINNED_UUID: &str = "e46c0233-a1b8-418b-ba03-d0838fa35d1b";
}
