//! Which cores the shards run on.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::limits;

/// Why a shard cannot be pinned as wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// `[engine] cores` names a core that this process may not use.
    #[error(
        "[engine] cores names core {core}, which this process may not use; it may use {}. \
         taskset, a cgroup's cpuset or the service's CPUAffinity= decide that",
        ranges(allowed)
    )]
    NotAllowed {
        /// The first such core.
        core: usize,
        /// What may be used.
        allowed: Vec<usize>,
    },
    /// A core stands there twice.
    #[error("[engine] cores names core {0} twice; each shard needs a core of its own")]
    Twice(usize),
    /// More cores than shards can be numbered.
    #[error("[engine] cores names {0} cores; {max} are the most", max = limits::SHARDS)]
    TooMany(usize),
    /// The kernel does not tell.
    #[error("cannot read this process's CPU affinity: {0}")]
    Unknown(nix::errno::Errno),
    /// Pinning did not take effect.
    #[error("cannot pin a thread to core {core}: it may run on {} instead", ranges(now))]
    NotPinned {
        /// The wanted core.
        core: usize,
        /// What the kernel says after the attempt.
        now: Vec<usize>,
    },
}

/// The cores to pin shards to: the wanted ones, or all that the process may use if none are named.
pub fn choose(wanted: &[usize]) -> Result<Vec<usize>, CoreError> {
    choose_among(wanted, allowed()?)
}

fn choose_among(wanted: &[usize], mut allowed: Vec<usize>) -> Result<Vec<usize>, CoreError> {
    if wanted.is_empty() {
        allowed.truncate(limits::SHARDS);
        return Ok(allowed);
    }
    if wanted.len() > limits::SHARDS {
        return Err(CoreError::TooMany(wanted.len()));
    }
    for (i, core) in wanted.iter().enumerate() {
        if !allowed.contains(core) {
            return Err(CoreError::NotAllowed { core: *core, allowed });
        }
        if wanted[..i].contains(core) {
            return Err(CoreError::Twice(*core));
        }
    }
    Ok(wanted.to_vec())
}

/// Pins the calling thread to one core, and asks the kernel whether it is.
pub fn pin(core: usize) -> Result<(), CoreError> {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
    let now = allowed()?;
    if now == [core] { Ok(()) } else { Err(CoreError::NotPinned { core, now }) }
}

fn allowed() -> Result<Vec<usize>, CoreError> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(CoreError::Unknown)?;
    Ok((0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect())
}

/// `0-3, 8`
pub fn ranges(cores: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *core => *last = *core,
            _ => runs.push((*core, *core)),
        }
    }
    let shown = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_wish_every_allowed_core_gets_a_shard() {
        assert_eq!(choose_among(&[], vec![2, 3, 7]), Ok(vec![2, 3, 7]));
    }

    #[test]
    fn a_core_that_may_not_be_used_is_named_beside_those_that_may() {
        let error = choose_among(&[1, 9], vec![0, 1, 2, 5]).unwrap_err();
        assert_eq!(error, CoreError::NotAllowed { core: 9, allowed: vec![0, 1, 2, 5] });
        assert!(error.to_string().contains("core 9") && error.to_string().contains("0-2, 5"), "{error}");
    }

    #[test]
    fn a_core_carries_one_shard() {
        assert_eq!(choose_among(&[1, 1], vec![0, 1]), Err(CoreError::Twice(1)));
        assert_eq!(choose_among(&[1, 0], vec![0, 1]), Ok(vec![1, 0]));
    }

    #[test]
    fn pinning_takes_effect_and_is_seen_to() {
        std::thread::spawn(|| {
            let core = choose(&[]).unwrap()[0];
            pin(core).unwrap();
            assert_eq!(allowed().unwrap(), [core]);
            assert_eq!(pin(1_000), Err(CoreError::NotPinned { core: 1_000, now: vec![core] }));
        })
        .join()
        .unwrap();
    }
}
