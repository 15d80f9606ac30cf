//! The data directory: made or refused, locked, and large enough.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, major, minor, statvfs};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::Failure;
use crate::config::value::Refusal;
use crate::config::{Config, Create};
use crate::plan::{Mib, Plan};
use crate::process;
use crate::storage::{self, medium};

/// The name of the file that is locked; it holds the holder's process id.
pub const LOCK: &str = "LOCK";

/// Held while the program works on a data directory; let go when dropped or when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: Option<File>,
    /// The directory cannot be written to.
    only_to_read: bool,
}

/// The space for the rings.
#[derive(Debug)]
pub struct Space {
    /// Free bytes of the file system.
    pub free_bytes: u64,
    /// Bytes of the rings' files that are there already.
    pub present_bytes: u64,
    /// Where this was measured: the data directory, or what would hold it.
    pub at: PathBuf,
}

/// Makes the directory if it may be made, and locks it.
pub fn open_to_serve(config: &Config, plan: &Plan) -> Result<Lock, Failure> {
    let directory = &config.data_dir;
    if directory.exists() && !directory.is_dir() {
        let taken = format!(
            "data_dir = {directory:?} is not allowed: that is a file; it takes a directory"
        );
        return Err(Failure::Usage(Refusal::new(taken)));
    }
    if !has_ring(directory) {
        allow_new_ring(config, unmounted_at(&absolute(directory)))?;
    }
    space(config)?.check(config, plan)?;
    let made = DirBuilder::new().recursive(true).mode(storage::FOLDER_MODE).create(directory);
    made.map_err(|error| failed(directory, &error))?;
    check_whose(directory)?;
    let lock = lock(directory, true)?;
    if lock.only_to_read {
        return Err(Failure::Failed(format!(
            "{} is mounted read-only, as a worn-out card is: nothing can be stored there, but brooklet \
             check, dump and export read what it has",
            directory.display()
        )));
    }
    Ok(lock)
}

/// Locks a directory that must hold a ring, for the commands that work beside no broker. They need not
/// be able to write there.
pub fn open_offline(config: &Config) -> Result<Lock, Failure> {
    if !has_ring(&config.data_dir) {
        let directory = config.data_dir.display();
        return Err(Failure::Failed(format!("there is no ring in {directory}")));
    }
    lock(&config.data_dir, false)
}

/// Refuses a directory in which somebody else could put links and files, or would find files that are not
/// his.
fn check_whose(directory: &Path) -> Result<(), Failure> {
    let found = std::fs::metadata(directory).map_err(|error| failed(directory, &error))?;
    let (owner, own, shown) = (found.uid(), geteuid().as_raw(), directory.display());
    if owner != own {
        return Err(Failure::Failed(format!(
            "{shown} belongs to user {owner}, and this is user {own}: run brooklet as its owner, or \
             choose a directory below it, which is made then"
        )));
    }
    if found.mode() & WRITABLE_BY_ALL != 0 {
        return Err(Failure::Failed(format!(
            "anybody may write to {shown}: chmod o-w {shown}, or mount it with a umask"
        )));
    }
    Ok(())
}

/// Measures the space that the rings have and need.
pub fn space(config: &Config) -> Result<Space, Failure> {
    let mut at = absolute(&config.data_dir);
    while !at.exists() && at.pop() {}
    let stat = statvfs(&at).map_err(|errno| failed(&at, &errno.into()))?;
    Ok(Space {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        present_bytes: ring_files(&config.data_dir).map(|file| file.1).sum(),
        at,
    })
}

impl Space {
    /// Refuses rings that do not fit.
    pub fn check(&self, config: &Config, plan: &Plan) -> Result<(), Refusal> {
        let wanted = plan.flash_bytes().saturating_sub(self.present_bytes);
        if wanted <= self.free_bytes {
            return Ok(());
        }
        let rings: Vec<String> = plan.flash.iter().map(ToString::to_string).collect();
        let fits = match &config.rings[..] {
            [ring] => {
                let (free, each) = (self.free_bytes + self.present_bytes, ring.segment_bytes);
                let metadata = plan.flash_bytes() - u64::from(ring.segments + ring.spares) * each;
                let segments =
                    (free.saturating_sub(metadata) / each).checked_sub(ring.spares.into());
                segments.filter(|segments| *segments >= 3)
            }
            _ => None,
        };
        let fits = fits.map_or(String::new(), |n| format!("; ring.segments = {n} fits"));
        Err(Refusal::new(format!(
            "data_dir = {:?} has no room: {} more are needed and {} are free, for {}{fits}",
            config.data_dir,
            Mib(wanted),
            Mib(self.free_bytes),
            rings.join("; ")
        )))
    }
}

