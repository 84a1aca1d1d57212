//! The commits of a chunk, where they lie.
//!
//! ```text
//! length u32 BE of what follows the checksum | CRC-32C u32 BE | module number | record
//!
//! module   0: its digest follows, 32 bytes; n: its digest lies at byte n of the chunk's body, in a frame before
//! ```
//!
//! Commits of one chunk are mostly of the same few modules, whose digests would be a tenth of the log. The canonical
//! bytes, which checksum and hash chain are over, have each digest in full.

use super::{Malformed, Sink as _, Walk};

/// Length and checksum.
pub(super) const FRAME_BYTES: usize = 8;
/// A digest.
const MODULE_BYTES: usize = 32;
/// Modules of a chunk that are looked for again; what is put behind them has its digest each time.
const MODULES_MAX: usize = 16;

/// A commit as a chunk has it: the digest of its module and its record are its canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Stored<'a> {
    /// The digest of the module that decided.
    pub(in crate::store) module: &'a [u8; MODULE_BYTES],
    /// Everything else.
    pub(in crate::store) record: &'a [u8],
}

/// Where the digests of a chunk that is being put together lie.
#[derive(Debug, Default)]
pub(super) struct Modules(Vec<([u8; MODULE_BYTES], u64)>);

impl Modules {
    fn place(&self, module: &[u8; MODULE_BYTES]) -> Option<u64> {
        self.0
            .iter()
            .find(|(known, _)| known == module)
            .map(|(_, place)| *place)
    }

    /// What a commit takes in the chunk.
    pub(super) fn framed(&self, stored: Stored<'_>) -> usize {
        let module = match self.place(stored.module) {
            Some(place) => 1 + place.max(1).ilog2() as usize / 7,
            None => 1 + MODULE_BYTES,
        };
        FRAME_BYTES + module + stored.record.len()
    }

    /// Puts what follows the checksum of a frame behind the body.
    pub(super) fn put(&mut self, stored: Stored<'_>, chunk: &mut Vec<u8>, body: usize) {
        if let Some(place) = self.place(stored.module) {
            chunk.number(place);
        } else {
            chunk.number(0);
            if self.0.len() < MODULES_MAX {
                self.0.push((*stored.module, (chunk.len() - body) as u64));
            }
            chunk.extend_from_slice(stored.module);
        }
        chunk.extend_from_slice(stored.record);
    }
}

/// The commits of a chunk, one after the other: where each lies in the body, and what it is. Nothing is checked but
/// that it is there.
#[derive(Debug)]
pub(in crate::store) struct Frames<'a> {
    body: &'a [u8],
    walk: Walk<'a>,
}

impl<'a> Frames<'a> {
    /// All commits of a chunk's body.
    pub(in crate::store) fn of_body(body: &'a [u8]) -> Self {
        Self {
            body,
            walk: Walk::new(body),
        }
    }

    /// The commit that lies at a place in a chunk's body.
    pub(in crate::store) fn one(body: &'a [u8], at: usize) -> Result<Stored<'a>, Malformed> {
        let walk = Walk::new(body.get(at..).unwrap_or_default());
        let mut frames = Self { body, walk };
        let frame = frames.frame()?;
        frames.stored(frame)
    }

    /// Goes past some commits, whatever is in them.
    pub(super) fn pass(&mut self, commits: u32) -> Result<(), Malformed> {
        for _ in 0..commits {
            self.frame()?;
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<&'a [u8], Malformed> {
        let len = u32::from_be_bytes(*self.walk.array()?);
        self.walk.array::<4>()?;
        self.walk.take(len as usize)
    }

    fn stored(&self, frame: &'a [u8]) -> Result<Stored<'a>, Malformed> {
        let mut walk = Walk::new(frame);
        let module = match walk.count()? {
            0 => walk.array()?,
            place => self
                .body
                .get(place..)
                .and_then(<[u8]>::first_chunk)
                .ok_or(Malformed("commit: the digest of its module"))?,
        };
        Ok(Stored {
            module,
            record: walk.rest(),
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(usize, Stored<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.walk.at();
        if self.walk.is_end() {
            return None;
        }
        let stored = self.frame().and_then(|frame| self.stored(frame));
        Some(stored.map(|stored| (at, stored)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_once_in_a_chunk() {
        let records: Vec<Vec<u8>> = (0..60_u8)
            .map(|index| vec![index; usize::from(index) * 7])
            .collect();
        let modules: Vec<[u8; 32]> = (0..20_u8).map(|index| [index; 32]).collect();
        let (mut known, mut body) = (Modules::default(), Vec::new());
        let mut lengths = Vec::new();
        let commits: Vec<Stored<'_>> = (records.iter().zip(modules.iter().cycle()))
            .map(|(record, module)| Stored { module, record })
            .collect();
        for stored in &commits {
            let framed = known.framed(*stored);
            let start = body.len();
            body.extend_from_slice(&[0; FRAME_BYTES]);
            known.put(*stored, &mut body, 0);
            let len = (body.len() - start - FRAME_BYTES) as u32;
            body[start..start + 4].copy_from_slice(&len.to_be_bytes());
            assert_eq!(body.len() - start, framed);
            lengths.push(framed - stored.record.len() - FRAME_BYTES);
        }
        assert!(lengths[..20].iter().all(|bytes| *bytes == 33));
        assert!(lengths[20..36].iter().all(|bytes| *bytes <= 2));
        assert_eq!(lengths[36], 33, "only so many are looked for");
        let found: Vec<_> = Frames::of_body(&body).map(Result::unwrap).collect();
        assert!(found.iter().map(|(_, stored)| stored).eq(&commits));
        for (at, stored) in found {
            assert_eq!(Frames::one(&body, at).unwrap(), stored);
        }
    }
}
