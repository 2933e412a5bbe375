//! A part of a core for a process: so that one core of load can offer several times what another one carries.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// In which a part of a core is given, in microseconds: short beside what calls may wait;
const PERIOD_US: f64 = 5_000.0;
/// but longer where the part would be less than the kernel can tell apart.
const LEAST_US: f64 = 1_000.0;
/// How a group's folder begins; the process that has made it follows.
const NAME: &str = "viaduct-bench-";

/// A control group with a quota, which ends with this value.
pub struct Quota {
    folder: PathBuf,
}

/// Where the kernel has its control groups for processors.
#[derive(Debug, PartialEq, Eq)]
enum Hierarchy {
    V1(PathBuf),
    V2(PathBuf),
}

impl Quota {
    /// So large a part of a core, between 0 and 1. Beside it nobody else takes any of that part.
    ///
    /// # Errors
    /// The kernel has no such groups, or this process may not make one.
    pub fn new(part: f64) -> io::Result<Self> {
        let hierarchy = Hierarchy::of(&fs::read_to_string("/proc/mounts")?).ok_or_else(|| {
            io::Error::other(
                "no control groups for processors are mounted here\n  hint: leave out --core-part",
            )
        })?;
        let period = PERIOD_US.max(LEAST_US / part).round();
        let quota = (period * part).round();
        let (root, values) = match &hierarchy {
            Hierarchy::V1(root) => (
                root,
                vec![
                    ("cpu.cfs_period_us", period.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                    ("cpu.shares", "262144".to_owned()),
                ],
            ),
            Hierarchy::V2(root) => {
                write(root, "cgroup.subtree_control", "+cpu")?;
                (root, vec![("cpu.max", format!("{quota} {period}")), ("cpu.weight", "10000".to_owned())])
            }
        };
        remove_those_left(root);
        let folder = root.join(format!("{NAME}{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| refused(&folder, &error))?;
        let this = Self { folder };
        values.iter().try_for_each(|(name, value)| write(&this.folder, name, value))?;
        Ok(this)
    }

    /// Puts a process into it, with all its threads.
    ///
    /// # Errors
    /// It may not be put there.
    pub fn hold(&self, process: u32) -> io::Result<()> {
        write(&self.folder, "cgroup.procs", &process.to_string())
    }
}

impl Drop for Quota {
    /// Where somebody is still in it, it stays.
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Hierarchy {
    /// As the lines of `/proc/mounts` say: the first version where both have processors, because there that has them.
    fn of(mounts: &str) -> Option<Self> {
        let mut of_v2 = None;
        for line in mounts.lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(folder), Some(kind), Some(options)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            match kind {
                "cgroup" if options.split(',').any(|option| option == "cpu") => {
                    return Some(Self::V1(folder.into()));
                }
                "cgroup2" => of_v2 = of_v2.or(Some(Self::V2(folder.into()))),
                _ => {}
            }
        }
        of_v2
    }
}

/// Those of processes that were ended before they could.
fn remove_those_left(root: &Path) {
    for folder in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = folder.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(NAME));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir(folder.path());
        }
    }
}

fn write(folder: &Path, name: &str, value: &str) -> io::Result<()> {
    let file = folder.join(name);
    fs::write(&file, value).map_err(|error| refused(&file, &error))
}

fn refused(path: &Path, error: &io::Error) -> io::Error {
    let hint = "hint: control groups need root, and a file system that may be written to";
    io::Error::new(error.kind(), format!("{}: {error}\n  {hint}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn groups_are_where_processors_are() {
        let v1 = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0";
        let set = "cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0";
        let v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0";
        let of = |lines: &[&str]| Hierarchy::of(&lines.join("\n"));
        assert_eq!(of(&[v2]), Some(Hierarchy::V2("/sys/fs/cgroup".into())));
        assert_eq!(of(&[set, v2]), Some(Hierarchy::V2("/sys/fs/cgroup".into())));
        assert_eq!(of(&[v2, set, v1]), Some(Hierarchy::V1("/sys/fs/cgroup/cpu,cpuacct".into())));
        assert_eq!(of(&[set, "tmpfs /tmp tmpfs rw 0 0", ""]), None);
    }

    #[test]
    fn a_process_has_no_more_than_its_part() {
        let quota = match Quota::new(0.25) {
            Ok(quota) => quota,
            Err(error) => {
                // Past the test harness, which would keep it to itself.
                writeln!(io::stderr(), "SKIPPED: a part of a core: {error}").expect("standard error");
                return;
            }
        };
        let folder = quota.folder.clone();
        // It waits for a line, works until it is ended, and counts its time by the kernel.
        let mut child = Command::new("sh")
            .args(["-c", "read line; while :; do :; done"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        quota.hold(child.id()).unwrap();
        writeln!(child.stdin.take().unwrap(), "go").unwrap();
        let begin = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", child.id())).unwrap();
        let wall = begin.elapsed();
        child.kill().unwrap();
        child.wait().unwrap();
        let ran = Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap());
        let part = ran.as_secs_f64() / wall.as_secs_f64();
        assert!(part > 0.01 && part < 0.35, "{part}");
        drop(quota);
        assert!(!folder.exists());
    }
}
