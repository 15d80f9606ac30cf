//! The data directory, its file system, and how long a sync takes there.

use std::fs::{File, OpenOptions, read_to_string};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{fdatasync, major, minor};

use super::Findings;
use crate::cli::data_dir;
use crate::clock::Clock;
use crate::config::Config;
use crate::plan::{Mib, Plan};
use crate::storage::medium::Medium;
use crate::storage::{FILE_MODE, NO_FOLLOW};

/// Looks at all of it.
pub fn look(config: &Config, plan: &Plan, found: &mut Findings) {
    let directory = data_dir::absolute(&config.data_dir);
    if let Some(mount) = data_dir::unmounted_at(&directory) {
        found.wrong(
            "data directory",
            format_args!("nothing is mounted at {}, though /etc/fstab has it", mount.display()),
            "Mount it: a ring made now would be on the wrong medium.",
        );
    }
    match data_dir::space(config) {
        Err(_) => {
            let text = format_args!("{} cannot be looked at", directory.display());
            found.wrong("data directory", text, "Does this user own it?");
        }
        Ok(space) => {
            look_at_space(config, plan, &space, found);
            look_at_medium(&space.at, found);
            look_at_syncs(&space.at, found);
            look_at_neighbours(&space.at, found);
        }
    }
}

fn look_at_space(config: &Config, plan: &Plan, space: &data_dir::Space, found: &mut Findings) {
    match space.check(config, plan) {
        Err(refusal) => {
            found.wrong("space", format_args!("{refusal}"), "Fewer segments, or a larger medium.");
        }
        Ok(()) => found.well(
            "space",
            format_args!(
                "{} for the rings, {} of them there, {} free",
                Mib(plan.flash_bytes()),
                Mib(space.present_bytes),
                Mib(space.free_bytes)
            ),
        ),
    }
}

fn look_at_medium(at: &Path, found: &mut Findings) {
    let medium = Medium::of(at);
    match medium.doubt {
        Some(doubt) => found.wrong(
            "file system",
            format_args!("{medium}: {doubt}"),
            "Acknowledged records may be lost at a power cut: put the ring on another file system.",
        ),
        None => found.well("file system", format_args!("{medium}")),
    }
    if medium.file_system == "vfat" || medium.file_system == "exfat" {
        found.note(
            "file system",
            format_args!("{} has no journal and no owners", medium.file_system),
            "ext4 with its journal is what is tested with power cuts.",
        );
    }
}

/// How long a write of one page and its sync take, one after another as lone records do.
fn look_at_syncs(at: &Path, found: &mut Findings) {
    let path = at.join(".brooklet-doctor");
    let took_us = measure(&path);
    let _ = std::fs::remove_file(&path);
    let Some(mut took_us) = took_us.filter(|took| !took.is_empty()) else {
        return found.note(
            "sync",
            format_args!("it could not be measured in {}", at.display()),
            "Run it as a user who may write there.",
        );
    };
    took_us.sort_unstable();
    let (median, longest) = (took_us[took_us.len() / 2].max(1), took_us[took_us.len() - 1]);
    let rate = 1_000_000 / median;
    let text = format_args!(
        "{median} us, at most {longest} us of {}: {rate} lone records a second, and more that share syncs",
        took_us.len()
    );
    let name = device_of(at);
    if name.starts_with("mmcblk") && median < CARD_US_MIN {
        found.wrong(
            "sync",
            text,
            "No card is that fast: it may not write when it is asked to. Pull the plug while testing it.",
        );
    } else if longest > LONG_US {
        found.note(
            "sync",
            text,
            "Producers wait as long now and then; a card for industrial use is steadier.",
        );
    } else {
        found.well("sync", text);
    }
}

fn measure(path: &Path) -> Option<Vec<u64>> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE).custom_flags(NO_FOLLOW);
    let file: File = options.open(path).ok()?;
    let (zeroes, page) = ([0; PAGE], [0x5a; PAGE]);
    let place = |at: usize| (at * PAGE) as u64;
    (0..SYNCS).try_for_each(|at| file.write_all_at(&zeroes, place(at))).ok()?;
    file.sync_all().ok()?;
    let clock = Clock::start();
    let mut took_us = Vec::with_capacity(SYNCS);
    for at in 0..SYNCS {
        let before = clock.mono();
        file.write_all_at(&page, place(at)).ok()?;
        fdatasync(&file).ok()?;
        took_us.push(clock.mono().since_us(before));
    }
    Some(took_us)
}

/// What else writes to the same medium.
fn look_at_neighbours(at: &Path, found: &mut Findings) {
    let Ok(own) = at.metadata() else { return };
    let swaps = read_to_string("/proc/swaps").unwrap_or_default();
    for line in swaps.lines().skip(1) {
        let place = line.split_whitespace().next().unwrap_or_default();
        let device = Path::new(place).metadata();
        let same =
            device.is_ok_and(|found| found.dev() == own.dev() || disk_of(place) == device_of(at));
        if same {
            found.note(
                "medium",
                format_args!("swap is on it: {place}"),
                "Swapping wears the card and delays syncs: swap to zram, or switch it off.",
            );
        }
    }
    let journal = Path::new("/var/log/journal").metadata();
    if journal.is_ok_and(|journal| journal.dev() == own.dev()) {
        found.note(
            "medium",
            format_args!("the system's journal is on it"),
            "Storage=volatile in journald.conf keeps it in memory; the ring's records stay.",
        );
    }
}

/// The disk that a directory is on, as the kernel calls it.
fn device_of(at: &Path) -> String {
    let device = at.metadata().map(|found| found.dev()).unwrap_or_default();
    let block = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let link = std::fs::read_link(block).unwrap_or_default();
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    disk_of(&name)
}

/// The disk that a partition is part of: mmcblk0p2 of mmcblk0, sda1 of sda.
fn disk_of(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or_default();
    let digits = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    match digits.strip_suffix('p') {
        Some(disk) if disk.ends_with(|letter: char| letter.is_ascii_digit()) => disk.to_string(),
        _ if name.starts_with("mmcblk") || name.starts_with("nvme") => name.to_string(),
        _ => digits.to_string(),
    }
}

const PAGE: usize = 4096;
const SYNCS: usize = 40;
/// The best cards take as long to sync a page.
const CARD_US_MIN: u64 = 200;
const LONG_US: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_part_of_its_disk() {
        for (name, disk) in [
            ("mmcblk0p2", "mmcblk0"),
            ("mmcblk0", "mmcblk0"),
            ("/dev/sda1", "sda"),
            ("sda", "sda"),
            ("nvme0n1p3", "nvme0n1"),
            ("nvme0n1", "nvme0n1"),
            ("vda", "vda"),
        ] {
            assert_eq!(disk_of(name), disk, "{name}");
        }
    }

    #[test]
    fn syncs_are_measured_where_one_may_write() {
        let path = std::env::temp_dir().join(format!("brooklet-doctor-{}", std::process::id()));
        assert_eq!(measure(&path).unwrap().len(), SYNCS);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(measure(Path::new("/no/such/directory/file")), None);
    }
}
