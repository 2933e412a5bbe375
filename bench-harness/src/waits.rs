//! The kernel's account of time in which what is measured was ready and did not run.

use std::fs;
use std::io;

/// Threads, by the files that tell of them.
pub struct Waits(Vec<String>);

impl Waits {
    /// Of all threads of a process that have one of these names. An error where one has none.
    pub fn of(process: u32, names: &[&str]) -> io::Result<Self> {
        let accounts =
            names.iter().map(|name| account(process, &task(process, name)?)).collect::<io::Result<_>>()?;
        Ok(Self(accounts))
    }

    /// The same, and a process's first thread.
    pub fn and(mut self, process: u32) -> io::Result<Self> {
        self.0.push(account(process, &process.to_string())?);
        Ok(self)
    }

    /// How long they have waited for a processor, all together, in nanoseconds.
    pub fn ns(&self) -> io::Result<u64> {
        self.0.iter().map(|account| waited_ns(account)).sum()
    }
}

/// The file that tells of a thread.
pub fn account(process: u32, task: &str) -> io::Result<String> {
    let file = format!("/proc/{process}/task/{task}/schedstat");
    waited_ns(&file).map(|_| file)
}

/// The thread of this name.
pub fn task(process: u32, name: &str) -> io::Result<String> {
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?;
        if fs::read_to_string(task.path().join("comm"))?.trim() == name {
            return Ok(task.file_name().to_string_lossy().into_owned());
        }
    }
    Err(io::Error::other(format!("the process has no thread {name}")))
}

/// The second number of schedstat: time on a run queue, in nanoseconds.
pub fn waited_ns(account: &str) -> io::Result<u64> {
    let text = fs::read_to_string(account)?;
    let second = text.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    second.ok_or_else(|| io::Error::other(format!("{account} is not in the form expected")))
}

/// Time that the host gave to others, all processors together, in nanoseconds.
pub fn stolen_ns() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = text.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    // USER_HZ is 100 on every architecture that Viaduct runs on.
    ticks.map(|ticks| ticks * 10_000_000).ok_or_else(|| io::Error::other("no stolen time in /proc/stat"))
}
