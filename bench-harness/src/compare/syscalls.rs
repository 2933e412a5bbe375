//! System calls of a forwarder, counted by the kernel's tracepoint `raw_syscalls:sys_enter`.
//!
//! Exact, and far cheaper than stopping the forwarder at each call as `strace` does; but not free, so a window in
//! which it counts is not one whose CPU time is compared.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd as _, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::interrupt::{Kept, Switch};
use crate::subject::Subject;

/// A tracing instance of its own.
pub struct Counter {
    /// Keeps the file system, which is mounted nowhere any more.
    _tracefs: File,
    instance: PathBuf,
    /// An interrupt removes it.
    _kept: Kept,
}

/// What this program's instances are called, with process and number behind it.
const INSTANCE: &str = "bench-harness-";

/// How many this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

impl Counter {
    /// Prepares to count.
    ///
    /// # Errors
    /// This process may not mount tracefs, or the kernel has no such tracepoint.
    pub fn new() -> io::Result<Self> {
        let tracefs = unmounted()?;
        let instances = PathBuf::from(format!("/proc/self/fd/{}/instances", tracefs.as_raw_fd()));
        remove_left(&instances)?;
        let (process, number) = (std::process::id(), MADE.fetch_add(1, Relaxed));
        let instance = instances.join(format!("{INSTANCE}{process}.{number}"));
        fs::create_dir(&instance)?;
        let kept = Kept::instance(&instance)?;
        let this = Self { _tracefs: tracefs, instance, _kept: kept };
        // Only its counts are read: the least memory is enough.
        fs::write(this.instance.join("buffer_size_kb"), "4")?;
        Ok(this)
    }

    /// Counts what the forwarder's threads call while the work is done; `None`: the kernel knows them by other numbers
    /// (a process namespace).
    pub fn during<R>(
        &self,
        subject: &Subject,
        work: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<(R, Option<u64>)> {
        self.counted(&subject.threads()?, work)
    }

    fn counted<R>(
        &self,
        threads: &[u32],
        work: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<(R, Option<u64>)> {
        let threads: Vec<String> = threads.iter().map(ToString::to_string).collect();
        fs::write(self.instance.join("set_event_pid"), threads.join(" "))?;
        let file = self.instance.join("events/raw_syscalls/sys_enter/enable");
        let mut file = File::options().write(true).open(file)?;
        let before = self.count()?;
        // Once it is on, each system call of the whole machine goes a longer way.
        let switch = Switch::new(file.as_fd())?;
        file.write_all(b"1")?;
        let done = work();
        file.write_all(b"0")?;
        drop(switch);
        let calls = self.count()? - before;
        Ok((done?, (calls > 0).then_some(calls)))
    }

    /// Events so far, those that no longer fit included.
    fn count(&self) -> io::Result<u64> {
        let mut events = 0;
        for core in fs::read_dir(self.instance.join("per_cpu"))? {
            events += of_core(&core?.path())?;
        }
        Ok(events)
    }
}

/// The file system's folder, open and not mounted: so nothing is left mounted, however this process ends.
fn unmounted() -> io::Result<File> {
    let folder = tempfile::tempdir()?;
    mount(Some("tracefs"), folder.path(), Some("tracefs"), MsFlags::empty(), None::<&str>)?;
    let opened = File::open(folder.path());
    umount2(folder.path(), MntFlags::MNT_DETACH)?;
    opened
}

/// Removes the instances of processes that were killed.
fn remove_left(instances: &Path) -> io::Result<()> {
    for entry in fs::read_dir(instances)? {
        let name = entry?.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(INSTANCE)?.split('.').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Somebody else may have done it.
            let _ = fs::remove_dir(instances.join(&name));
        }
    }
    Ok(())
}

fn of_core(folder: &Path) -> io::Result<u64> {
    let text = match fs::read_to_string(folder.join("stats")) {
        // A core that is offline has no buffer.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        text => text?,
    };
    Ok(events(&text))
}

/// Events of a core's `stats`: kept, overwritten, read and dropped ones.
fn events(stats: &str) -> u64 {
    let counted = ["entries", "overrun", "read events", "dropped events"];
    let of = |line: &str| {
        let (name, value) = line.split_once(':')?;
        counted.contains(&name.trim()).then(|| value.trim().parse::<u64>().ok())?
    };
    stats.lines().filter_map(of).sum()
}

impl Drop for Counter {
    fn drop(&mut self) {
        // What cannot be taken back is left to the administrator; there is nobody to tell.
        let _ = fs::remove_dir(&self.instance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::tests::{run_ignored, said};

    #[test]
    fn only_those_of_processes_that_are_gone_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (own, gone) = (format!("{INSTANCE}{}.0", std::process::id()), format!("{INSTANCE}4294967295.1"));
        for name in [&*own, &gone, "perf", "bench-harness"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        remove_left(folder.path()).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["bench-harness", &*own, "perf"]);
    }

    #[test]
    fn nothing_stays_mounted_or_behind() {
        let mounts = || fs::read_to_string("/proc/self/mounts").unwrap().matches("tracefs").count();
        let before = mounts();
        let Ok(counter) = Counter::new() else { return println!("SKIPPED: tracefs may not be mounted here") };
        // Other tests mount theirs for a moment.
        let moments = (0..100).inspect(|_| std::thread::sleep(std::time::Duration::from_millis(10)));
        assert!(moments.map(|_| mounts()).any(|now| now <= before));
        let kept = counter._tracefs.try_clone().unwrap();
        let name = counter.instance.file_name().unwrap().to_owned();
        let instance =
            Path::new("/proc/self/fd").join(kept.as_raw_fd().to_string()).join("instances").join(name);
        assert!(instance.join("per_cpu").exists());
        drop(counter);
        assert!(!instance.exists());
    }

    #[test]
    #[ignore = "ends its process; another test runs it"]
    fn interrupted() {
        let counter = match Counter::new() {
            Ok(counter) => counter,
            Err(error) => return println!("\nSKIPPED: {error}"),
        };
        println!("\ninstance {}", counter.instance.file_name().unwrap().to_string_lossy());
        let work = || {
            let own = counter.instance.join("events/raw_syscalls/sys_enter/enable");
            println!("on {}", fs::read_to_string(own)?);
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGINT)?;
            Ok(())
        };
        counter.counted(&[std::process::id()], work).unwrap();
    }

    #[test]
    fn an_interrupt_switches_it_off_and_removes_it() {
        // One that is made later would remove what is left.
        let Ok(counter) = Counter::new() else { return println!("SKIPPED: tracefs may not be mounted here") };
        let output = run_ignored("compare::syscalls::tests::interrupted", &[]);
        assert_eq!(output.status.code(), Some(128 + 2), "{output:?}");
        assert!(said(&output, "on ").starts_with('1'));
        let left = counter.instance.with_file_name(said(&output, "instance "));
        assert!(!left.exists(), "{}", left.display());
    }

    #[test]
    fn events_are_summed_whether_kept_or_not() {
        let stats = "entries: 10\noverrun: 200\ncommit overrun: 5000\nbytes: 4000\n\
                     oldest event ts:  1.2\nnow ts:  3.4\ndropped events: 3000\nread events: 1\n";
        assert_eq!(events(stats), 3211);
    }
}
