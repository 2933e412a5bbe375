//! Each test runs in a process and a network namespace of its own.

use std::ffi::CString;
use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::program::{self, Program};

const INSIDE: &str = "VIADUCT_TEST_IN_NAMESPACE";

/// A test takes seconds; `VIADUCT_POLICIES` may ask for many times the work.
fn limit() -> Duration {
    Duration::from_secs(300 + crate::number("VIADUCT_POLICIES", 0))
}

/// Runs `work` in a process of its own inside a fresh network namespace: as root, or by a user namespace.
///
/// The test's executable is started again for this one test, so that a namespace and its sysctls are
/// entered before any thread exists.
pub fn isolated(test: &str, work: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        ip("", &["link set lo up"]);
        return work();
    }
    let mut command = Command::new(std::env::current_exe().expect("this executable has a path"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    // SAFETY: between fork and exec only system calls are made, on memory that was prepared before.
    unsafe {
        let maps = Maps::prepare();
        command.pre_exec(move || enter(&maps));
    }
    let mut program = Program::start(&mut command).unwrap_or_else(|error| {
        panic!(
            "this test needs a network namespace, and the kernel refuses one ({error}): run as root, or \
             allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0; in a container: --cap-add SYS_ADMIN)"
        )
    });
    let status = program.wait(limit()).unwrap_or_else(|error| panic!("{test}: {error}"));
    assert!(status.success(), "{test} failed in its namespace: {status}");
}

/// What is written to become root of a user namespace.
struct Maps {
    files: [(CString, String); 3],
}

impl Maps {
    fn prepare() -> Self {
        // SAFETY: both calls have no preconditions and cannot fail.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        let file = |path: &str| CString::new(path).expect("no NUL in a path");
        Self {
            files: [
                (file("/proc/self/setgroups"), "deny".to_owned()),
                (file("/proc/self/uid_map"), format!("0 {uid} 1")),
                (file("/proc/self/gid_map"), format!("0 {gid} 1")),
            ],
        }
    }
}

fn enter(maps: &Maps) -> io::Result<()> {
    // SAFETY: unshare takes flags only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
        return Ok(());
    }
    // SAFETY: as above.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for (path, text) in &maps.files {
        // SAFETY: the path ends with a NUL and the text lives; the descriptor is closed by exec.
        let written = unsafe {
            let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            libc::write(file, text.as_ptr().cast(), text.len())
        };
        if written < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Moves the calling thread into yet another, fresh namespace.
pub fn fresh() {
    // SAFETY: unshare takes flags only.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", io::Error::last_os_error());
}

/// Runs `ip` commands of one family (`-4`, `-6`, or none); those that the kernel refuses are given back.
pub fn ip(family: &str, commands: &[impl AsRef<str>]) -> Vec<String> {
    let mut text = String::new();
    for command in commands {
        text.push_str(command.as_ref().trim_start_matches(family));
        text.push('\n');
    }
    let mut input = tempfile::tempfile().expect("a temporary file");
    input.write_all(text.as_bytes()).and_then(|()| input.rewind()).expect("it can be written");
    let mut ip = Command::new("ip");
    ip.args(Some(family).filter(|family| !family.is_empty())).args(["-force", "-batch", "-"]).stdin(input);
    let output = program::output(&mut ip).expect("this test needs iproute2's `ip`");
    let complaints = String::from_utf8_lossy(&output.stderr);
    let failed = complaints.lines().filter_map(|line| line.strip_prefix("Command failed -:")?.parse().ok());
    failed.filter_map(|line: usize| Some(commands.get(line.checked_sub(1)?)?.as_ref().to_owned())).collect()
}

/// Sets a sysctl of the calling thread's namespace; one that this kernel lacks is passed over.
pub fn sysctl(name: &str, value: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/{}", name.replace('.', "/")), value);
}
