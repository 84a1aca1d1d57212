//! Names that many events share: commands, event types and modules, each once in the whole index, and a number in the
//! blocks. So a block's events can be copied into another run as they are. Pairs of an aggregate type and an event type have
//! numbers as well, by which events are counted.

use std::{collections::HashMap, sync::Arc};

use crate::{
    store::format::{Malformed, Sink as _, Walk, checksum, text_of},
    vocabulary::{AggregateType, CommandName, EventType, ModuleDigest},
};

/// Names with a number. The others stand in the blocks themselves; what modules declare is far fewer.
const NAMES_MAX: usize = 16_384;

/// Pairs with a number, beside those: no block names one, so that they take nothing away from what blocks name. Events of
/// the others are counted together.
const PAIRS_MAX: usize = 16_384;

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Command = 1,
    Event = 2,
    Module = 3,
    Pair = 4,
}

#[derive(Debug, Clone)]
enum Name {
    Command(CommandName),
    Event(EventType),
    Module(ModuleDigest),
    Pair(AggregateType, EventType),
}

/// The names that have numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    names: Vec<Name>,
    /// Kind and encoded name → number.
    numbers: HashMap<Arc<[u8]>, u64>,
    /// The same in the order of the numbers, as they are stored.
    rows: Vec<Arc<[u8]>>,
    /// How many of them are pairs.
    pairs: usize,
    /// Over all rows.
    pub(super) crc: u32,
    /// Of each kind, the number that was put last: mostly it is the next one as well.
    recent: [usize; 5],
}

impl Names {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The names from one on, as they are stored.
    pub(super) fn rows_from(&self, known: usize) -> &[Arc<[u8]>] {
        self.rows.get(known..).unwrap_or_default()
    }

    /// Puts a name, given as it is encoded: its number, which it is given when it is new, or itself behind a 0.
    pub(super) fn put(&mut self, kind: Kind, encoded: &[u8], bytes: &mut Vec<u8>) -> Result<(), Malformed> {
        let number = self.number(kind, encoded)?;
        bytes.number(number);
        if number == 0 {
            bytes.extend_from_slice(encoded);
        }
        Ok(())
    }

    /// The number of a name, given as it is encoded, which it is given when it is new; 0 when there are too many.
    pub(super) fn number(&mut self, kind: Kind, encoded: &[u8]) -> Result<u64, Malformed> {
        let recent = self.recent.get(kind as usize).copied().unwrap_or(0);
        let same = |row: &Arc<[u8]>| row.get(1..) == Some(encoded) && row.first() == Some(&(kind as u8));
        if recent > 0 && self.rows.get(recent - 1).is_some_and(same) {
            return Ok(recent as u64);
        }
        let mut row = Vec::with_capacity(80);
        row.push(kind as u8);
        row.extend_from_slice(encoded);
        if let Some(number) = self.numbers.get(row.as_slice()) {
            if let Some(recent) = self.recent.get_mut(kind as usize) {
                *recent = *number as usize;
            }
            return Ok(*number);
        }
        let (used, most) = match kind {
            Kind::Pair => (self.pairs, PAIRS_MAX),
            Kind::Command | Kind::Event | Kind::Module => (self.len() - self.pairs, NAMES_MAX),
        };
        if used >= most {
            return Ok(0);
        }
        self.add(&row)?;
        Ok(self.len() as u64)
    }

