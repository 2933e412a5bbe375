//! Configuration and keys, read together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::banner::KeyState;
use super::error::Error;
use crate::config;
use crate::fib::Fib;
use crate::plan::Plan;
use crate::token::Keys;

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This file.
    File(PathBuf),
    /// The embedded default.
    Default,
}

/// What was read.
pub(super) struct Loaded {
    pub plan: Plan,
    pub keys: Arc<Keys>,
    pub key_state: KeyState,
}

/// The keys of a process that is up.
pub(super) struct InUse {
    pub keys: Arc<Keys>,
    /// They stand in no file, and are kept as long as none is named.
    pub are_throw_away: bool,
}

/// Reads the configuration and the keys that it names. A key file that is absent is made by a start only. What `fib` tells
/// are the host's addresses and routes.
///
/// # Errors
/// The rendered findings, or what is wrong with the key file.
pub(super) fn load(source: &Source, fib: &Fib, in_use: Option<&InUse>) -> Result<Loaded, Error> {
    let loaded = match source {
        Source::File(path) => config::load(path, fib),
        Source::Default => config::default(fib),
    };
    let config::Loaded { plan, warnings, .. } = loaded.map_err(Error::Configuration)?;
    // What does not fit the host is told by the watch, which also tells when it fits again.
    let warnings = warnings.of_the_file();
    if !warnings.list().is_empty() {
        tracing::warn!("{} warns:\n{warnings}", plan.origin);
    }
    let (keys, key_state) = match (&plan.keys_file, in_use) {
        (Some(path), _) => from_file(path, in_use.is_some())?,
        (None, Some(InUse { keys, are_throw_away: true })) => (Arc::clone(keys), KeyState::ThrowAway),
        (None, _) => {
            (Arc::new(Keys::ephemeral().map_err(crate::token::KeyFileError::Random)?), KeyState::ThrowAway)
        }
    };
    Ok(Loaded { plan, keys, key_state })
}

fn from_file(path: &Path, again: bool) -> Result<(Arc<Keys>, KeyState), Error> {
    let read = if again { Keys::load_again } else { Keys::load_or_create };
    let loaded = read(path, SystemTime::now())?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let state = KeyState::File { path: path.into(), created: loaded.created, count: loaded.keys.count() };
    Ok((Arc::new(loaded.keys), state))
}
