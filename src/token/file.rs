//! The key file: read, or created where it is absent.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::keys::{KeyLineError, Keys, SECRET_BYTES, random_secret};
use crate::limits;

/// What a new file says about itself.
const HEADER: &str = "\
# Viaduct's keys. They authenticate what Viaduct writes into Via, Record-Route and To tags.
# Whoever knows them can have requests sent as if a dialog allowed them: keep this file to yourself,
# and give the same file to all Viaducts behind one address.
#
# One key a line, 32 hexadecimal digits. The first signs, all verify. To replace the key, put a new
# line on top (openssl rand -hex 16), mark the old one as retired, and reload:
#
#   <new key>
#   <old key> retired=2026-11-24T09:30:00Z
#
# A retired key verifies for 24 more hours, so that dialogs go on; after that its line may go.
";

/// Keys as they came from a file.
#[derive(Debug)]
pub struct Loaded {
    /// The keys.
    pub keys: Keys,
    /// The file was not there and has been made.
    pub created: bool,
    /// What the operator should know; a sentence each.
    pub warnings: Vec<String>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be opened or read.
    #[error("cannot read the key file {}: {source}{}", path.display(), reading(source.kind()))]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is absent, while keys are in use.
    #[error(
        "the key file {} is gone, and without its keys no dialog that is up would be known any more. Put it back; or, for \
         a new key, make it: (umask 077; openssl rand -hex 16 > {})",
        path.display(), path.display()
    )]
    Gone {
        /// Which file.
        path: PathBuf,
    },
    /// The file is absent, and so is the folder that it would be made in.
    #[error(
        "there is no folder for the key file {}: mkdir -p {}, and let the user write there that Viaduct runs as",
        path.display(), folder_of(path).display()
    )]
    NoFolder {
        /// Which file.
        path: PathBuf,
    },
    /// The file is absent and cannot be made.
    #[error("cannot create the key file {}: {source}; {}", path.display(), creating(path, source.kind()))]
    Create {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Others may read or change the file.
    #[error("the key file {} is open to others (mode {mode:04o}): chmod 600 {}", path.display(), path.display())]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is something else of this name.
    #[error("{} is {what}, and no key file; name a file in [keys] file", path.display())]
    NoFile {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file is no key file.
    #[error("{}: is no key file: larger than {} bytes", path.display(), limits::KEY_FILE_BYTES)]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// A line is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: KeyLineError,
    },
    /// The system has no random numbers to give.
    #[error("no random numbers for a new key: {0}")]
    Random(#[from] getrandom::Error),
}

impl Keys {
    /// Reads the key file as it counts at the time `now`.
    ///
    /// # Errors
    /// Absent or unreadable, open to others, or not a key file.
    pub fn load(path: &Path, now: SystemTime) -> Result<Loaded, KeyFileError> {
        let failed = |source| KeyFileError::Read { path: path.into(), source };
        // Before it is opened: a pipe would wait for its writer.
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        if !kind.is_file() {
            let what = if kind.is_dir() { "a directory" } else { "a device, pipe or socket" };
            return Err(KeyFileError::NoFile { path: path.into(), what });
        }
        read(&mut File::open(path).map_err(failed)?, path, now)
    }

    /// The same for a process that has keys in use.
    ///
    /// # Errors
    /// As [`Keys::load`]; [`KeyFileError::Gone`] where there is no file.
    pub fn load_again(path: &Path, now: SystemTime) -> Result<Loaded, KeyFileError> {
        Self::load(path, now).map_err(|error| match error {
            KeyFileError::Read { path, source } if source.kind() == ErrorKind::NotFound => {
                KeyFileError::Gone { path }
            }
            other => other,
        })
    }

    /// Whether [`Keys::load_or_create`] would succeed; makes nothing.
    ///
    /// # Errors
    /// As [`Keys::load_or_create`].
    pub fn check(path: &Path, now: SystemTime) -> Result<Vec<String>, KeyFileError> {
        match Self::load(path, now) {
            Err(KeyFileError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                can_create(path).map(|()| Vec::new())
            }
            loaded => loaded.map(|loaded| loaded.warnings),
        }
    }

    /// Reads the key file, and makes one with a new key (mode 0600) where there is none.
    ///
    /// # Errors
    /// As [`Keys::load`]; or the file cannot be made.
    pub fn load_or_create(path: &Path, now: SystemTime) -> Result<Loaded, KeyFileError> {
        match create(path) {
            Ok(()) => Ok(Loaded { created: true, ..Self::load(path, now)? }),
            Err(KeyFileError::Create { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
                Self::load(path, now)
            }
            // A file that is there need not stand in a directory that we may write to.
            Err(error) => match Self::load(path, now) {
                Err(KeyFileError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Err(error),
                loaded => loaded,
            },
        }
    }
}

/// What to do about a file that cannot be read.
fn reading(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => {
            "; the user that Viaduct runs as has to own it (chown), and its folder has to let it in"
        }
        _ => "",
    }
}

/// What to do about a file that cannot be made.
fn creating(path: &Path, kind: ErrorKind) -> String {
    match kind {
        ErrorKind::PermissionDenied => format!(
            "let the user that Viaduct runs as write to {}, or make the file and give it to that user (chown): \
             (umask 077; openssl rand -hex 16 > {})",
            folder_of(path).display(),
            path.display()
        ),
        _ => "create it elsewhere and name it in [keys] file".into(),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn cannot_create(path: &Path, source: std::io::Error) -> KeyFileError {
    match source.kind() {
        ErrorKind::NotFound => KeyFileError::NoFolder { path: path.into() },
        _ => KeyFileError::Create { path: path.into(), source },
    }
}

/// Asks by a file without a name, which nobody sees and which is gone at once.
fn can_create(path: &Path) -> Result<(), KeyFileError> {
    let unnamed =
        OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(folder_of(path));
    match unnamed {
        // Some file systems have none.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        unnamed => unnamed.map(|_| ()).map_err(|source| cannot_create(path, source)),
    }
}

/// `O_EXCL`: of two processes that start together one creates, the other reads.
fn create(path: &Path) -> Result<(), KeyFileError> {
    let failed = |source| cannot_create(path, source);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let secret = random_secret()?;
    let text = format!("{HEADER}\n{}\n", hex(&secret));
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| {
        // Half a file would stop the next start; nobody else can have read it as whole.
        let _ = std::fs::remove_file(path);
        failed(source)
    })
}

fn read(file: &mut File, path: &Path, now: SystemTime) -> Result<Loaded, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.into(), source };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(KeyFileError::Permissions { path: path.into(), mode });
    }
    let mut warnings = Vec::new();
    if mode & 0o040 != 0 {
        warnings.push(format!(
            "the key file {} can be read by its group (mode {mode:04o}); unless that is wanted: chmod 600 {}",
            path.display(),
            path.display()
        ));
    }
    let mut text = String::new();
    let limit = limits::KEY_FILE_BYTES;
    file.take(limit as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > limit {
        return Err(KeyFileError::TooLarge { path: path.into() });
    }
    let keys = Keys::parse(&text, now).map_err(|(line, problem)| KeyFileError::Line {
        path: path.into(),
        line,
        problem,
    })?;
    Ok(Loaded { keys, created: false, warnings })
}

fn hex(secret: &[u8; SECRET_BYTES]) -> String {
    secret.iter().map(|byte| format!("{byte:02x}")).collect()
}
