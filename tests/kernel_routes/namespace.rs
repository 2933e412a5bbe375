//! Each test runs in a process and a network namespace of its own.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const INSIDE: &str = "VIADUCT_TEST_IN_NAMESPACE";

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
    let status = command.status().unwrap_or_else(|error| {
        panic!(
            "this test needs a network namespace, and the kernel refuses one ({error}): run as root, or \
             allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0; in a container: --cap-add SYS_ADMIN)"
        )
    });
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
    let mut child = Command::new("ip")
        .args(Some(family).filter(|family| !family.is_empty()))
        .args(["-force", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs iproute2's `ip`");
    let mut input = String::new();
    for command in commands {
        input.push_str(command.as_ref().trim_start_matches(family));
        input.push('\n');
    }
    let mut stdin = child.stdin.take().expect("it is piped");
    // On a thread of its own, since `ip` may first want its complaints to be read.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("ip ends");
    writer.join().expect("the writer ends").expect("ip reads its commands");
    let complaints = String::from_utf8_lossy(&output.stderr);
    let failed = complaints.lines().filter_map(|line| line.strip_prefix("Command failed -:")?.parse().ok());
    failed.filter_map(|line: usize| Some(commands.get(line.checked_sub(1)?)?.as_ref().to_owned())).collect()
}

/// Sets a sysctl of the calling thread's namespace; one that this kernel lacks is passed over.
pub fn sysctl(name: &str, value: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/{}", name.replace('.', "/")), value);
}
