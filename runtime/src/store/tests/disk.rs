//! A disk in memory that loses, reorders and tears what was not fsynced, that fails on demand, and that can lie.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::StorageBackend;

use crate::store::{conformance::Rng, file::Files};

const SECTOR: usize = 512;

/// What becomes of writes that were not fsynced when the machine stops.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// None is on the disk.
    Lost,
    /// All are on the disk.
    Kept,
    /// Each sector of each write is or is not, by chance.
    Torn(u64),
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Plan {
    /// The machine stops at the n-th operation that changes anything, from 1.
    pub(super) stop_at: Option<u64>,
    /// fsync does nothing and says that all is well.
    pub(super) lying_fsync: bool,
    /// So many fsyncs from now fail, each after so many that do not.
    pub(super) failing_fsyncs: u64,
    pub(super) fsyncs_before_failure: u64,
    /// Files together cannot grow beyond this.
    pub(super) space: Option<u64>,
}

#[derive(Debug, Clone)]
enum Pending {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default, Clone)]
struct Image {
    /// What the system shows.
    seen: Vec<u8>,
    /// What is on the disk for certain.
    durable: Vec<u8>,
    /// What is on its way there.
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, Arc<Mutex<Image>>>,
    plan: Plan,
    operations: u64,
    stopped: bool,
    rng: Rng,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self::with_files(BTreeMap::new(), seed)
    }

    fn with_files(files: BTreeMap<String, Arc<Mutex<Image>>>, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files,
            plan: Plan::default(),
            operations: 0,
            stopped: false,
            rng: Rng::new(seed),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn plan(&self, plan: Plan) {
        let mut state = self.lock();
        state.plan = plan;
        state.operations = 0;
    }

    /// Operations that changed anything since the plan was set.
    pub(super) fn operations(&self) -> u64 {
        self.lock().operations
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The disk as the next start of the machine finds it.
    pub(super) fn after_power_loss(&self, fate: Fate) -> Self {
        let mut state = self.lock();
        state.stopped = true;
        let mut rng = match fate {
            Fate::Torn(seed) => Rng::new(seed),
            Fate::Lost | Fate::Kept => Rng::new(0),
        };
        let mut files = BTreeMap::new();
        for (name, image) in &state.files {
            let image = image.lock().unwrap();
            let bytes = image.survivor(fate, &mut rng);
            files.insert(name.clone(), Arc::new(Mutex::new(Image::on_disk(bytes))));
        }
        Self::with_files(files, rng.next())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().files.keys().cloned().collect()
    }

    /// The bytes of a file.
    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        self.lock().files[name].lock().unwrap().seen.clone()
    }

    /// A copy of the disk with one file replaced, or removed.
    pub(super) fn copy_with(&self, name: &str, bytes: Option<Vec<u8>>) -> Self {
        let copy = self.after_copy();
        let mut state = copy.lock();
        match bytes {
            Some(bytes) => {
                let image = Arc::new(Mutex::new(Image::on_disk(bytes)));
                state.files.insert(name.to_owned(), image);
            }
            None => {
                state.files.remove(name);
            }
        }
        drop(state);
        copy
    }

    fn after_copy(&self) -> Self {
        let state = self.lock();
        let copy = state.files.iter().map(|(name, image)| {
            let bytes = image.lock().unwrap().seen.clone();
            (name.clone(), Arc::new(Mutex::new(Image::on_disk(bytes))))
        });
        Self::with_files(copy.collect(), 1)
    }
}

impl Image {
    fn on_disk(bytes: Vec<u8>) -> Self {
        Self {
            seen: bytes.clone(),
            durable: bytes,
            pending: Vec::new(),
        }
    }

