//! A file that is never written.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use redb::StorageBackend;

const SHADOW_PAGE: u64 = 4096;

/// A file that is never written: what redb writes on opening stays in memory.
#[derive(Debug)]
pub(super) struct Shadowed {
    inner: Box<dyn StorageBackend>,
    shadow: Mutex<Shadow>,
}

#[derive(Debug, Default)]
struct Shadow {
    len: Option<u64>,
    pages: HashMap<u64, Vec<u8>>,
}

impl Shadowed {
    /// Reads from below, and keeps what is written in memory.
    pub(super) fn new(inner: Box<dyn StorageBackend>) -> Self {
        Self {
            inner,
            shadow: Mutex::default(),
        }
    }

    fn page(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut page = vec![0; SHADOW_PAGE as usize];
        let start = number * SHADOW_PAGE;
        let there = self.inner.len()?.saturating_sub(start).min(SHADOW_PAGE) as usize;
        if let Some(part) = page.get_mut(..there) {
            self.inner.read(start, part)?;
        }
        Ok(page)
    }
}

impl StorageBackend for Shadowed {
    fn len(&self) -> io::Result<u64> {
        let shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
        shadow.len.map_or_else(|| self.inner.len(), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.inner.len()?.saturating_sub(offset).min(out.len() as u64) as usize;
        let shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
        if there < out.len() && shadow.len.is_none_or(|len| len < offset + out.len() as u64) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.fill(0);
        if let Some(part) = out.get_mut(..there) {
            self.inner.read(offset, part)?;
        }
        for_each_page(offset, out.len(), |number, in_page, in_data| {
            let page = shadow.pages.get(&number).and_then(|page| page.get(in_page));
            if let Some((page, out)) = page.zip(out.get_mut(in_data)) {
                out.copy_from_slice(page);
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
        shadow.len = Some(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
        for_each_page(offset, data.len(), |number, in_page, in_data| {
            let page = match shadow.pages.entry(number) {
                Entry::Occupied(page) => page.into_mut(),
                Entry::Vacant(slot) => slot.insert(self.page(number)?),
            };
            if let Some((page, data)) = page.get_mut(in_page).zip(data.get(in_data)) {
                page.copy_from_slice(data);
            }
            Ok(())
        })
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

/// Calls with every page that a stretch touches: its number, the part of the page, and the part of the stretch.
fn for_each_page(
    offset: u64,
    len: usize,
    mut call: impl FnMut(u64, Range<usize>, Range<usize>) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let start = (at % SHADOW_PAGE) as usize;
        let part = (SHADOW_PAGE as usize - start).min(len - done);
        call(at / SHADOW_PAGE, start..start + part, done..done + part)?;
        done += part;
    }
    Ok(())
}
