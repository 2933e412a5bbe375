//! What is offered: kinds of exchanges, and how many of each.

use std::str::FromStr;

use crate::draw::Random;

/// One exchange between caller and callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// INVITE 180 200 ACK BYE 200
    Call,
    /// The same, with an INVITE of about 1,100 bytes.
    LongCall,
    /// OPTIONS 200
    Options,
    /// MESSAGE 200
    Message,
    /// The same, with a MESSAGE of about 1,100 bytes.
    LongMessage,
    /// REGISTER 200
    Register,
    /// An INVITE that nobody answers.
    Unanswered,
}

impl Kind {
    /// All of them; the place of each is its number.
    pub const ALL: [Self; 7] = [
        Self::Call,
        Self::LongCall,
        Self::Options,
        Self::Message,
        Self::LongMessage,
        Self::Register,
        Self::Unanswered,
    ];

    /// As the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::LongCall => "long-call",
            Self::Options => "options",
            Self::Message => "message",
            Self::LongMessage => "long-message",
            Self::Register => "register",
            Self::Unanswered => "unanswered",
        }
    }

    /// Method of its first request.
    pub fn method(self) -> &'static str {
        match self {
            Self::Call | Self::LongCall | Self::Unanswered => "INVITE",
            Self::Options => "OPTIONS",
            Self::Message | Self::LongMessage => "MESSAGE",
            Self::Register => "REGISTER",
        }
    }

    /// Its first request is a long one.
    pub fn long(self) -> bool {
        matches!(self, Self::LongCall | Self::LongMessage)
    }

    /// It is a request and its answer.
    pub fn is_one_request(self) -> bool {
        !self.is_call() && self != Self::Unanswered
    }

    /// It is a call, with a dialog.
    pub fn is_call(self) -> bool {
        matches!(self, Self::Call | Self::LongCall)
    }
}

/// Kinds, each as often as its weight says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix(Vec<(u8, u64)>);

impl Mix {
    /// One kind alone.
    pub fn only(kind: Kind) -> Self {
        Self(vec![(kind as u8, 1)])
    }

    /// Draws the next kind.
    pub fn draw(&self, random: &mut Random) -> Kind {
        match self.0[..] {
            [(kind, _)] => Kind::ALL[usize::from(kind)],
            _ => Kind::ALL[usize::from(random.weighted(&self.0))],
        }
    }

    /// There is any of this kind.
    pub fn has(&self, kind: Kind) -> bool {
        self.0.iter().any(|(own, _)| *own == kind as u8)
    }

    /// There is anything that is answered.
    pub fn answers(&self) -> bool {
        self.0.iter().any(|(kind, _)| *kind != Kind::Unanswered as u8)
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let kind = Kind::ALL.iter().find(|kind| kind.name() == name.trim()).ok_or_else(|| {
                let names = Kind::ALL.map(Kind::name).join(", ");
                format!("there is no {name:?}; there are {names}")
            })?;
            let weight: u32 = weight.trim().parse().map_err(|_| format!("{weight:?} is no whole number"))?;
            if weight > 0 {
                parts.push((*kind as u8, u64::from(weight)));
            }
        }
        if parts.is_empty() { Err("nothing has a weight above 0".into()) } else { Ok(Self(parts)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_and_drawn_as_its_weights_say() {
        let mix: Mix = "call=3,options,register=0".parse().unwrap();
        let mut random = Random(1);
        let drawn: Vec<Kind> = (0..4000).map(|_| mix.draw(&mut random)).collect();
        let calls = drawn.iter().filter(|kind| **kind == Kind::Call).count();
        assert!((2800..3200).contains(&calls), "{calls}");
        assert!(drawn.iter().all(|kind| matches!(kind, Kind::Call | Kind::Options)));
        assert!(mix.answers() && !Mix::only(Kind::Unanswered).answers());
        for wrong in ["", "calls", "call=x", "call=0", "call=-1"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
