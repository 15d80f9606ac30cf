//! The file system and device of the data directory, and which calls sync a file there.
//!
//! `fdatasync` returns once the medium has the data, and for that has the device's volatile cache flushed.
//! Without a journal, ext4 before Linux 6.5 leaves that out whenever no metadata changed, which in files of a
//! fixed size is always; nor does its `fsync` write all that a new file needs, in newer kernels either.
//! `syncfs` does both.

use std::fmt;
use std::os::linux::fs::MetadataExt;
use std::path::Path;

/// The file system of the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Medium {
    /// Its name, as the kernel calls it; empty: not known.
    pub file_system: String,
    /// Whether a journal is in use; none: it is no ext file system, or that cannot be told.
    pub journal: Option<bool>,
    /// What the device does with writes, as the kernel knows it: `write back` or `write through`; empty:
    /// not known.
    pub write_cache: String,
    /// How a sync of what was written to a file reaches the medium.
    pub sync: SyncCall,
    /// The same of a file that was made.
    pub sync_made: SyncCall,
    /// Why it may not reach it, if anything is known.
    pub doubt: Option<&'static str>,
}

/// What is called to sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncCall {
    /// `fdatasync`.
    File,
    /// That, and `syncfs`.
    FileSystem,
}

impl SyncCall {
    /// Its name in log lines and reports.
    pub fn name(self) -> &'static str {
        match self {
            SyncCall::File => "fdatasync",
            SyncCall::FileSystem => "fdatasync, syncfs",
        }
    }
}

impl Medium {
    /// What the kernel says of a directory that exists.
    pub fn of(directory: &Path) -> Medium {
        // A name of another mount may be of any bytes.
        let text = |path: &str| {
            String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
        };
        let found = directory.canonicalize();
        let directory = found.as_deref().unwrap_or(directory);
        let mounts = text("/proc/self/mountinfo");
        let mount = mount_of(&mounts, directory).unwrap_or(Mount { file_system: "", options: "" });
        let device = directory.metadata().map(|found| {
            let device = found.st_dev();
            format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
        });
        let block = format!("/sys/dev/block/{}", device.unwrap_or_default());
        let name = std::fs::read_link(&block).ok();
        let name = name.as_deref().and_then(Path::file_name).unwrap_or_default();
        let release = text("/proc/sys/kernel/osrelease");
        let task = text(&format!("/sys/fs/ext4/{}/journal_task", name.display()));
        // The queue of a partition is that of its disk.
        let queues =
            ["queue", "../queue"].map(|queue| text(&format!("{block}/{queue}/write_cache")));
        let write_cache = queues.into_iter().find(|cache| !cache.is_empty());
        let write_cache = write_cache.unwrap_or_default();
        Medium::seen(mount, release.trim(), task.trim(), write_cache.trim())
    }

    fn seen(mount: Mount<'_>, release: &str, journal_task: &str, write_cache: &str) -> Medium {
        let is_ext = matches!(mount.file_system, "ext2" | "ext3" | "ext4");
        // What is below an overlay, or where nothing is known, may be one of these.
        let may_be_ext = is_ext || matches!(mount.file_system, "overlay" | "");
        let journal = match journal_task {
            "" => None,
            task => Some(task != "<none>"),
        };
        // Where something cannot be told, more is safer.
        let call = |whole| if whole { SyncCall::FileSystem } else { SyncCall::File };
        let unjournaled = may_be_ext && journal != Some(true);
        let flushes = version_of(release).is_some_and(|version| version >= FLUSHES_SINCE);
        Medium {
            file_system: mount.file_system.to_string(),
            journal: journal.filter(|_| is_ext),
            write_cache: write_cache.to_string(),
            sync: call(unjournaled && !flushes),
            sync_made: call(unjournaled),
            doubt: doubt_of(&mount),
        }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.file_system.is_empty() { "a file system" } else { &self.file_system };
        let journal = match self.journal {
            Some(true) => " with a journal",
            Some(false) => " without a journal",
            None => "",
        };
        write!(f, "{name}{journal}, synced by {}", self.sync.name())?;
        match self.write_cache.as_str() {
            "" => Ok(()),
            cache => write!(f, ", on a device that does {cache}"),
        }
    }
}

/// Since when ext4 without a journal flushes the device's cache in every `fdatasync`.
const FLUSHES_SINCE: (u32, u32) = (6, 5);

/// `6.1.0-30-arm64` is 6.1.
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What in a mount keeps syncs from the medium.
fn doubt_of(mount: &Mount<'_>) -> Option<&'static str> {
    let has = |option: &str| mount.options.split(',').any(|other| other == option);
    match mount.file_system {
        "tmpfs" | "ramfs" => Some("it is in memory, and gone with the power"),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "virtiofs" => {
            Some("what a sync means is up to the machine that it comes from")
        }
        _ if has("nobarrier") || has("barrier=0") => {
            Some("it is mounted without barriers, so that nothing flushes the device's cache")
        }
        "overlay" if has("volatile") => Some("it is mounted volatile, so that nothing is synced"),
        _ => None,
    }
}

/// A line of `mountinfo`, as far as it is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mount<'a> {
    file_system: &'a str,
    /// Of the file system, not of the mount.
    options: &'a str,
}

