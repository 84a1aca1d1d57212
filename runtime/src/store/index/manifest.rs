//! What the index consists of, in one row that is written with every change.
//!
//! ```text
//! format u8 | log id 16 | epoch u32 BE | mark (56) | next run number | names number | their CRC number
//! shape and CRC number of the kinds, as in `kinds.rs`
//! runs number, each as in `run.rs`, in the order of the log
//! merge: 0 | 1, first of its inputs number | inputs number | output as in `run.rs` | frontier
//!        for each input: first block of events number, of outcomes number, that is still looked at
//! frontier: 0 events, name bytes, version number | 1 outcomes, hash u64 BE | 2 done
//! leftovers number, each: run number
//! ```

use bytes::Bytes;

use super::{
    kinds::Shape,
    run::{Edge, RunRecord, small},
};
use crate::{
    store::{
        LogIdentity,
        format::{Malformed, Mark, Reader, Sink as _},
    },
    vocabulary::{Epoch, LogId},
};

/// Of the whole file. Another one is rebuilt.
const INDEX_FORMAT: u8 = 3;

/// How far a merge has got: what is before it is in the output, the rest in the inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frontier {
    /// The next segment's name and first version.
    Events(Vec<u8>, u64),
    /// All events are in the output. The next outcome's hash.
    Outcomes(u64),
    /// Everything is in the output.
    Done,
}

impl Frontier {
    /// Whether a segment is still to be found in the inputs.
    pub(super) fn is_before(&self, name: &[u8], version: u64) -> bool {
        matches!(self, Self::Events(at, from) if (at.as_slice(), *from) <= (name, version))
    }

    /// The hash from which on outcomes are still to be found in the inputs.
    pub(super) fn hash(&self) -> Option<u64> {
        match self {
            Self::Events(..) => Some(0),
            Self::Outcomes(hash) => Some(*hash),
            Self::Done => None,
        }
    }
}

/// A merge that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MergeRecord {
    /// Which of the runs.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) output: RunRecord,
    pub(super) frontier: Frontier,
    /// Of each input, the first block of events and of outcomes that is still looked at.
    pub(super) live: Vec<[u32; 2]>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) identity: LogIdentity,
    /// How far the index has got.
    pub(super) reached: Mark,
    pub(super) next_run: u32,
    pub(super) names: u32,
    pub(super) names_crc: u32,
    pub(super) shape: Shape,
    pub(super) kinds_crc: u32,
    pub(super) runs: Vec<RunRecord>,
    pub(super) merge: Option<MergeRecord>,
    /// Runs of which blocks may be left.
    pub(super) leftovers: Vec<u32>,
}

impl Manifest {
    /// Of an empty index.
    pub(super) fn new(identity: LogIdentity, shape: Shape) -> Self {
        Self {
            identity,
            reached: Mark::START,
            next_run: 1,
            names: 0,
            names_crc: 0,
            shape,
            kinds_crc: 0,
            runs: Vec::new(),
            merge: None,
            leftovers: Vec::new(),
        }
    }

    pub(super) fn put(&self) -> Vec<u8> {
        let mut bytes = vec![INDEX_FORMAT];
        bytes.extend_from_slice(&self.identity.log_id.0);
        bytes.extend_from_slice(&self.identity.epoch.0.to_be_bytes());
        self.reached.put(&mut bytes);
        for number in [self.next_run, self.names, self.names_crc] {
            bytes.number(u64::from(number));
        }
        self.shape.put(&mut bytes);
        bytes.number(u64::from(self.kinds_crc));
        bytes.number(self.runs.len() as u64);
        self.runs.iter().for_each(|run| run.put(&mut bytes));
        match &self.merge {
            None => bytes.push(0),
            Some(merge) => {
                bytes.push(1);
                bytes.number(merge.first as u64);
                bytes.number(merge.count as u64);
                merge.output.put(&mut bytes);
                match &merge.frontier {
                    Frontier::Events(name, version) => {
                        bytes.push(0);
                        bytes.blob(name);
                        bytes.number(*version);
                    }
                    Frontier::Outcomes(hash) => {
                        bytes.push(1);
                        bytes.extend_from_slice(&hash.to_be_bytes());
                    }
                    Frontier::Done => bytes.push(2),
                }
                for number in merge.live.iter().flatten() {
                    bytes.number(u64::from(*number));
                }
            }
        }
        bytes.number(self.leftovers.len() as u64);
        self.leftovers
            .iter()
            .for_each(|run| bytes.number(u64::from(*run)));
        bytes
    }

    pub(super) fn get(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != INDEX_FORMAT {
            return Err(Malformed("index: its format is not known here"));
        }
        let identity = LogIdentity {
            log_id: LogId(reader.array()?),
            epoch: Epoch(u32::from_be_bytes(reader.array()?)),
        };
        let manifest = Self {
            identity,
            reached: Mark::get(&mut reader)?,
            next_run: small(&mut reader)?,
            names: small(&mut reader)?,
            names_crc: small(&mut reader)?,
            shape: Shape::get(&mut reader)?,
            kinds_crc: small(&mut reader)?,
            runs: several(&mut reader, RunRecord::get)?,
            merge: match reader.byte()? {
                0 => None,
                _ => Some(get_merge(&mut reader)?),
            },
            leftovers: several(&mut reader, small)?,
        };
        reader.end()?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The runs must cover the log up to where the index has got, without a gap.
    fn check(&self) -> Result<(), Malformed> {
        let mut at = Edge::from(Mark::START);
        for run in &self.runs {
            if run.before != at || run.id >= self.next_run {
                return Err(Malformed("index: its runs do not follow each other"));
            }
            at = run.behind;
        }
        let inputs = self
            .merge
            .as_ref()
            .map_or(0, |merge| merge.first.saturating_add(merge.count));
        if at != Edge::from(self.reached) || inputs > self.runs.len() {
            return Err(Malformed("index: its runs do not lead to where it has got"));
        }
        Ok(())
    }
}

fn get_merge(reader: &mut Reader<'_>) -> Result<MergeRecord, Malformed> {
    let (first, count) = (reader.count()?, reader.count()?);
    Ok(MergeRecord {
        first,
        count,
        output: RunRecord::get(reader)?,
        frontier: match reader.byte()? {
            0 => Frontier::Events(reader.blob()?.to_vec(), reader.number()?),
            1 => Frontier::Outcomes(u64::from_be_bytes(reader.array()?)),
            2 => Frontier::Done,
            _ => return Err(Malformed("index: how far a merge has got")),
        },
        live: (0..count)
            .map(|_| Ok([small(reader)?, small(reader)?]))
            .collect::<Result<_, _>>()?,
    })
}

fn several<T>(
    reader: &mut Reader<'_>,
    get: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut found = Vec::new();
    for _ in 0..reader.number()? {
        found.push(get(reader)?);
    }
    Ok(found)
}
