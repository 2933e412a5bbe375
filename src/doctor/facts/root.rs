//! Files of a host, below a folder that stands for its root.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

/// The largest file that is read to its end: `/proc/interrupts` of a host with hundreds of cores has some MiB.
const FILE_BYTES: u64 = 16 << 20;

/// The highest number of a core that is believed; Linux has at most 8,192.
const CORES: usize = 1 << 16;

/// Why something cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Untold(pub String);

/// A fact, or why there is none.
pub type Told<T> = Result<T, Untold>;

impl Untold {
    /// With this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Where `/proc` and `/sys` are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// `/` is this host; another folder holds copies of another host's files.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Neither `/proc` nor `/sys` is there: no host's files are.
    pub fn is_bare(&self) -> bool {
        !["proc", "sys"].iter().any(|folder| self.0.join(folder).is_dir())
    }

    /// A file's text without the white space around it.
    pub fn read(&self, path: &str) -> Told<String> {
        self.bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file's bytes.
    pub fn bytes(&self, path: &str) -> Told<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = File::open(self.0.join(path)).and_then(|f| f.take(FILE_BYTES).read_to_end(&mut bytes));
        read.map(|_| bytes).map_err(|error| Untold::new(format!("/{path}: {error}")))
    }

    /// A file that holds one number.
    pub fn number<N: FromStr>(&self, path: &str) -> Told<N> {
        let text = self.read(path)?;
        text.parse().map_err(|_| Untold::new(format!("/{path} says «{}»", excerpt(&text))))
    }

    /// A file that holds a list of cores: `0-3,8`.
    pub fn cores(&self, path: &str) -> Told<Vec<usize>> {
        let text = self.read(path)?;
        core_list(&text).ok_or_else(|| Untold::new(format!("/{path} says «{}»", excerpt(&text))))
    }

    /// A file that holds a mask of cores: `ff,00000003`.
    pub fn mask(&self, path: &str) -> Told<Vec<usize>> {
        let text = self.read(path)?;
        core_mask(&text).ok_or_else(|| Untold::new(format!("/{path} says «{}»", excerpt(&text))))
    }

    /// The names in a folder, in order.
    pub fn names(&self, path: &str) -> Told<Vec<String>> {
        let entries = fs::read_dir(self.0.join(path)).map_err(|e| Untold::new(format!("/{path}: {e}")))?;
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        Ok(names)
    }

    /// Where a symbolic link leads, as it is written.
    pub fn target(&self, path: &str) -> Told<PathBuf> {
        fs::read_link(self.0.join(path)).map_err(|e| Untold::new(format!("/{path}: {e}")))
    }

    /// There is a file or folder of this name.
    pub fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `0-3,8`; an empty text is an empty list.
pub fn core_list(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty() && *part != "(null)") {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= CORES {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// Groups of 32 cores in hexadecimal, the highest first.
fn core_mask(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for (group, digits) in text.split(',').rev().enumerate() {
        let bits = u32::from_str_radix(digits.trim(), 16).ok()?;
        cores.extend((0..32).filter(|bit| bits & (1 << bit) != 0).map(|bit| group * 32 + bit));
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(core_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(core_list(""), Some(vec![]));
        assert_eq!(core_list("(null)"), Some(vec![]), "nohz_full without cores");
        assert_eq!((core_list("x"), core_list("0-99999999999"), core_list("3-70000")), (None, None, None));
        assert_eq!(core_mask("1,00000003"), Some(vec![0, 1, 32]));
        assert_eq!((core_mask("00"), core_mask("zz")), (Some(vec![]), None));
    }

    #[test]
    fn a_file_that_is_not_there_says_which() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        assert!(root.read("proc/x").unwrap_err().to_string().starts_with("/proc/x: "));
        fs::write(folder.path().join("n"), "many\n").unwrap();
        assert_eq!(root.number::<u64>("n"), Err(Untold::new("/n says «many»")));
    }
}
