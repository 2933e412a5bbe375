//! A witness of the machine: when the shard's thread was ready and did not run, and how late a thread wakes.

use std::fs;
use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::subject::{FORWARDER_CORE, pin};
use crate::waits::{account, task, waited_ns};

/// The sentinel wakes this often.
const STEP: Duration = Duration::from_millis(5);
/// And reads the scheduler's account every so many times: slots of 20 ms.
const STEPS: u32 = 4;

/// The thread of the only shard.
pub const SHARD: &str = "viaduct-0";

/// What the machine did in some time.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// For each slot: how long the shard's thread waited for its core, in nanoseconds.
    pub waits: Vec<u64>,
    /// All waits of the time, in nanoseconds.
    pub waited: u64,
    /// The latest wake-up of the sentinel, in nanoseconds.
    pub late: u64,
    /// The sentinel goes before the shard: it is never late because of it.
    pub goes_before: bool,
}

impl Evidence {
    /// The waits of so many slots at most, the longest.
    pub fn longest_waits(&self, slots: usize) -> u64 {
        let mut waits = self.waits.clone();
        waits.sort_unstable_by(|a, b| b.cmp(a));
        waits.iter().take(slots).sum()
    }
}

/// The thread that watches.
pub struct Sentinel {
    evidence: Arc<Mutex<Evidence>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Sentinel {
    /// Watches the shard's thread of a process; `real_time`: puts it before all other programs on its core.
    pub fn start(process: u32, real_time: bool) -> io::Result<Self> {
        let task = task(process, SHARD)?;
        if real_time {
            prefer(&task, "1")?;
        }
        let account = account(process, &task)?;
        let evidence = Arc::new(Mutex::new(Evidence { goes_before: real_time, ..Evidence::default() }));
        let stop = Arc::<AtomicBool>::default();
        let (ours, asked) = (Arc::clone(&evidence), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("sentinel".into()).spawn(move || {
            // On the forwarder's core, where it is as late as the shard would be.
            pin(FORWARDER_CORE)?;
            if real_time {
                // Before the shard, or it would only witness that the shard is busy.
                let own = fs::read_link("/proc/thread-self")?;
                prefer(&own.file_name().unwrap_or_default().to_string_lossy(), "2")?;
            }
            watch(&account, &ours, &asked)
        })?;
        Ok(Self { evidence, stop, thread: Some(thread) })
    }

    /// What was seen since the last time. The last slots are told again: a batch that ends now may have been
    /// kept waiting then.
    pub fn take(&self) -> Evidence {
        let mut evidence = locked(&self.evidence);
        let again = evidence.waits[evidence.waits.len().saturating_sub(2)..].to_vec();
        let goes_before = evidence.goes_before;
        std::mem::replace(&mut *evidence, Evidence { waits: again, goes_before, ..Evidence::default() })
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It is the witness only; the run is judged by what it has seen.
            let _ = thread.join();
        }
    }
}

fn locked(evidence: &Mutex<Evidence>) -> MutexGuard<'_, Evidence> {
    evidence.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(account: &str, evidence: &Mutex<Evidence>, stop: &AtomicBool) -> io::Result<()> {
    let (mut due, mut waited, mut step) = (Instant::now(), waited_ns(account)?, 0);
    while !stop.load(Relaxed) {
        due += STEP;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let late = due.elapsed();
        step += 1;
        let slot = if step % STEPS == 0 {
            let now = waited_ns(account)?;
            Some(now - std::mem::replace(&mut waited, now))
        } else {
            None
        };
        let mut evidence = locked(evidence);
        evidence.late = evidence.late.max(late.as_nanos() as u64);
        evidence.waits.extend(slot);
        evidence.waited += slot.unwrap_or(0);
        // What was missed is missed: no run of wake-ups after a late one.
        due = due.max(Instant::now() - STEP);
    }
    Ok(())
}

/// Gives a thread a real-time priority.
fn prefer(task: &str, priority: &str) -> io::Result<()> {
    let done = Command::new("chrt").args(["--fifo", "--pid", priority, task]).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(io::Error::other(format!("{}\n  hint: --real-time needs CAP_SYS_NICE", said.trim())))
}
