//! What of a comparison is run: for `compare` itself, and for `all`, of which it is a part.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::peers::{Peer, Way};
use super::rounds::LOADS;
use crate::null::Engine;
use crate::results::model::Load;

/// Whom, under which loads, how long. What is left out is as [`Selection::or`] or the accessors have it.
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

fn at_what_opensips_carries(load: Load) -> Option<Load> {
    match load {
        Load::Calls => Some(Load::CallsOpensips),
        Load::StatefulCalls => Some(Load::StatefulCallsOpensips),
        _ => None,
    }
}

impl Selection {
    /// The same, with what is left out as `other` has it.
    pub fn or(self, other: Self) -> Self {
        Self {
            only: if self.only.is_empty() { other.only } else { self.only },
            rounds: self.rounds.or(other.rounds),
            window_ms: self.window_ms.or(other.window_ms),
            loads: if self.loads.is_empty() { other.loads } else { self.loads },
            opensips: self.opensips.or(other.opensips),
        }
    }

    /// As a command line has it.
    pub fn words(&self) -> Vec<OsString> {
        use clap::ValueEnum as _;
        let only =
            self.only.iter().filter_map(|family| Some(family.to_possible_value()?.get_name().to_owned()));
        let loads = self.loads.iter().map(|load| load.name().to_owned());
        let list = |names: Vec<String>| (!names.is_empty()).then(|| OsString::from(names.join(",")));
        let options = [
            ("--only", list(only.collect())),
            ("--rounds", self.rounds.map(|rounds| rounds.to_string().into())),
            ("--window-ms", self.window_ms.map(|ms| ms.to_string().into())),
            ("--loads", list(loads.collect())),
            ("--opensips", self.opensips.clone().map(Into::into)),
        ];
        let given = options.into_iter().filter_map(|(name, value)| Some([name.into(), value?]));
        given.flatten().collect()
    }

    /// Whom Viaduct is compared with.
    pub(super) fn families(&self) -> &[Family] {
        if self.only.is_empty() { &Family::ALL } else { &self.only }
    }

    /// Loads, in the order of a round: calls at what Kamailio carries, and at what OpenSIPS does where that takes part.
    pub(super) fn loads(&self) -> Vec<Load> {
        let asked = if self.loads.is_empty() { &LOADS[..] } else { &self.loads };
        let has_opensips = self.families().contains(&Family::Opensips) && self.opensips.is_some();
        let is_only_that = has_opensips && !self.families().contains(&Family::Kamailio);
        let of = |load: &Load| match at_what_opensips_carries(*load).filter(|_| has_opensips) {
            None => vec![*load],
            Some(theirs) if is_only_that => vec![theirs],
            Some(theirs) => vec![*load, theirs],
        };
        asked.iter().flat_map(of).collect()
    }

    /// How many are run.
    pub fn rounds(&self) -> u32 {
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
                let floors = Engine::value_variants().iter().map(|engine| Peer::Null(*engine));
                floors.chain([Peer::NullSpinning, Peer::NullAtOnce]).collect()
            }
            Self::Kamailio => {
                let over_streams =
                    [Peer::KamailioTcp(true), Peer::KamailioTcp(false), Peer::KamailioTls, Peer::KamailioWs];
                Way::ALL.into_iter().map(Peer::Kamailio).chain(over_streams).collect()
            }
            Self::Opensips => Way::ALL.map(Peer::Opensips).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        selection: Selection,
    }

    fn parsed(words: &[OsString]) -> Selection {
        Line::parse_from([OsString::from("compare")].iter().chain(words)).selection
    }

    #[test]
    fn what_is_left_out_is_the_others_and_words_say_all_of_it() {
        let quick = Selection {
            only: vec![Family::Null, Family::Kamailio],
            rounds: Some(2),
            window_ms: Some(300),
            loads: vec![Load::Messages, Load::StatefulCalls],
            opensips: None,
        };
        let given =
            ["--rounds", "5", "--only", "opensips", "--opensips", "/opt/opensips"].map(OsString::from);
        let both = parsed(&parsed(&given).or(quick).words());
        assert_eq!((both.rounds(), both.window()), (5, Duration::from_millis(300)));
        assert_eq!(both.only, [Family::Opensips]);
        assert_eq!(both.loads, [Load::Messages, Load::StatefulCalls]);
        assert_eq!(both.opensips, Some("/opt/opensips".into()));
    }

    #[test]
    fn nothing_said_is_everything() {
        let all = parsed(&Selection::default().words());
        assert_eq!((all.rounds(), all.window(), all.families().len()), (9, Duration::from_millis(1_500), 3));
        assert_eq!(all.loads(), LOADS);
    }

    #[test]
    fn calls_are_offered_at_what_each_of_the_others_carries() {
        let loads = |only: &[Family], opensips: Option<&str>| {
            let loads = vec![Load::Messages, Load::Calls];
            Selection {
                only: only.to_vec(),
                loads,
                opensips: opensips.map(PathBuf::from),
                ..Selection::default()
            }
            .loads()
        };
        let here = Some("/opt/opensips");
        assert_eq!(loads(&[], here), [Load::Messages, Load::Calls, Load::CallsOpensips]);
        assert_eq!(loads(&[Family::Null, Family::Opensips], here), [Load::Messages, Load::CallsOpensips]);
        for without in [loads(&[], None), loads(&[Family::Kamailio], here), loads(&[Family::Opensips], None)]
        {
            assert_eq!(without, [Load::Messages, Load::Calls]);
        }
    }
}
