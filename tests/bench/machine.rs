//! What the numbers were measured on.

use std::{fs, path::Path, process::Command};

use serde::Serialize;

use crate::{failed::Failed, format};

/// The machine, as the kernel describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    /// Processors that this process may use.
    cores: usize,
    memory_bytes: u64,
    kernel: String,
    filesystem: String,
    device: String,
    mount_options: String,
    flush: &'static str,
    rustc: String,
    revision: String,
}

/// Filesystems that keep nothing.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

impl Machine {
    /// Looks at the machine, and at the filesystem of `dir`.
    pub(crate) fn look(dir: &Path) -> Result<Self, Failed> {
        let mounts = read("/proc/self/mountinfo")?;
        let dir = dir
            .canonicalize()
            .map_err(|error| Failed::io(&format!("look at {}", dir.display()), &error))?;
        let mount = Mount::of(&mounts, &dir)
            .ok_or_else(|| Failed::new(format!("no mount point is above {}", dir.display())))?;
        let cpus = read("/proc/cpuinfo")?;
        let kilobytes = field(&read("/proc/meminfo")?, "MemTotal")
            .and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
        Ok(Self {
            cpu: field(&cpus, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: kilobytes.unwrap_or_default() * 1024,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            filesystem: mount.filesystem.to_owned(),
            device: mount.device.to_owned(),
            mount_options: mount.options.to_owned(),
            flush: "fdatasync",
            rustc: output("rustc", &["--version"]),
            revision: output("git", &["describe", "--always", "--dirty"]),
        })
    }

    /// Durability on a disk that is none has no cost, and its numbers no meaning.
    pub(crate) fn must_have_a_disk(&self) -> Result<(), Failed> {
        if IN_MEMORY.contains(&self.filesystem.as_str()) {
            return Err(Failed::new(format!(
                "the data would be on a {}, which is memory: fdatasync does nothing there, so the numbers would mean \
                 nothing. Name a folder on a real disk with --dir",
                self.filesystem
            )));
        }
        Ok(())
    }

    pub(crate) fn text(&self) -> String {
        format!(
            "annals {} · {}\n{} · {} cores · {} · Linux {}\n{} on {} ({}) · flushed with {}\n",
            self.revision,
            self.rustc,
            self.cpu,
            self.cores,
            format::bytes(self.memory_bytes),
            self.kernel,
            self.filesystem,
            self.device,
            self.mount_options,
            self.flush,
        )
    }
}

fn read(path: &str) -> Result<String, Failed> {
    fs::read_to_string(path).map_err(|error| {
        Failed::new(format!(
            "cannot read {path}: {error}. The benchmark describes the machine from /proc: run it on Linux"
        ))
    })
}

/// The value of `name : value`, or `name: value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// What a program prints; `unknown` without it, since no number depends on it.
fn output(program: &str, arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(program).args(arguments).current_dir(root).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    point: &'a str,
    filesystem: &'a str,
    device: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(4);
        let (point, options) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        Some(Self {
            point,
            filesystem: after.next()?,
            device: after.next()?,
            options,
        })
    }

    /// The mount that a folder is on: the longest path above it, and of those the last mounted.
    fn of(mounts: &'a str, dir: &Path) -> Option<Self> {
        let above = mounts
            .lines()
            .filter_map(Self::parse)
            .filter(|mount| dir.starts_with(mount.point));
        above.max_by_key(|mount| mount.point.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
22 21 0:5 / /tmp rw,nosuid - tmpfs tmpfs rw,size=100k
23 21 0:6 / /tmp/disk rw,noatime shared:2 master:1 - xfs /dev/vdb rw
";

    #[test]
    fn the_innermost_mount_counts() {
        let of = |dir| Mount::of(MOUNTS, Path::new(dir)).unwrap();
        assert_eq!(of("/home/me").filesystem, "ext4");
        assert_eq!(of("/tmp").filesystem, "tmpfs");
        assert_eq!(of("/tmpfoo").filesystem, "ext4");
        let disk = of("/tmp/disk/x");
        assert_eq!(
            (disk.filesystem, disk.device, disk.options),
            ("xfs", "/dev/vdb", "rw,noatime")
        );
    }

    #[test]
    fn memory_is_refused_as_a_disk() {
        let mut machine = Machine::look(Path::new("/")).unwrap();
        machine.filesystem = "ext4".to_owned();
        machine.must_have_a_disk().unwrap();
        machine.filesystem = "tmpfs".to_owned();
        let refused = machine.must_have_a_disk().unwrap_err().to_string();
        assert!(
            refused.contains("tmpfs") && refused.contains("--dir"),
            "{refused}"
        );
    }

    #[test]
    fn fields_have_names() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast\nMemTotal:  16 kB\n";
        assert_eq!(field(text, "model name").unwrap(), "A CPU: fast");
        assert_eq!(field(text, "MemTotal").unwrap(), "16 kB");
        assert_eq!(field(text, "nothing"), None);
    }
}