/// Decides whether a ring may be made where there is none.
fn allow_new_ring(config: &Config, unmounted: Option<PathBuf>) -> Result<(), Failure> {
    let directory = config.data_dir.display();
    if config.create == Create::Never {
        return Err(Failure::Failed(format!(
            "there is no ring in {directory}, and create = \"never\": is its medium mounted?"
        )));
    }
    if let Some(mount) = unmounted {
        return Err(Failure::Failed(format!(
            "there is no ring in {directory}, and nothing is mounted at {} though /etc/fstab has \
             it: a ring made now would be on the wrong medium",
            mount.display()
        )));
    }
    log::warn!(
        "there is no ring in {directory}: one is made; if a card should be mounted there, stop now, mount \
         it, and set create = \"never\""
    );
    Ok(())
}

/// The mount point at or above the directory at which something should be mounted, and is not.
pub fn unmounted_at(directory: &Path) -> Option<PathBuf> {
    let fstab = std::fs::read_to_string("/etc/fstab").unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    unmounted(directory, &fstab, &mounts)
}

/// The mount point in fstab, at or above the directory, at which nothing is mounted.
fn unmounted(directory: &Path, fstab: &str, mountinfo: &str) -> Option<PathBuf> {
    if mountinfo.is_empty() {
        return None;
    }
    let mounted: Vec<PathBuf> = column(mountinfo, 4).collect();
    column(fstab, 1)
        .filter(|mount| mount.is_absolute() && directory.starts_with(mount))
        .find(|mount| !mounted.contains(mount))
}

/// A column of paths.
fn column(table: &str, column: usize) -> impl Iterator<Item = PathBuf> {
    let lines = table.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.filter_map(move |line| {
        let path = line.split_ascii_whitespace().nth(column)?;
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        Some(PathBuf::from(medium::unescaped(path)))
    })
}

/// The path from the root, with what exists of it resolved.
pub fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let existing = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match existing {
        Some((above, resolved)) => match path.strip_prefix(above) {
            Ok(rest) if rest.as_os_str().is_empty() => resolved,
            Ok(rest) => resolved.join(rest),
            Err(_) => path,
        },
        None => path,
    }
}

fn has_ring(directory: &Path) -> bool {
    ring_files(directory).next().is_some()
}

/// The files of all rings with their lengths, those included that a start left unfinished.
fn ring_files(directory: &Path) -> impl Iterator<Item = (PathBuf, u64)> {
    let rings = entries(directory, "ring-").chain(entries(directory, "metadata"));
    rings
        .flat_map(|ring| entries(&ring.path(), "segment-"))
        .filter_map(|file| Some((file.path(), file.metadata().ok()?.len())))
}

fn entries(
    directory: &Path,
    prefix: &'static str,
) -> impl Iterator<Item = std::fs::DirEntry> + use<> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix))
}

