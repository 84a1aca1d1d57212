//! The input, line by line, on a thread of its own.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::Path,
};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{LoadArgs, line::LoadCommand, progress::Progress};
use crate::cli::{error::CliError, text::escape};

/// Longest line, bytes: a payload of 1 MiB with what stands around it.
const LINE_BYTES_MAX: usize = 1024 * 1024 + 64 * 1024;
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// Malformed lines that are shown; the rest is only counted.
const SHOWN_MAX: usize = 20;
/// Digits of the input's hash that keys are made of.
const HASH_DIGITS: usize = 32;

/// What reading the input has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Lines with something on them.
    pub(crate) lines: u64,
    pub(crate) malformed: u64,
    /// Line and problem of the first malformed ones.
    pub(crate) shown: Vec<(u64, String)>,
    /// Why the input could not be read to its end.
    pub(crate) broken_off: Option<String>,
}

/// Where commands come from.
pub(crate) struct Source {
    reader: Box<dyn BufRead + Send>,
    size_bytes: Option<u64>,
    hash: Option<String>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source of {:?} bytes", self.size_bytes)
    }
}

impl Source {
    /// Opens the input, and with `--keys` reads it once for its hash.
    pub(crate) fn open(args: &LoadArgs) -> Result<Self, CliError> {
        if args.file == Path::new("-") {
            if args.keys {
                return Err(CliError::usage(
                    "--keys needs a file: keys are made of its hash, and standard input can be read only once",
                    "save the input to a file, or write a \"key\" into each line",
                ));
            }
            return Ok(Self::of(
                BufReader::with_capacity(READ_BUFFER_BYTES, io::stdin()),
                None,
            ));
        }
        let shown = args.file.display();
        let unreadable = |error: io::Error| {
            CliError::usage(
                format!("cannot read `{shown}`: {error}"),
                "name a file with one JSON command a line, or - for standard input",
            )
        };
        let mut file = File::open(&args.file).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        let hash = if args.keys {
            Some(hash(&mut file).map_err(unreadable)?)
        } else {
            None
        };
        let mut source = Self::of(BufReader::with_capacity(READ_BUFFER_BYTES, file), hash);
        source.size_bytes = metadata.is_file().then_some(metadata.len());
        Ok(source)
    }

    pub(crate) fn of(reader: impl BufRead + Send + 'static, hash: Option<String>) -> Self {
        Self {
            reader: Box::new(reader),
            size_bytes: None,
            hash,
        }
    }

    /// How much there is to read, when it is known.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// Reads to the end, or until it is stopped, and gives each command to its worker's queue.
    pub(crate) fn read(
        mut self,
        queues: &[mpsc::Sender<LoadCommand>],
        progress: &Progress,
        is_stopped: &dyn Fn() -> bool,
    ) -> Reading {
        let mut reading = Reading::default();
        let mut text = Vec::new();
        let mut line = 0;
        while !is_stopped() {
            line += 1;
            let bytes = match read_line(&mut *self.reader, &mut text) {
                Ok(0) => break,
                Ok(bytes) => bytes,
                Err(error) => {
                    reading.broken_off = Some(format!("line {line} could not be read: {error}"));
                    break;
                }
            };
            progress.read(bytes);
            if text.trim_ascii().is_empty() {
                continue;
            }
            reading.lines += 1;
            let command = if bytes > LINE_BYTES_MAX as u64 {
                Err(format!("it has {bytes} bytes; the limit is {LINE_BYTES_MAX}"))
            } else {
                LoadCommand::read(line, &text, self.hash.as_deref())
            };
            match command {
                Ok(command) => {
                    // A queue is closed only when its worker is gone, and then its failure is what counts.
                    let queue = queues.get(command.worker(queues.len()));
                    if queue.is_none_or(|queue| queue.blocking_send(command).is_err()) {
                        break;
                    }
                }
                Err(problem) => {
                    reading.malformed += 1;
                    if reading.shown.len() < SHOWN_MAX {
                        reading.shown.push((line, escape(&problem)));
                    }
                }
            }
        }
        reading
    }
}

/// Reads a line, of which no more than the limit is kept; returns how long it was with its end, 0 at the end.
fn read_line(reader: &mut dyn BufRead, text: &mut Vec<u8>) -> io::Result<u64> {
    text.clear();
    let mut bytes = 0;
    loop {
        let available = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        let end = available.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(available.len(), |end| end + 1);
        let room = LINE_BYTES_MAX.saturating_sub(text.len()).min(taken);
        text.extend(available.iter().take(room));
        reader.consume(taken);
        bytes += taken as u64;
        if end.is_some() || taken == 0 {
            return Ok(bytes);
        }
    }
}

