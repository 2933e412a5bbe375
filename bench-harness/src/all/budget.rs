//! How long a run may take: a part that does not fit into what is left is left out, one that takes longer is ended.

use std::io::{self, Read as _, Seek as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::interrupt::Group;
use crate::subject::end_with_us;

/// How long a program may take to end once it is asked to.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How often a program is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What of the time is left, and how the machine keeps to what was planned.
#[derive(Debug)]
pub struct Budget {
    /// `None`: as long as it takes.
    limit: Option<Duration>,
    /// Of the parts that are done, in all.
    planned: Duration,
    took: Duration,
}

impl Budget {
    /// Nothing is done yet.
    pub fn new(limit: Option<Duration>) -> Self {
        Self { limit, planned: Duration::ZERO, took: Duration::ZERO }
    }

    /// A part is done that was to take so long.
    pub fn done(&mut self, planned: Duration, took: Duration) {
        self.planned += planned;
        self.took += took;
    }

    /// How long what is planned will take, as it goes here; no less than planned, since parts differ.
    pub fn here(&self, planned: Duration) -> Duration {
        let pace = self.took.as_secs_f64() / self.planned.as_secs_f64();
        if pace.is_finite() { planned.mul_f64(pace.max(1.0)) } else { planned }
    }

    /// What of the time is left after so much of it; `None`: there is no limit.
    pub fn left(&self, passed: Duration) -> Option<Duration> {
        Some(self.limit?.saturating_sub(passed))
    }

    /// Why a part that is to take so long is left out after so much of the time; `None`: it fits.
    pub fn leaves_out(&self, planned: Duration, passed: Duration) -> Option<String> {
        let (here, left) = (self.here(planned), self.left(passed)?);
        (here > left).then(|| {
            format!(
                "left out: it would take {} s here, and {} s are left of {}",
                here.as_secs(),
                left.as_secs(),
                self.limit.unwrap_or_default().as_secs()
            )
        })
    }
}

/// What a program printed, and how it ended; `None`: it was ended, because its time was over.
pub struct Output {
    pub status: Option<ExitStatus>,
    pub stdout: Vec<u8>,
}

/// Runs a program for so long at most.
pub fn output(program: &mut Command, at_most: Option<Duration>) -> io::Result<Output> {
    // A pipe that nobody reads would stop it.
    let mut file = tempfile::tempfile()?;
    let begin = Instant::now();
    end_with_us(program);
    let mut child = program.stdin(Stdio::null()).stdout(file.try_clone()?).spawn()?;
    let _program = Group::of_one(child.id())?;
    let is_over = || at_most.is_some_and(|most| begin.elapsed() >= most);
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if is_over() => {
                end(&mut child)?;
                break None;
            }
            None => std::thread::sleep(LOOK),
        }
    };
    let mut stdout = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut stdout)?;
    Ok(Output { status, stdout })
}

/// As an interrupt would: it ends what it has started, too.
fn end(child: &mut Child) -> io::Result<()> {
    kill(Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?), Signal::SIGTERM)?;
    let deadline = Instant::now() + ENDS_WITHIN;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::interrupt::tests::{run_ignored, said};

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_does_not_fit_is_left_out_at_the_pace_of_this_machine() {
        let mut budget = Budget::new(Some(s(300)));
        assert_eq!(budget.leaves_out(s(300), s(0)), None);
        budget.done(s(50), s(40));
        assert_eq!(budget.here(s(50)), s(50), "the rest may be slower");
        budget.done(s(50), s(160));
        assert_eq!((budget.here(s(50)), budget.left(s(210))), (s(100), Some(s(90))));
        let why = budget.leaves_out(s(50), s(210)).unwrap();
        assert_eq!(why, "left out: it would take 100 s here, and 90 s are left of 300");
        assert_eq!(budget.leaves_out(s(45), s(210)), None);
        assert!(budget.leaves_out(s(1), s(310)).is_some());
    }

    #[test]
    fn without_a_limit_all_fits() {
        let mut budget = Budget::new(None);
        budget.done(s(1), s(10_000));
        assert_eq!((budget.leaves_out(s(10_000), s(10_000)), budget.left(s(1))), (None, None));
    }

    #[test]
    #[ignore = "ends its process; another test runs it"]
    fn interrupted() {
        let signal = match std::env::var("SIGNAL").as_deref() {
            Ok("KILL") => Signal::SIGKILL,
            _ => Signal::SIGTERM,
        };
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            kill(Pid::this(), signal).unwrap();
        });
        let mut waits = Command::new("sh");
        waits
            .args(["-c", "echo child $$ >&2; exec sleep 60"])
            .stderr(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
        println!();
        output(&mut waits, None).unwrap();
    }

    #[test]
    fn who_is_ended_ends_its_program() {
        for (signal, code) in [("TERM", Some(128 + 15)), ("KILL", None)] {
            let done = run_ignored("all::budget::tests::interrupted", &[("SIGNAL", signal)]);
            assert_eq!(done.status.code(), code, "{done:?}");
            std::thread::sleep(Duration::from_millis(200));
            let child = said(&done, "child ");
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            assert!(!stat.contains("(sleep)") || stat.contains(") Z"), "{signal}: {stat}");
        }
    }

    #[test]
    fn a_program_tells_what_it_has_to_say_or_is_ended() {
        let mut says = Command::new("sh");
        let said = output(says.args(["-c", "head -c 300000 /dev/zero; exit 3"]), Some(s(60))).unwrap();
        assert_eq!((said.stdout.len(), said.status.and_then(|status| status.code())), (300_000, Some(3)));
        let begin = Instant::now();
        let ended = output(Command::new("sleep").arg("60"), Some(Duration::from_millis(100))).unwrap();
        assert!(ended.status.is_none() && begin.elapsed() < s(30));
    }
}