/// Locks the directory. `serves`: the file for that is made where there is none; who only reads makes
/// none, which its owner might not be able to open.
fn lock(directory: &Path, serves: bool) -> Result<Lock, Failure> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).mode(storage::FILE_MODE).custom_flags(storage::NO_FOLLOW);
    let opened = options.clone().write(true).create(serves).truncate(false).open(&path);
    let (mut file, only_to_read) = match opened {
        Ok(file) => (file, false),
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => match options.open(&path) {
            Ok(file) => (file, true),
            // Nobody ever served from there.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Lock { _file: None, only_to_read: true });
            }
            Err(error) => return Err(failed(&path, &error)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound && !serves => {
            return Ok(Lock { _file: None, only_to_read: false });
        }
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            let shown = path.display();
            return Err(Failure::Failed(format!(
                "{shown} is a symbolic link, which is not followed"
            )));
        }
        Err(error) => return Err(failed(&path, &error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(Failure::Failed(format!(
                "{} is in use by {}: one data directory serves one broker, and the offline commands \
                 want it stopped",
                directory.display(),
                holder(&file)
            )));
        }
        Err(errno) => return Err(failed(&path, &errno.into())),
    }
    if only_to_read {
        return Ok(Lock { _file: Some(file), only_to_read });
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    written.map_err(|error| failed(&path, &error))?;
    Ok(Lock { _file: Some(file), only_to_read })
}

/// Who holds the lock: the kernel knows; the file has what brooklet wrote into it.
fn holder(file: &File) -> String {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let found = file.metadata().ok().and_then(|file| {
        let (major, minor, inode) = (major(file.dev()), minor(file.dev()), file.ino());
        let place = format!("{major:02x}:{minor:02x}:{inode}");
        let mut fields = locks.lines().map(|line| line.split_ascii_whitespace());
        let lock = fields.find(|fields| fields.clone().any(|field| field == place))?;
        // Behind its number: FLOCK, ADVISORY, WRITE. Another container's process is 0.
        lock.clone().nth(4)?.parse().ok().filter(|pid| *pid > 0)
    });
    if let Some(pid) = found {
        return process::named(pid);
    }
    let mut written = String::new();
    let _ = Read::take(file, 32).read_to_string(&mut written);
    match written.trim() {
        "" => "another process".to_string(),
        pid => format!("process {pid}, as {LOCK} says"),
    }
}

/// In a file's mode.
const WRITABLE_BY_ALL: u32 = 0o002;

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    let own = geteuid().as_raw();
    let mut above = path.ancestors().filter_map(|path| path.metadata().ok());
    let whose = match above.next().map(|found| found.uid()) {
        Some(owner) if error.kind() == ErrorKind::PermissionDenied && owner != own => {
            format!(" (it is user {owner}'s, and this is user {own})")
        }
        _ => String::new(),
    };
    Failure::Failed(format!("{}: {error}{whose}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 8:2 / /mnt/my\\040card rw - vfat /dev/sda1 rw
";

    fn found(directory: &str, fstab: &str) -> Option<PathBuf> {
        unmounted(Path::new(directory), fstab, MOUNTINFO)
    }

    #[test]
    fn a_mount_point_with_nothing_mounted_is_seen() {
        let fstab = "# /dev/sdc /old ext4\n/dev/root / ext4 defaults 0 1\n\
                     /dev/sda1 /mnt/my\\040card vfat noauto 0 0\nUUID=1 /mnt/card/ ext4 nofail\n\
                     /dev/sdb none swap sw\n";
        assert_eq!(found("/mnt/card", fstab), Some("/mnt/card".into()));
        assert_eq!(found("/mnt/card/brooklet/data", fstab), Some("/mnt/card".into()));
        for directory in ["/mnt/cards/b", "/var/lib/brooklet", "/mnt/my card/b", "/old/b"] {
            assert_eq!(found(directory, fstab), None, "{directory}");
        }
        assert_eq!(unmounted(Path::new("/mnt/card"), fstab, ""), None);
    }

    #[test]
    fn rings_that_do_not_fit_are_refused_and_those_that_are_there_count() {
        let config = Config::default();
        let plan = Plan::of(&config);
        let space = |free_bytes, present_bytes| Space { free_bytes, present_bytes, at: "/".into() };
        let all = plan.flash_bytes();
        assert_eq!(space(all, 0).check(&config, &plan), Ok(()));
        assert_eq!(space(0, all).check(&config, &plan), Ok(()));
        let refusal = space(all / 2, all / 4).check(&config, &plan).unwrap_err().to_string();
        assert!(
            refusal.contains("228.00 MiB more are needed and 152.00 MiB are free"),
            "{refusal}"
        );
    }

    #[test]
    fn a_directory_is_locked_once_and_the_holder_is_named() {
        let path = std::env::temp_dir().join(format!("brooklet-lock-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let held = lock(&path, true).unwrap();
        // It may be somebody else who has it.
        std::fs::write(path.join(LOCK), "1").unwrap();
        let Err(Failure::Failed(why)) = lock(&path, false) else { panic!("locked twice") };
        assert!(why.contains(&format!("in use by process {} (", std::process::id())), "{why}");
        drop(held);
        assert!(lock(&path, true).is_ok());
        let _ = std::fs::remove_dir_all(&path);
    }

    #[test]
    fn nothing_is_written_through_a_link_or_where_anybody_may_put_one() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("brooklet-whose-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("victim"), "kept").unwrap();
        std::os::unix::fs::symlink("victim", path.join(LOCK)).unwrap();
        let Err(Failure::Failed(why)) = lock(&path, true) else { panic!("a link is followed") };
        assert!(why.ends_with("is a symbolic link, which is not followed"), "{why}");
        assert_eq!(std::fs::read_to_string(path.join("victim")).unwrap(), "kept");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        check_whose(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let Err(Failure::Failed(why)) = check_whose(&path) else { panic!("anybody's directory") };
        assert!(why.starts_with("anybody may write to"), "{why}");
        let _ = std::fs::remove_dir_all(&path);
    }

    #[test]
    fn a_path_is_resolved_as_far_as_it_exists() {
        assert_eq!(absolute(Path::new("/../no/such")), Path::new("/no/such"));
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(absolute(Path::new("./no-such")), here.join("no-such"));
        assert_eq!(absolute(Path::new(".")), here);
    }
}
