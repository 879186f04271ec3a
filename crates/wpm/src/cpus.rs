//! How many CPUs this process may use, and what `-i` makes of that number.
//!
//! Counts the CPUs of the affinity mask and, where a cgroup grants less, that quota rounded up.

use std::fs;
use std::path::Path;

/// CPUs that this process may use, at least 1.
pub(crate) fn usable() -> u32 {
    let affinity = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count());
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits: Vec<String> = cpu_max_files(&groups, Path::new("/sys/fs/cgroup"));
    limit(affinity, limits.iter().map(String::as_str))
}

/// Contents of `cpu.max` of the own cgroup (version 2) and of every one above it.
fn cpu_max_files(groups: &str, root: &Path) -> Vec<String> {
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let own = root.join(own);
    own.ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| fs::read_to_string(folder.join("cpu.max")).ok())
        .collect()
}

/// The smallest of all limits, rounded up to whole CPUs.
fn limit<'a>(affinity: u32, cpu_max: impl Iterator<Item = &'a str>) -> u32 {
    cpu_max.filter_map(quota).fold(affinity, u32::min).max(1)
}

/// CPUs granted by `QUOTA PERIOD`; none for `max PERIOD`.
fn quota(cpu_max: &str) -> Option<u32> {
    let mut fields = cpu_max.split_ascii_whitespace();
    let quota: u64 = fields.next()?.parse().ok()?;
    let period: u64 = fields.next().unwrap_or("100000").parse().ok().filter(|period| *period > 0)?;
    u32::try_from(quota.div_ceil(period)).ok()
}

/// Number of instances that `-i` asks for: `3`, `max` and `0` (one for each CPU), `-1` (one less).
pub(crate) fn instances(text: &str, cpus: u32) -> Result<u32, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("max") {
        return Ok(cpus);
    }
    let number: i64 = text.parse().map_err(|_| {
        format!("`{text}` is not a number of instances: a number, `max`, or -1 for one CPU less")
    })?;
    match number {
        0 => Ok(cpus),
        less if less < 0 => Ok(u32::try_from(i64::from(cpus).saturating_add(less)).unwrap_or(1).max(1)),
        more => u32::try_from(more).ok().filter(|count| *count <= MAX_INSTANCES).ok_or_else(|| {
            format!("{more} instances are more than the {MAX_INSTANCES} that an app may have")
        }),
    }
}

/// As the daemon has it; more is a slip of the finger.
const MAX_INSTANCES: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_counts_and_is_rounded_up() {
        assert_eq!(limit(8, [].into_iter()), 8);
        assert_eq!(limit(8, ["max 100000\n", "250000 100000\n"].into_iter()), 3);
        assert_eq!(limit(2, ["400000 100000"].into_iter()), 2);
        assert_eq!(limit(8, ["1000 100000"].into_iter()), 1);
        assert_eq!(limit(8, ["nonsense", "", "5 0"].into_iter()), 8);
        assert_eq!(limit(0, [].into_iter()), 1);
    }

    #[test]
    fn quotas_of_the_groups_above_count_too() {
        let dir = tempfile::tempdir().expect("temp dir");
        let own = dir.path().join("a/b");
        fs::create_dir_all(&own).expect("created");
        fs::write(dir.path().join("a/cpu.max"), "150000 100000").expect("written");
        fs::write(own.join("cpu.max"), "max 100000").expect("written");
        assert_eq!(cpu_max_files("12:cpu:/x\n0::/a/b\n", dir.path()).len(), 2);
        assert!(cpu_max_files("12:cpu:/x\n", dir.path()).is_empty());
    }

    #[test]
    fn instances_as_in_pm2() {
        assert_eq!(instances("3", 8), Ok(3));
        assert_eq!(instances("MAX", 8), Ok(8));
        assert_eq!(instances("0", 8), Ok(8));
        assert_eq!(instances("-1", 8), Ok(7));
        assert_eq!(instances("-2", 8), Ok(6));
        assert_eq!(instances("-1", 1), Ok(1));
        assert_eq!(instances("-100", 2), Ok(1));
        assert!(
            instances("many", 8).is_err() && instances("1.5", 8).is_err() && instances("1001", 8).is_err()
        );
    }

    #[test]
    fn this_machine_has_at_least_one() {
        assert!(usable() >= 1);
    }
}