fn hash(file: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hasher.update(buffer.get(..length).unwrap_or_default());
    }
    file.rewind()?;
    let digits: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(digits.chars().take(HASH_DIGITS).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(input: Vec<u8>, workers: usize) -> (Reading, Vec<Vec<u64>>) {
        let (queues, mut commands): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(10_000)).unzip();
        let progress = Progress::new(None, true);
        let source = Source::of(BufReader::with_capacity(7, io::Cursor::new(input)), None);
        let reading = source.read(&queues, &progress, &|| false);
        drop(queues);
        let lines = commands.iter_mut().map(|commands| {
            std::iter::from_fn(|| commands.try_recv().ok().map(|command| command.line)).collect()
        });
        (reading, lines.collect())
    }

    fn line(id: usize) -> String {
        format!("{{\"type\":\"a\",\"id\":\"x{id}\",\"command\":\"go\"}}\n")
    }

    #[test]
    fn lines_reach_one_queue_each_in_their_order() {
        let input: String = (0..1_000).map(|place| line(place % 10)).collect();
        let (reading, queues) = read(input.into_bytes(), 4);
        assert_eq!((reading.lines, reading.malformed), (1_000, 0));
        assert!(queues.iter().all(|lines| lines.is_sorted()));
        let mut all = queues.concat();
        all.sort_unstable();
        assert_eq!(all, (1..=1_000).collect::<Vec<_>>());
        // All lines of one aggregate are in the same queue.
        let home = |line: u64| queues.iter().position(|lines| lines.contains(&line)).unwrap();
        for line in 11..=1_000 {
            assert_eq!(home(line), home(line - 10), "{line}");
        }
    }

    #[test]
    fn malformed_lines_are_named_and_the_others_read() {
        let input = format!("\u{1b}\n\n{}  \nnonsense\n{}", line(1), line(2).trim_end());
        let (reading, queues) = read(input.into_bytes(), 1);
        assert_eq!((reading.lines, reading.malformed), (4, 2));
        assert_eq!(queues, [vec![3, 6]]);
        let shown: Vec<u64> = reading.shown.iter().map(|(line, _)| *line).collect();
        assert_eq!(shown, [1, 5]);
    }

    #[test]
    fn a_line_over_the_limit_is_malformed_and_not_kept() {
        let mut input = vec![b'x'; LINE_BYTES_MAX + 10];
        input.extend(format!("\n{}", line(1)).bytes());
        let (reading, queues) = read(input, 1);
        assert_eq!((reading.malformed, &queues[0]), (1, &vec![2]));
        assert!(
            reading.shown[0].1.contains(&(LINE_BYTES_MAX + 11).to_string()),
            "{reading:?}"
        );
    }

    #[test]
    fn only_the_first_malformed_lines_are_kept() {
        let (reading, _) = read(b"x\n".repeat(1_000), 1);
        assert_eq!((reading.malformed, reading.shown.len()), (1_000, SHOWN_MAX));
    }

    #[test]
    fn keys_follow_the_contents_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let hash_of = |name: &str, contents: &str| {
            let file = folder.path().join(name);
            File::create(&file)
                .unwrap()
                .write_all(contents.as_bytes())
                .unwrap();
            let args = LoadArgs {
                file,
                connections: 1,
                keys: true,
                retry_for: 0,
            };
            let source = Source::open(&args).unwrap();
            assert_eq!(source.size_bytes(), Some(contents.len() as u64));
            source.hash.unwrap()
        };
        assert_eq!(hash_of("a", "one"), hash_of("b", "one"));
        assert_ne!(hash_of("a", "one"), hash_of("b", "two"));
        assert_eq!(hash_of("a", "one").len(), HASH_DIGITS);
    }

    #[test]
    fn keys_of_standard_input_and_missing_files_are_refused() {
        for (file, keys, part) in [
            ("-", true, "--keys"),
            ("no/such", false, "no/such"),
            ("/", false, "directory"),
        ] {
            let args = LoadArgs {
                file: file.into(),
                connections: 1,
                keys,
                retry_for: 0,
            };
            let error = Source::open(&args).unwrap_err();
            assert_eq!(error.exit() as u8, 2);
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
