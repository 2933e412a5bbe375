//! systemd's unit file for Viaduct.

use super::{Root, Told, Untold};

/// Where units lie, the first wins (systemd.unit(5)).
const PLACES: &[&str] = &[
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// What a unit file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Where it lies.
    pub path: String,
    /// The assignments of `[Service]`, in order; drop-in files come after the unit itself.
    pub service: Vec<(String, String)>,
}

impl Unit {
    /// The text of a unit file, or of a drop-in file.
    pub fn parse(path: &str, text: &str) -> Self {
        let mut service = Vec::new();
        let mut inside = false;
        for line in text.replace("\\\n", " ").lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Service]";
            } else if let Some((key, value)) = line.split_once('=')
                && inside
                && !line.starts_with(['#', ';'])
            {
                service.push((key.trim().to_owned(), value.trim().to_owned()));
            }
        }
        Self { path: path.to_owned(), service }
    }

    /// What a key says in the end.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.service.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The words of a key whose lines add up; an empty one begins anew (systemd.exec(5)).
    pub fn list(&self, key: &str) -> Vec<&str> {
        let mut words = Vec::new();
        for (_, value) in self.service.iter().filter(|(name, _)| name == key) {
            match value.as_str() {
                "" => words.clear(),
                some => words.extend(some.split_whitespace()),
            }
        }
        words
    }

    /// A limit in bytes or numbers; `Some(None)`: none.
    pub fn limit(&self, key: &str) -> Option<Option<u64>> {
        // SOFT:HARD or one for both; K, M, G, T to the base of 1024 (systemd.exec(5)).
        let value = self.get(key)?.split(':').next_back()?.trim();
        if value == "infinity" {
            return Some(None);
        }
        let (digits, shift) = match value.chars().last()? {
            'K' => (&value[..value.len() - 1], 10),
            'M' => (&value[..value.len() - 1], 20),
            'G' => (&value[..value.len() - 1], 30),
            'T' => (&value[..value.len() - 1], 40),
            _ => (value, 0),
        };
        digits.trim().parse::<u64>().ok().map(|number| number.checked_shl(shift))
    }
}

pub(super) fn read(root: &Root) -> Told<Unit> {
    for place in PLACES {
        let path = format!("{place}/viaduct.service");
        let Ok(text) = root.read(&path) else { continue };
        let mut unit = Unit::parse(&format!("/{path}"), &text);
        let drop_ins = format!("{path}.d");
        for name in root.names(&drop_ins).unwrap_or_default().iter().filter(|name| name.ends_with(".conf")) {
            let text = root.read(&format!("{drop_ins}/{name}")).unwrap_or_default();
            unit.service.extend(Unit::parse(name, &text).service);
        }
        return Ok(unit);
    }
    Err(Untold::new("there is no viaduct.service in systemd's folders"))
}
