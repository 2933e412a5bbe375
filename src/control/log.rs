//! Where log lines go and how they look.
//!
//! A thread of its own writes them to standard error. Whoever reads there may stand still, have gone, or have a full disk:
//! neither routes nor reloads wait for that, and nothing ends because of it. Lines that could not be written are counted
//! ([`lost`]), and told of once one can be written again.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::limits;

/// Environment variable that selects levels, as `debug` or `viaduct::control=debug`.
const VARIABLE: &str = "VIADUCT_LOG";

/// Device and inode of the journal's stream, as systemd.exec(5) has it. Children inherit it, whatever they write to.
const JOURNAL: &str = "JOURNAL_STREAM";

/// How long the end of the process waits for lines that are not written yet.
const LAST_WORDS: Duration = Duration::from_secs(1);

static WRITER: OnceLock<Lines> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

/// Sends log lines to standard error: in colour on a terminal, and without a time of their own where
/// the journal writes one before them. Called once, by the command; a second call changes nothing.
///
/// # Errors
/// The thread that writes them cannot be made.
pub fn install() -> io::Result<()> {
    if WRITER.get().is_some() {
        return Ok(());
    }
    let started = Lines::to(io::stderr(), &LOST)?;
    let writer = WRITER.get_or_init(|| started);
    let terminal = io::stderr().is_terminal();
    let wish = Wish::read(&env::var(VARIABLE).unwrap_or_default());
    let lines = tracing_subscriber::fmt()
        .with_writer(|| writer.clone())
        .with_ansi(terminal && env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .with_env_filter(wish.filter());
    let journal = is_stream(&env::var(JOURNAL).unwrap_or_default(), io::stderr().as_fd());
    let _ = if journal { lines.without_time().try_init() } else { lines.try_init() };
    for word in wish.no_levels {
        tracing::warn!(
            "{VARIABLE}: «{word}» is no level, and info is used; levels are off, error, warn, info, debug and trace, and \
             a part of Viaduct is written with its level: viaduct::control=debug"
        );
    }
    Ok(())
}

/// Whether a descriptor is the stream `DEVICE:INODE`.
fn is_stream(stream: &str, descriptor: BorrowedFd<'_>) -> bool {
    let Some((device, inode)) = stream.split_once(':') else { return false };
    let metadata = descriptor.try_clone_to_owned().and_then(|copy| File::from(copy).metadata());
    metadata.is_ok_and(|of| device.parse() == Ok(of.dev()) && inode.parse() == Ok(of.ino()))
}

/// What [`VARIABLE`] asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    directives: String,
    /// Words that stand alone and are no level.
    no_levels: Vec<String>,
}

impl Wish {
    /// The filter takes a word that is no level for a part of the program, and shows that part and nothing else; of what no
    /// directive names it shows nothing. So there always is a level for that.
    fn read(text: &str) -> Self {
        let is_bare = |word: &str| !word.is_empty() && !word.contains(['=', '[', ']', '{', '}']);
        let is_level = |word: &str| is_bare(word) && word.parse::<LevelFilter>().is_ok();
        let (no_levels, mut kept): (Vec<_>, Vec<_>) =
            text.split(',').map(str::trim).partition(|word| is_bare(word) && !is_level(word));
        if !no_levels.is_empty() || !kept.iter().any(|word| is_level(word)) {
            kept.push("info");
        }
        kept.retain(|word| !word.is_empty());
        Self { directives: kept.join(","), no_levels: no_levels.into_iter().map(str::to_owned).collect() }
    }

    fn filter(&self) -> EnvFilter {
        EnvFilter::builder().parse_lossy(&self.directives)
    }
}

/// Writes a text as it is, behind all lines before it.
pub(super) fn print(text: &str) {
    if let Some(writer) = WRITER.get() {
        writer.add(text.as_bytes());
    }
}

/// Waits until all lines are written, though not for long. To be called before the process ends.
pub fn finish() {
    if let Some(writer) = WRITER.get() {
        writer.finish(LAST_WORDS);
    }
}

/// Log lines that could not be written, since the start.
pub fn lost() -> u64 {
    LOST.load(Relaxed)
}

/// What the thread is told.
enum Entry {
    Line(Box<[u8]>),
    /// Everything before this is written.
    Done(SyncSender<()>),
}

/// Takes lines for the thread; never waits.
#[derive(Clone)]
struct Lines {
    entries: SyncSender<Entry>,
    lost: &'static AtomicU64,
}

impl Lines {
    /// Starts the thread.
    fn to(out: impl Write + Send + 'static, lost: &'static AtomicU64) -> io::Result<Self> {
        let (entries, written) = sync_channel(limits::LOG_LINES);
        let work = move || write_all(out, &written, lost);
        std::thread::Builder::new().name("log".into()).spawn(work)?;
        Ok(Self { entries, lost })
    }

