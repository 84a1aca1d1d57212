//! Counting the events of a run by stretch and kind, while they are written.

use std::collections::HashMap;

use super::{
    kinds::{Counts, Shape},
    names::{Kind, Names},
};
use crate::store::{
    format::Malformed,
    overlay::{Member, Segment},
};

/// The events of a run.
#[derive(Debug)]
pub(super) struct Tally {
    shape: Shape,
    /// The first stretch that has events of the run.
    first: u64,
    /// Of each stretch, its events by kind: no more kinds than a stretch has events, however many there are.
    stretches: Vec<Counts>,
    /// Type text | event type text → the number of its name. Those without a number are not here.
    kinds: HashMap<Vec<u8>, u32>,
    /// The kind that was counted last, how much of it is the aggregate's type, and its number.
    recent: (Vec<u8>, usize, u32),
}

impl Tally {
    /// Nothing yet of a run that begins at a position.
    pub(super) fn new(shape: Shape, position: u64) -> Self {
        Self {
            shape,
            first: shape.stretch_at(position),
            stretches: Vec::new(),
            kinds: HashMap::new(),
            recent: (Vec::new(), 0, 0),
        }
    }

    /// Counts a commit's events.
    pub(super) fn add(&mut self, member: &Member<'_>, names: &mut Names) -> Result<(), Malformed> {
        let aggregate_type = member.scan.aggregate_type()?;
        for (position, event_type) in (member.first_position..).zip(member.scan.event_types()) {
            let kind = self.kind(aggregate_type, event_type?, names)?;
            let stretch = self.shape.stretch_at(position) - self.first;
            let stretch = usize::try_from(stretch).map_err(|_| Malformed("run: it is too long"))?;
            if stretch >= self.stretches.len() {
                self.stretches.resize(stretch + 1, Counts::default());
            }
            if let Some(counts) = self.stretches.get_mut(stretch) {
                counts.add(kind, 1);
            }
        }
        Ok(())
    }

    fn kind(
        &mut self,
        aggregate_type: &[u8],
        event_type: &[u8],
        names: &mut Names,
    ) -> Result<u32, Malformed> {
        let (recent, part, kind) = &self.recent;
        let same = recent.split_at_checked(*part) == Some((aggregate_type, event_type));
        if same && !recent.is_empty() {
            return Ok(*kind);
        }
        let (pair, part, recent) = &mut self.recent;
        pair.clear();
        pair.extend_from_slice(aggregate_type);
        pair.extend_from_slice(event_type);
        *part = aggregate_type.len();
        *recent = match self.kinds.get(pair.as_slice()) {
            Some(kind) => *kind,
            None => {
                let number = names.number(Kind::Pair, pair)?;
                let number = u32::try_from(number).map_err(|_| Malformed("name: its number"))?;
                if number > 0 {
                    self.kinds.insert(pair.clone(), number);
                }
                number
            }
        };
        Ok(*recent)
    }

    /// Of each stretch, how many events of the run are of which kind.
    pub(super) fn counts(&self) -> &[Counts] {
        &self.stretches
    }

    /// The chunks that hold the first position of each stretch that begins in the run.
    pub(super) fn chunks(&self, segment: &Segment) -> Vec<u64> {
        let mut chunks = Vec::new();
        let first = self.shape.start_of(self.first);
        let mut next = if first < segment.before.position {
            self.shape.start_of(self.first + 1)
        } else {
            first
        };
        let mut current = segment.before.chunk;
        for (chunk, position) in segment.places() {
            // Of several commits at one position, only the last can hold it.
            while next < position {
                chunks.push(current);
                next += self.shape.stretch;
            }
            current = chunk;
        }
        while next < segment.after.position {
            chunks.push(current);
            next += self.shape.stretch;
        }
        chunks
    }
}
