//! What of a comparison is run.

use std::path::PathBuf;
use std::time::Duration;

use super::peers::{Peer, Way};
use super::rounds::LOADS;
use crate::null::Engine;
use crate::results::model::Load;

/// Whom, under which loads, how long. What is left out is as the accessors have it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Besides Viaduct only these
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Family>,
    /// Rounds of the comparison; 9 without it
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// Length of a window of the comparison in milliseconds, 1500 without it; three times that for `paced`
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub window_ms: Option<u64>,
    /// Of the comparison's loads only these
    #[arg(long, value_delimiter = ',', value_parser = load)]
    pub loads: Vec<Load>,
    /// Path to OpenSIPS (3.4 or later), without which it is left out
    #[arg(long, value_name = "PATH")]
    pub opensips: Option<PathBuf>,
}

/// Subjects of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// The floor
    Null,
    /// Kamailio
    Kamailio,
    /// OpenSIPS
    Opensips,
}

fn load(name: &str) -> Result<Load, String> {
    let known = LOADS.iter().find(|load| load.name() == name);
    let names = || LOADS.map(Load::name).join(", ");
    known.copied().ok_or_else(|| format!("there are {}", names()))
}

impl Selection {
    /// Whom Viaduct is compared with.
    pub(super) fn families(&self) -> &[Family] {
        if self.only.is_empty() { &Family::ALL } else { &self.only }
    }

    /// Loads, in the order of a round.
    pub(super) fn loads(&self) -> Vec<Load> {
        if self.loads.is_empty() { LOADS.to_vec() } else { self.loads.clone() }
    }

    pub(super) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(9)
    }

    pub(super) fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms.unwrap_or(1_500))
    }
}

impl Family {
    const ALL: [Self; 3] = [Self::Null, Self::Kamailio, Self::Opensips];

    pub(super) fn peers(self) -> Vec<Peer> {
        match self {
            Self::Null => {
                use clap::ValueEnum;
                Engine::value_variants().iter().map(|engine| Peer::Null(*engine)).collect()
            }
            Self::Kamailio => {
                let over_streams = [Peer::KamailioTcp(true), Peer::KamailioTcp(false), Peer::KamailioTls];
                Way::ALL.into_iter().map(Peer::Kamailio).chain(over_streams).collect()
            }
            Self::Opensips => Way::ALL.map(Peer::Opensips).into(),
        }
    }
}