    /// The pairs that have numbers.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u32, &AggregateType, &EventType)> {
        (1..).zip(&self.names).filter_map(|(number, name)| match name {
            Name::Pair(aggregate_type, event_type) => Some((number, aggregate_type, event_type)),
            _ => None,
        })
    }

    /// Adds the name that has the next number.
    pub(super) fn add(&mut self, row: &[u8]) -> Result<(), Malformed> {
        let mut walk = Walk::new(row);
        let kind = [Kind::Command, Kind::Event, Kind::Module, Kind::Pair];
        let byte = walk.byte()?;
        let kind = kind
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or(Malformed("name"))?;
        self.names.push(read(kind, &mut walk)?);
        self.pairs += usize::from(kind == Kind::Pair);
        let row: Arc<[u8]> = row.into();
        self.crc = checksum([&self.crc.to_be_bytes()[..], &row]);
        self.rows.push(Arc::clone(&row));
        self.numbers.insert(row, self.rows.len() as u64);
        Ok(())
    }

    /// Goes past a name.
    pub(super) fn pass(kind: Kind, walk: &mut Walk<'_>) -> Result<(), Malformed> {
        if walk.number()? == 0 {
            read(kind, walk)?;
        }
        Ok(())
    }

    pub(super) fn command(&self, walk: &mut Walk<'_>) -> Result<CommandName, Malformed> {
        match self.get(Kind::Command, walk)? {
            Name::Command(name) => Ok(name),
            _ => Err(WRONG),
        }
    }

    pub(super) fn event(&self, walk: &mut Walk<'_>) -> Result<EventType, Malformed> {
        match self.get(Kind::Event, walk)? {
            Name::Event(name) => Ok(name),
            _ => Err(WRONG),
        }
    }

    pub(super) fn module(&self, walk: &mut Walk<'_>) -> Result<ModuleDigest, Malformed> {
        match self.get(Kind::Module, walk)? {
            Name::Module(digest) => Ok(digest),
            _ => Err(WRONG),
        }
    }

    fn get(&self, kind: Kind, walk: &mut Walk<'_>) -> Result<Name, Malformed> {
        match walk.count()? {
            0 => read(kind, walk),
            number => self
                .names
                .get(number - 1)
                .cloned()
                .ok_or(Malformed("name: its number is not known")),
        }
    }
}

const WRONG: Malformed = Malformed("name: it is of another kind");

fn read(kind: Kind, walk: &mut Walk<'_>) -> Result<Name, Malformed> {
    Ok(match kind {
        Kind::Command => {
            Name::Command(CommandName::parse(&text_of(walk.text()?)?).map_err(|_| Malformed("command name"))?)
        }
        Kind::Event => {
            Name::Event(EventType::parse(&text_of(walk.text()?)?).map_err(|_| Malformed("event type"))?)
        }
        Kind::Module => Name::Module(ModuleDigest(*walk.array()?)),
        Kind::Pair => Name::Pair(
            AggregateType::parse(&text_of(walk.text()?)?).map_err(|_| Malformed("aggregate type"))?,
            EventType::parse(&text_of(walk.text()?)?).map_err(|_| Malformed("event type"))?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.text(name);
        bytes
    }

    #[test]
    fn a_name_has_one_number_and_too_many_stand_for_themselves() {
        let mut names = Names::default();
        let mut bytes = Vec::new();
        for round in 0..2 {
            for number in 0..NAMES_MAX + 10 {
                names
                    .put(Kind::Event, &text(&format!("e{number}")), &mut bytes)
                    .unwrap();
            }
            assert_eq!(names.len(), NAMES_MAX, "round {round}");
        }
        let mut walk = Walk::new(&bytes);
        for _ in 0..2 {
            for number in 0..NAMES_MAX + 10 {
                assert_eq!(names.event(&mut walk).unwrap().as_str(), format!("e{number}"));
            }
        }
        let mut again = Names::default();
        names.rows_from(0).iter().for_each(|row| again.add(row).unwrap());
        assert_eq!(again.crc, names.crc);
        let mut walk = Walk::new(&bytes);
        assert!(again.command(&mut walk).is_err(), "an event type is no command");
    }

    #[test]
    fn pairs_and_names_take_no_numbers_from_each_other() {
        let event = |number: usize| text(&format!("e{number}"));
        let pair = |number: usize| [text("account"), event(number)].concat();
        let mut names = Names::default();
        for number in 0..PAIRS_MAX + 10 {
            let found = names.number(Kind::Pair, &pair(number)).unwrap();
            assert_eq!(found > 0, number < PAIRS_MAX, "pair {number}");
        }
        // As an index is read that was written so far.
        let mut again = Names::default();
        names.rows_from(0).iter().for_each(|row| again.add(row).unwrap());
        for names in [&mut names, &mut again] {
            for number in 0..NAMES_MAX + 10 {
                let found = names.number(Kind::Event, &event(number)).unwrap();
                assert_eq!(found > 0, number < NAMES_MAX, "event type {number}");
            }
            assert_eq!(names.number(Kind::Pair, &pair(PAIRS_MAX)), Ok(0));
            assert_eq!(names.len(), NAMES_MAX + PAIRS_MAX);
            assert_eq!(names.pairs().count(), PAIRS_MAX);
        }
    }
}
