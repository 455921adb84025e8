//! How much memory there is to take.

use std::path::Path;

/// Taken where the system does not say.
const UNKNOWN: u64 = 2 << 30;

/// Taken even where there is less.
const LEAST: u64 = 64 << 20;

/// The memory that counting and merging take if nobody says how much: three quarters of what is available now, by the
/// system and by each of the control groups that the process is in, whichever allows the least; 64 MiB at least.
pub fn default_max_memory() -> u64 {
    (available(Path::new("/")).or_else(physical).unwrap_or(UNKNOWN) / 4 * 3).max(LEAST)
}

/// What Linux tells, in the files below `root`.
fn available(root: &Path) -> Option<u64> {
    let free = field(&read(&root.join("proc/meminfo"))?, "MemAvailable:")? * 1024;
    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let in_groups = groups.lines().filter_map(|line| {
        // A line is a number, the controllers, and the group's path; version 2 has no controllers.
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        match controllers {
            "" => least_left(&root.join("sys/fs/cgroup"), path, &V2),
            _ if controllers.split(',').any(|name| name == "memory") => {
                least_left(&root.join("sys/fs/cgroup/memory"), path, &V1)
            }
            _ => None,
        }
    });
    in_groups.chain([free]).min()
}

/// The files of a control group.
struct Names {
    limit: &'static str,
    usage: &'static str,
    /// The cached files among what is used: they make room when it is needed.
    cached: &'static str,
}

const V1: Names =
    Names { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", cached: "total_inactive_file" };
const V2: Names = Names { limit: "memory.max", usage: "memory.current", cached: "inactive_file" };

/// What is left in a group and in all groups around it. Inside a container its own group may be the root of those it sees.
fn least_left(mount: &Path, group: &str, names: &Names) -> Option<u64> {
    let group = Path::new(group.trim_start_matches('/'));
    group.ancestors().filter_map(|group| left(&mount.join(group), names)).min()
}

fn left(group: &Path, names: &Names) -> Option<u64> {
    // Without a limit it says "max", which is no number, or one greater than any machine has.
    let limit: u64 = read(&group.join(names.limit))?.trim().parse().ok()?;
    let usage: u64 = read(&group.join(names.usage))?.trim().parse().ok()?;
    let cached = read(&group.join("memory.stat")).and_then(|stat| field(&stat, names.cached)).unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(cached)))
}

/// The number behind a name that begins a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut words = text.lines().map(str::split_whitespace).find_map(|mut words| {
        let found = words.next() == Some(name);
        found.then_some(words)
    })?;
    words.next()?.parse().ok()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The memory that is built in, as far as other systems tell.
#[cfg(unix)]
fn physical() -> Option<u64> {
    // SAFETY: `sysconf` only answers; where it does not know, with -1, which is no `u64`.
    let [pages, size] = [libc::_SC_PHYS_PAGES, libc::_SC_PAGESIZE].map(|name| unsafe { libc::sysconf(name) });
    u64::try_from(pages).ok()?.checked_mul(u64::try_from(size).ok()?)
}

#[cfg(not(unix))]
fn physical() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn available_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        available(root.path())
    }

    const MEMORY: (&str, &str) = ("proc/meminfo", "MemTotal: 900 kB\nMemFree: 1 kB\nMemAvailable: 800 kB\n");

    #[test]
    fn the_least_of_the_system_and_all_groups_counts() {
        assert_eq!(available_with(&[]), None);
        assert_eq!(available_with(&[MEMORY]), Some(800 << 10));
        let v2 = |limit, outer| {
            available_with(&[
                MEMORY,
                ("proc/self/cgroup", "0::/outer/inner\n"),
                ("sys/fs/cgroup/outer/inner/memory.max", limit),
                ("sys/fs/cgroup/outer/inner/memory.current", "60000\n"),
                ("sys/fs/cgroup/outer/inner/memory.stat", "anon 50000\ninactive_file 10000\n"),
                ("sys/fs/cgroup/outer/memory.max", outer),
                ("sys/fs/cgroup/outer/memory.current", "60000\n"),
            ])
        };
        assert_eq!(v2("max\n", "max\n"), Some(800 << 10));
        assert_eq!(v2("100000\n", "max\n"), Some(50_000));
        assert_eq!(v2("100000\n", "70000\n"), Some(10_000));
        assert_eq!(v2("1000\n", "max\n"), Some(0));
        // In a container the group's own path may lie outside of what can be seen.
        let v1 = |limit| {
            available_with(&[
                MEMORY,
                ("proc/self/cgroup", "5:cpu,cpuacct:/elsewhere\n4:memory:/docker/abc\n0::/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", limit),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "60000\n"),
                ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 10000\n"),
            ])
        };
        assert_eq!(v1("9223372036854771712\n"), Some(800 << 10));
        assert_eq!(v1("100000\n"), Some(50_000));
    }

    #[test]
    fn this_machine_has_some() {
        assert!(default_max_memory() > 1 << 20);
    }
}