    fn add(&self, line: &[u8]) {
        if self.entries.try_send(Entry::Line(line.into())).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    fn finish(&self, patience: Duration) {
        let (done, is_done) = sync_channel(1);
        let (until, mut entry) = (Instant::now() + patience, Entry::Done(done));
        while let Err(TrySendError::Full(again)) = self.entries.try_send(entry) {
            if Instant::now() >= until {
                return;
            }
            entry = again;
            std::thread::sleep(Duration::from_millis(5));
        }
        // Whoever reads may stand still: the process ends all the same.
        let _ = is_done.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the thread does.
fn write_all(mut out: impl Write, entries: &Receiver<Entry>, lost: &AtomicU64) {
    let mut told = 0;
    for entry in entries {
        match entry {
            Entry::Line(line) if out.write_all(&line).and_then(|()| out.flush()).is_err() => {
                lost.fetch_add(1, Relaxed);
            }
            Entry::Line(_) => {
                let all = lost.load(Relaxed);
                let since = all - std::mem::replace(&mut told, all);
                if since > 0 {
                    tracing::warn!(
                        "{since} log lines before this could not be written (viaduct_log_lines_lost_total)"
                    );
                }
            }
            Entry::Done(done) => {
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Fails as long as it is told to, and stands still while the lock is held.
    #[derive(Clone, Default)]
    struct Device(Arc<Mutex<(bool, Vec<u8>)>>);

    impl Write for Device {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut device = self.0.lock().unwrap();
            match device.0 {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => device.1.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_named_and_info_is_used() {
        let read = |text| {
            let wish = Wish::read(text);
            (wish.directives, wish.no_levels.join("; "))
        };
        for right in ["warn", "DEBUG", "off", "viaduct::control=debug,warn", "[span{a,b}]=trace,off"] {
            assert_eq!(read(right), (right.to_owned(), String::new()));
        }
        for wrong in ["warning", "inof", "debug info"] {
            assert_eq!(read(wrong), ("info".to_owned(), wrong.to_owned()));
        }
        let several = "viaduct::control=debug, warning,error";
        assert_eq!(read(several), ("viaduct::control=debug,error,info".to_owned(), "warning".to_owned()));
    }

    #[test]
    fn what_is_not_named_keeps_its_level() {
        let told = |text| {
            let device = Device::default();
            let writer = device.clone();
            let lines = tracing_subscriber::fmt()
                .with_writer(move || writer.clone())
                .with_ansi(false)
                .without_time()
                .with_target(false)
                .with_env_filter(Wish::read(text).filter())
                .finish();
            tracing::subscriber::with_default(lines, || {
                tracing::debug!(target: "viaduct::control::names", "a");
                tracing::debug!(target: "viaduct::shard", "b");
                tracing::info!(target: "viaduct::shard", "c");
                tracing::error!(target: "viaduct::shard", "d");
            });
            self::text(&device).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(""), "INFO c ERROR d");
        assert_eq!(told("viaduct::control=debug"), "DEBUG a INFO c ERROR d");
        assert_eq!(told("viaduct::control=debug,error"), "DEBUG a ERROR d");
        assert_eq!(told("error,viaduct::control=debug"), "DEBUG a ERROR d");
        assert_eq!(told("viaduct::control=debug,inof"), "DEBUG a INFO c ERROR d");
        assert_eq!(told("viaduct::control=off"), "INFO c ERROR d");
        assert_eq!(told("off"), "");
    }

    #[test]
    fn a_stream_is_the_journals_only_by_its_device_and_inode() {
        let [journal, file] = [(); 2].map(|()| tempfile::tempfile().unwrap());
        let of = journal.metadata().unwrap();
        let stream = format!("{}:{}", of.dev(), of.ino());
        assert!(is_stream(&stream, journal.as_fd()));
        assert!(!is_stream(&stream, file.as_fd()));
        for other in ["", "1", "8:x", &format!("{}:{}", of.dev() + 1, of.ino())] {
            assert!(!is_stream(other, journal.as_fd()), "{other}");
        }
    }

    fn started() -> (Device, Lines) {
        let lost = Box::leak(Box::default());
        let device = Device::default();
        (device.clone(), Lines::to(device, lost).unwrap())
    }

    fn text(device: &Device) -> String {
        String::from_utf8(device.0.lock().unwrap().1.clone()).unwrap()
    }

    #[test]
    fn lines_are_written_in_order() {
        let (device, lines) = started();
        for n in 0..100 {
            lines.add(format!("{n}\n").as_bytes());
        }
        lines.finish(Duration::from_secs(10));
        assert_eq!(text(&device), (0..100).map(|n| format!("{n}\n")).collect::<String>());
        assert_eq!(lines.lost.load(Relaxed), 0);
    }

    #[test]
    fn a_full_disk_loses_lines_and_counts_them() {
        let (device, lines) = started();
        device.0.lock().unwrap().0 = true;
        lines.add(b"lost\n");
        lines.finish(Duration::from_secs(10));
        assert_eq!((text(&device).as_str(), lines.lost.load(Relaxed)), ("", 1));
        device.0.lock().unwrap().0 = false;
        lines.add(b"written\n");
        lines.finish(Duration::from_secs(10));
        assert_eq!((text(&device).as_str(), lines.lost.load(Relaxed)), ("written\n", 1));
    }

    #[test]
    fn who_stands_still_keeps_nobody_waiting() {
        let (device, lines) = started();
        let standing_still = device.0.lock().unwrap();
        // One more than there is room for has been taken out by the thread.
        for _ in 0..limits::LOG_LINES + 11 {
            lines.add(b"a line\n");
        }
        lines.finish(Duration::from_millis(50));
        assert!((10..=11).contains(&lines.lost.load(Relaxed)), "{:?}", lines.lost);
        drop(standing_still);
        lines.finish(Duration::from_secs(10));
        assert!(text(&device).len() >= limits::LOG_LINES * "a line\n".len());
    }
}
