//! Who interrupts a run leaves nothing behind: forwarders that are stopped (SIGSTOP) while another is measured would wait
//! for ever with the signal that ends them, folders have keys in them, and a tracepoint that is on costs the whole machine.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use tempfile::TempDir;

/// Process groups that end with this process when it is interrupted, and below zero processes that are asked to; 0: a free
/// place.
static GROUPS: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];

/// A process group that an interrupt ends with this process.
pub struct Group(i32);

impl Group {
    /// Of this number, which its first process has as well.
    ///
    /// # Errors
    /// There is no place for one more, or signals cannot be handled.
    pub fn new(group: u32) -> io::Result<Self> {
        Self::keep(i32::try_from(group).map_err(io::Error::other)?)
    }

    /// One process, which ends by itself what it has started, once it is asked (SIGTERM).
    ///
    /// # Errors
    /// As of [`Self::new`].
    pub fn of_one(process: u32) -> io::Result<Self> {
        Self::keep(-i32::try_from(process).map_err(io::Error::other)?)
    }

    fn keep(group: i32) -> io::Result<Self> {
        handle()?;
        let free = |place: &AtomicI32| {
            place.compare_exchange(0, group, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if GROUPS.iter().any(free) {
            Ok(Self(group))
        } else {
            Err(io::Error::other("too many forwarders at once"))
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for place in &GROUPS {
            // Another place has another group.
            let _ = place.compare_exchange(self.0, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// A folder for the time of a run, which goes with it, also when it is interrupted.
pub struct Folder {
    // Taken off the list before it is removed.
    _kept: Kept,
    folder: TempDir,
}

impl Folder {
    /// An empty one.
    ///
    /// # Errors
    /// It cannot be made, or signals cannot be handled.
    pub fn new() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { _kept: Kept::new(&FOLDERS, folder.path())?, folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Folders that are removed with all that is in them; null: a free place.
static FOLDERS: Paths = [const { AtomicPtr::new(ptr::null_mut()) }; 8];
/// Those that have to be empty, or of which the kernel says what is in them (instances of tracefs).
static INSTANCES: Paths = [const { AtomicPtr::new(ptr::null_mut()) }; 8];
/// A file that is told `0`; below zero: none.
static SWITCH: AtomicI32 = AtomicI32::new(-1);

type Paths = [AtomicPtr<libc::c_char>; 8];

/// A path that an interrupt finds in its list.
pub struct Kept(&'static AtomicPtr<libc::c_char>);

impl Kept {
    /// A folder of tracefs that an interrupt removes.
    ///
    /// # Errors
    /// There is no place for one more, or signals cannot be handled.
    pub fn instance(path: &Path) -> io::Result<Self> {
        Self::new(&INSTANCES, path)
    }

    fn new(paths: &'static Paths, path: &Path) -> io::Result<Self> {
        handle()?;
        let path = CString::new(path.as_os_str().as_bytes())?.into_raw();
        let free = |place: &&AtomicPtr<_>| {
            place.compare_exchange(ptr::null_mut(), path, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        match paths.iter().find(free) {
            Some(place) => Ok(Self(place)),
            None => {
                // SAFETY: it comes from `into_raw`, and nobody has seen it.
                drop(unsafe { CString::from_raw(path) });
                Err(io::Error::other("too many folders at once"))
            }
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // A signal on another thread may read it at this moment: its few bytes stay.
        self.0.store(ptr::null_mut(), Ordering::Release);
    }
}

/// What an interrupt switches off by writing `0`.
pub struct Switch(());

impl Switch {
    /// The file stays open for longer than this; there is one at a time.
    ///
    /// # Errors
    /// Signals cannot be handled.
    pub fn new(file: BorrowedFd<'_>) -> io::Result<Self> {
        handle()?;
        SWITCH.store(file.as_raw_fd(), Ordering::Release);
        Ok(Self(()))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        SWITCH.store(-1, Ordering::Release);
    }
}

/// Has the signals that people and systems interrupt a program with end the groups first; one that is ignored stays so.
fn handle() -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut done = Ok(());
    ONCE.call_once(|| {
        done = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().try_for_each(|signal| {
            let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::all());
            // SAFETY: the handler makes system calls and reads atomics, nothing else.
            let before = unsafe { sigaction(signal, &action) }?;
            if matches!(before.handler(), SigHandler::SigIgn) {
                // SAFETY: what was there before is put back.
                unsafe { sigaction(signal, &before) }?;
            }
            Ok(())
        });
    });
    done
}

extern "C" fn end(signal: i32) {
    let switch = SWITCH.load(Ordering::Acquire);
    if switch >= 0 {
        // SAFETY: system calls that handlers may make; nothing else of this process runs that needs the file. An instance
        // with an open file cannot be removed.
        unsafe {
            libc::write(switch, c"0".as_ptr().cast(), 1);
            libc::close(switch);
        }
    }
    for place in &GROUPS {
        let group = place.load(Ordering::Relaxed);
        if group > 0 {
            // SAFETY: a system call that handlers may make, on a group that this process has started.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        } else if group < 0 {
            ask(-group);
        }
    }
    for path in INSTANCES.iter().map(|place| place.load(Ordering::Acquire)).filter(|path| !path.is_null()) {
        // SAFETY: a system call that handlers may make; what stands in the list is never freed.
        unsafe { libc::rmdir(path) };
    }
    for path in FOLDERS.iter().map(|place| place.load(Ordering::Acquire)).filter(|path| !path.is_null()) {
        for _ in 0..REMOVED_WITHIN {
            // SAFETY: what stands in the list is never freed.
            if unsafe { remove(libc::AT_FDCWD, path, DEEP) } {
                break;
            }
            // SAFETY: a system call that handlers may make. Who was killed may have made one more file.
            unsafe { libc::poll(ptr::null_mut(), 0, 2) };
        }
    }
    // SAFETY: ends the process without running anything else of it.
    unsafe { libc::_exit(128 + signal) };
}

/// Asks a process to end, and waits a little until it has.
fn ask(process: i32) {
    // SAFETY: system calls that handlers may make, on a process that this one has started.
    unsafe {
        libc::kill(process, libc::SIGTERM);
        for _ in 0..200 {
            if libc::waitpid(process, ptr::null_mut(), libc::WNOHANG) != 0 {
                return;
            }
            libc::poll(ptr::null_mut(), 0, 10);
        }
    }
}

/// So often a folder is tried that cannot be removed.
const REMOVED_WITHIN: usize = 100;
/// So many folders may stand in one another.
const DEEP: usize = 6;

/// Removes a folder and what is in it, by nothing but system calls that handlers may make; `true`: it is gone.
///
/// # Safety
/// `name` is a C string.
unsafe fn remove(at: libc::c_int, name: *const libc::c_char, deep: usize) -> bool {
    let mut entries = [0_u64; 256];
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: as this function's.
    let folder = unsafe { libc::openat(at, name, flags) };
    loop {
        let (begin, room) = (entries.as_mut_ptr().cast::<libc::c_char>(), size_of_val(&entries));
        // SAFETY: the kernel writes so many bytes at most.
        let read = unsafe { libc::syscall(libc::SYS_getdents64, folder, begin, room) };
        let Ok(read @ 1..) = usize::try_from(read) else { break };
        let mut place = 0;
        while place < read {
            // SAFETY: the kernel has put entries there, one behind the other, each with its length and a C string.
            unsafe {
                let entry = begin.add(place).cast::<libc::dirent64>();
                let inner = (&raw const (*entry).d_name).cast::<libc::c_char>();
                let is_own =
                    libc::strcmp(inner, c".".as_ptr()) == 0 || libc::strcmp(inner, c"..".as_ptr()) == 0;
                if !is_own && libc::unlinkat(folder, inner, 0) != 0 && deep > 0 {
                    remove(folder, inner, deep - 1);
                }
                place += usize::from((*entry).d_reclen);
            }
        }
    }
    // SAFETY: as this function's, and the folder is open or the call fails.
    unsafe {
        libc::close(folder);
        libc::unlinkat(at, name, libc::AT_REMOVEDIR) == 0 || *libc::__errno_location() == libc::ENOENT
    }
}

#[cfg(test)]
pub mod tests {
    use std::fs;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Output};

    use nix::sys::signal::raise;

    use super::*;

    /// Runs one of this program's ignored tests as a program of its own; what it did.
    pub fn run_ignored(name: &str, variables: &[(&str, &str)]) -> Output {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program
            .envs(variables.iter().copied())
            .args(["--ignored", "--exact", name, "--nocapture"])
            .output()
            .unwrap()
    }

    /// What such a test says behind a word.
    pub fn said(output: &Output, word: &str) -> String {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said =
            text.lines().find_map(|line| line.split_once(word)).map(|(_, said)| said.trim().to_owned());
        said.unwrap_or_else(|| panic!("{output:?}"))
    }

    #[test]
    #[ignore = "ends its process; another test runs it"]
    fn interrupted() {
        let folder = Folder::new().unwrap();
        let deep = folder.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        for number in 0..300 {
            fs::write(deep.join(format!("{number}.key")), "key").unwrap();
        }
        std::os::unix::fs::symlink("/etc", folder.path().join("elsewhere")).unwrap();
        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let _group = Group::new(child.id()).unwrap();
        println!("\nfolder {}\nchild {}", folder.path().display(), child.id());
        raise(Signal::SIGTERM).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn an_interrupt_leaves_neither_folders_nor_programs() {
        let output = run_ignored("interrupt::tests::interrupted", &[]);
        assert_eq!(output.status.code(), Some(128 + libc::SIGTERM), "{output:?}");
        assert!(!Path::new(&said(&output, "folder ")).exists(), "{output:?}");
        let stat = fs::read_to_string(format!("/proc/{}/stat", said(&output, "child "))).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
    }

    #[test]
    fn a_folder_goes_with_the_run_and_makes_room_for_another() {
        for _ in 0..20 {
            let folder = Folder::new().unwrap();
            let path = folder.path().to_owned();
            drop(folder);
            assert!(!path.exists());
        }
    }
}
