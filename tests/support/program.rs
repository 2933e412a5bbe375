//! Programs that tests start: each is waited for within a limit and ends with its test.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

/// How long a program may take that should take milliseconds; the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A program under way; killed when dropped.
pub struct Program(pub Child);

impl Program {
    /// Starts it.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Waits for its end; one that has not ended within the limit is killed.
    ///
    /// # Errors
    /// `TimedOut`: it was killed.
    pub fn wait(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.0.kill()?;
                self.0.wait()?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it still ran after {limit:?}")));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already; then both say so.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end within [`LIMIT`] and gives what it wrote.
///
/// What it writes goes to files, so nothing that it leaves behind can keep a pipe open.
pub fn output(command: &mut Command) -> io::Result<Output> {
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(out.try_clone()?).stderr(err.try_clone()?);
    let status = Program::start(command)?.wait(LIMIT)?;
    Ok(Output { status, stdout: all_of(&mut out)?, stderr: all_of(&mut err)? })
}

fn all_of(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
