//! System calls of a forwarder, counted by the kernel's tracepoint `raw_syscalls:sys_enter`.
//!
//! Exact, and far cheaper than stopping the forwarder at each call as `strace` does; but not free, so a window in
//! which it counts is not one whose CPU time is compared.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::subject::Subject;

/// A tracing instance of its own.
pub struct Counter {
    tracefs: tempfile::TempDir,
    instance: PathBuf,
}

impl Counter {
    /// Prepares to count.
    ///
    /// # Errors
    /// This process may not mount tracefs, or the kernel has no such tracepoint.
    pub fn new() -> io::Result<Self> {
        let tracefs = tempfile::tempdir()?;
        mount(Some("tracefs"), tracefs.path(), Some("tracefs"), MsFlags::empty(), None::<&str>)?;
        let instance = tracefs.path().join("instances").join(format!("bench-harness-{}", std::process::id()));
        let this = Self { tracefs, instance };
        fs::create_dir(&this.instance)?;
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
        let threads: Vec<String> = subject.threads()?.iter().map(ToString::to_string).collect();
        fs::write(self.instance.join("set_event_pid"), threads.join(" "))?;
        let switch = self.instance.join("events/raw_syscalls/sys_enter/enable");
        let before = self.count()?;
        fs::write(&switch, "1")?;
        let done = work();
        fs::write(&switch, "0")?;
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
        let _ = umount2(self.tracefs.path(), MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn events_are_summed_whether_kept_or_not() {
        let stats = "entries: 10\noverrun: 200\ncommit overrun: 5000\nbytes: 4000\n\
                     oldest event ts:  1.2\nnow ts:  3.4\ndropped events: 3000\nread events: 1\n";
        assert_eq!(super::events(stats), 3211);
    }
}