    fn survivor(&self, fate: Fate, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let odds = 1 + rng.below(4);
        for pending in &self.pending {
            match (fate, pending) {
                (Fate::Lost, _) => {}
                (Fate::Kept, pending) => apply(&mut bytes, pending),
                (Fate::Torn(_), Pending::Length(_)) => {
                    if rng.one_in(2) {
                        apply(&mut bytes, pending);
                    }
                }
                (Fate::Torn(_), Pending::Write { offset, data }) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        if rng.below(5) < odds {
                            let sector = Pending::Write {
                                offset: offset + index * SECTOR,
                                data: sector.to_vec(),
                            };
                            apply(&mut bytes, &sector);
                        }
                    }
                }
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, pending: &Pending) {
    match pending {
        Pending::Length(len) => bytes.resize(*len, 0),
        Pending::Write { offset, data } => {
            if bytes.len() < offset + data.len() {
                bytes.resize(offset + data.len(), 0);
            }
            bytes[*offset..offset + data.len()].copy_from_slice(data);
        }
    }
}

impl State {
    /// Counts an operation, and stops the machine at the planned one.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.plan.stop_at.is_some_and(|stop| self.operations >= stop) {
            self.stopped = true;
        }
        if self.stopped {
            return Err(io::Error::other("the machine has stopped"));
        }
        Ok(())
    }

    fn check_space(&self, growing: usize, image: &Image) -> io::Result<()> {
        let Some(space) = self.plan.space else {
            return Ok(());
        };
        let others: usize = self
            .files
            .values()
            .filter_map(|file| file.try_lock().ok().map(|file| file.seen.len()))
            .sum();
        let more = growing.saturating_sub(image.seen.len());
        if more > 0 && (others + image.seen.len() + more) as u64 > space {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Handle {
    disk: Disk,
    image: Arc<Mutex<Image>>,
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.image.lock().unwrap();
        let start = offset as usize;
        let bytes = image.seen.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.operate()?;
        let mut image = self.image.lock().unwrap();
        state.check_space(len as usize, &image)?;
        image.seen.resize(len as usize, 0);
        image.pending.push(Pending::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.operate()?;
        if state.plan.lying_fsync {
            return Ok(());
        }
        let mut image = self.image.lock().unwrap();
        if state.plan.failing_fsyncs > 0 {
            if state.plan.fsyncs_before_failure > 0 {
                state.plan.fsyncs_before_failure -= 1;
            } else {
                state.plan.failing_fsyncs -= 1;
                // What was pending is now clean in memory, and on the disk only by chance: it is not tried again.
                let fate = Fate::Torn(state.rng.next());
                image.durable = image.survivor(fate, &mut state.rng);
                image.pending.clear();
                return Err(io::Error::from_raw_os_error(5));
            }
        }
        image.durable = image.seen.clone();
        image.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.operate()?;
        let mut image = self.image.lock().unwrap();
        state.check_space(offset as usize + data.len(), &image)?;
        let pending = Pending::Write {
            offset: offset as usize,
            data: data.to_vec(),
        };
        apply(&mut image.seen, &pending);
        image.pending.push(pending);
        Ok(())
    }
}

impl Disk {
    fn handle(&self, name: &str) -> Option<Box<dyn StorageBackend>> {
        let image = self.lock().files.get(name).map(Arc::clone)?;
        Some(Box::new(Handle {
            disk: self.clone(),
            image,
        }))
    }
}

impl Files for Disk {
    fn open(&self, name: &str, afresh: bool) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let image = self.lock().files.get(name).map(Arc::clone);
        if let Some(image) = image.filter(|_| afresh) {
            // Clean pages are dropped, so what is seen is what is on the disk or on its way there.
            let mut image = image.lock().unwrap();
            let mut seen = image.durable.clone();
            for pending in &image.pending {
                apply(&mut seen, pending);
            }
            image.seen = seen;
        }
        Ok(self.handle(name))
    }

    fn open_sealed(&self, name: &str) -> io::Result<Option<Box<dyn StorageBackend>>> {
        Ok(self.handle(name))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let mut state = self.lock();
        state.operate()?;
        let image = Arc::new(Mutex::new(Image::default()));
        state.files.insert(name.to_owned(), Arc::clone(&image));
        Ok(Box::new(Handle {
            disk: self.clone(),
            image,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        let image = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), image);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        if state.files.contains_key(name) {
            state.operate()?;
            state.files.remove(name);
        }
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let state = self.lock();
        let below = state.files.keys().filter_map(|name| name.strip_prefix(&prefix));
        let names: BTreeSet<_> = below
            .map(|rest| rest.split('/').next().unwrap_or(rest).to_owned())
            .collect();
        Ok(names.into_iter().collect())
    }

    fn size(&self, name: &str) -> u64 {
        self.lock()
            .files
            .get(name)
            .map_or(0, |image| image.lock().unwrap().seen.len() as u64)
    }
}