/// The mount that a directory is in: the longest one above it, and of several at one place the last.
fn mount_of<'a>(mounts: &'a str, directory: &Path) -> Option<Mount<'a>> {
    let mut best: Option<(usize, Mount<'_>)> = None;
    for line in mounts.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let place = unescaped(mount.split(' ').nth(4).unwrap_or_default());
        let mut words = file_system.split(' ');
        let mut word = |at| words.nth(at).unwrap_or_default();
        let found = Mount { file_system: word(0), options: word(1) };
        let longest = best.is_none_or(|(bytes, _)| place.len() >= bytes);
        if longest && !place.is_empty() && directory.starts_with(&place) {
            best = Some((place.len(), found));
        }
    }
    best.map(|(_, mount)| mount)
}

/// A path of `mountinfo` or `fstab`, in which a space is written as `\040`.
pub fn unescaped(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw\n\
        23 22 0:21 / /proc rw - proc proc rw\n\
        40 22 179:3 / /data rw,noatime - ext4 /dev/mmcblk0p3 rw,barrier=0\n\
        41 22 179:4 / /data\\040two rw - ext4 /dev/mmcblk0p4 rw,nobarrier\n\
        42 40 0:50 / /data/ram rw - tmpfs tmpfs rw,size=1024k\n\
        43 22 8:1 / /card rw - vfat /dev/sda1 rw\n\
        44 22 8:2 / /card rw - ext2 /dev/sda2 rw\n";

    fn at(path: &str) -> Mount<'_> {
        mount_of(MOUNTS, Path::new(path)).unwrap()
    }

    #[test]
    fn a_directory_is_in_the_nearest_mount_and_the_last_one_there() {
        for (path, file_system, options) in [
            ("/srv/ring", "ext4", "rw"),
            ("/data/ring", "ext4", "rw,barrier=0"),
            ("/database", "ext4", "rw"),
            ("/data two/ring", "ext4", "rw,nobarrier"),
            ("/data/ram", "tmpfs", "rw,size=1024k"),
            ("/card/a/b", "ext2", "rw"),
        ] {
            assert_eq!(at(path), Mount { file_system, options }, "{path}");
        }
        assert_eq!(mount_of("", Path::new("/")), None);
        assert_eq!(mount_of("22 1 179:2 /", Path::new("/")), None);
        let more = format!("22 1 179:2 / - \n nonsense\n{MOUNTS}");
        assert_eq!(mount_of(&more, Path::new("/srv")), Some(at("/srv")));
    }

    #[test]
    fn ext4_whose_journal_is_not_known_to_be_there_is_synced_whole() {
        let (ext4, ext2, tmpfs) = (at("/srv"), at("/card"), at("/data/ram"));
        for (mount, release, task, journal, whole) in [
            (ext4, "6.1.0-30-arm64", "241", Some(true), (false, false)),
            (ext4, "6.1.0-30-arm64", "<none>", Some(false), (true, true)),
            (ext4, "6.4.16", "<none>", Some(false), (true, true)),
            (ext4, "5.15.0", "<none>", Some(false), (true, true)),
            (ext4, "6.5.0", "<none>", Some(false), (false, true)),
            (ext4, "6.12.47+rpt-rpi-v8", "<none>", Some(false), (false, true)),
            (ext4, "10.0", "<none>", Some(false), (false, true)),
            (ext4, "", "<none>", Some(false), (true, true)),
            (ext4, "6.1.0", "", None, (true, true)),
            (ext2, "6.1.0", "<none>", Some(false), (true, true)),
            (tmpfs, "6.1.0", "", None, (false, false)),
            (Mount { file_system: "overlay", options: "rw" }, "6.1.0", "", None, (true, true)),
            (Mount { file_system: "", options: "" }, "6.1.0", "", None, (true, true)),
        ] {
            let medium = Medium::seen(mount, release, task, "write back");
            let calls = [medium.sync, medium.sync_made].map(|call| call == SyncCall::FileSystem);
            assert_eq!(
                (medium.journal, calls.into()),
                (journal, whole),
                "{mount:?} {release} {task}"
            );
        }
    }

    #[test]
    fn what_keeps_syncs_from_the_medium_is_said() {
        let doubts = ["/srv", "/data", "/data two", "/data/ram"].map(|path| doubt_of(&at(path)));
        assert_eq!(doubts.map(|doubt| doubt.is_some()), [false, true, true, true]);
        let volatile = Mount { file_system: "overlay", options: "rw,lowerdir=/a,volatile" };
        assert!(doubt_of(&volatile).is_some());
    }

    #[test]
    fn the_directory_of_this_test_lies_on_something() {
        let medium = Medium::of(&std::env::temp_dir());
        assert!(!medium.file_system.is_empty(), "{medium:?}");
        let missing = Medium::of(Path::new("/no/such/directory"));
        assert!(!missing.file_system.is_empty(), "{missing:?}");
    }
}
