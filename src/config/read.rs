//! Reading of tables with every key accounted for.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use std::time::Duration;

use strsim::osa_distance;
use toml_edit::{Array, ArrayOfTables, Item, Table, TableLike, Value};

use super::diagnostic::Findings;

/// How a duration is written.
const DURATION: &str = "write a whole number with us, ms, s, min or h, in quotes: \"4s\"";

/// A table whose keys are taken one by one; what is left over is unknown.
pub(super) struct Section<'d> {
    table: &'d dyn TableLike,
    /// What messages call it: `[egress]`, `[[listener]]`.
    name: &'static str,
    /// Where it stands.
    pub span: Range<usize>,
    taken: Vec<&'static str>,
    /// A key of it that has a table, and the keys of that.
    within: (&'static str, &'static [&'static str]),
}

/// A key with its value.
#[derive(Clone)]
pub(super) struct Entry<'d> {
    /// The key.
    pub key: &'d str,
    node: Node<'d>,
    /// Where the value stands.
    pub span: Range<usize>,
}

/// What stands behind a key or in a list.
#[derive(Clone, Copy)]
enum Node<'d> {
    Value(&'d Value),
    Table(&'d Table),
    Tables(&'d ArrayOfTables),
    Nothing,
}

/// A text in the file.
#[derive(Clone, Debug)]
pub(super) struct Text<'d> {
    pub text: &'d str,
    pub span: Range<usize>,
}

impl<'d> Section<'d> {
    pub fn new(table: &'d dyn TableLike, name: &'static str, span: Range<usize>) -> Self {
        Self { table, name, span, taken: Vec::new(), within: ("", &[]) }
    }

    /// One of its keys has a table with such keys, which some write beside it.
    pub fn has_within(&mut self, key: &'static str, keys: &'static [&'static str]) {
        self.within = (key, keys);
    }

    /// The value of a key, if it is there.
    pub fn take(&mut self, key: &'static str) -> Option<Entry<'d>> {
        if !self.taken.contains(&key) {
            self.taken.push(key);
        }
        let (key, item) = self.table.get_key_value(key)?;
        let span = item.span().or_else(|| key.span()).unwrap_or_else(|| self.span.clone());
        Some(Entry { key: key.get(), node: Node::of(item), span })
    }

    /// The value of a key that must be there; `hint` says what belongs there, as it is to be written.
    pub fn need(&mut self, key: &'static str, hint: &str, findings: &mut Findings) -> Option<Entry<'d>> {
        let entry = self.take(key);
        if entry.is_none() {
            let name = self.name;
            findings.error(
                self.span.clone(),
                format!("{name} lacks the key `{key}`"),
                format!("write {key} = {hint}"),
            );
        }
        entry
    }

    /// Reports every key that was not taken.
    pub fn finish(self, findings: &mut Findings) {
        for (key, _) in self.table.iter().filter(|(key, _)| !self.taken.contains(key)) {
            let span = self.table.key(key).and_then(toml_edit::Key::span);
            let name = self.name;
            let (outer, inner) = self.within;
            let hint = match (&meant(key, &self.taken)[..], &meant(key, inner)[..]) {
                ([], []) => format!("known keys are: {}", self.taken.join(", ")),
                ([], meant) => {
                    format!("{} belongs in `{outer}`: {outer} = {{ … }}", meant.join(" or "))
                }
                (meant, _) => format!("did you mean {}?", meant.join(" or ")),
            };
            let span = span.unwrap_or_else(|| self.span.clone());
            findings.error(span, format!("unknown key `{key}` in {name}"), hint);
        }
    }
}

/// The known keys that one may stand for, as they are to be written: that with a slip of the pen in every third letter at most (two
/// letters that changed places are one), else those of which it is a word.
fn meant(key: &str, known: &[&str]) -> Vec<String> {
    let slips = |known: &&&str| osa_distance(known, key);
    let nearest = known.iter().min_by_key(slips).filter(|known| slips(known) <= (key.len() / 3).max(1));
    let has_word = |known: &&&str| known.split('_').any(|word| word == key);
    let all = nearest.map_or_else(|| known.iter().filter(has_word).collect(), |nearest| vec![nearest]);
    all.into_iter().map(|known| format!("`{known}`")).collect()
}

impl<'d> Node<'d> {
    fn of(item: &'d Item) -> Self {
        match item {
            Item::None => Self::Nothing,
            Item::Value(value) => Self::Value(value),
            Item::Table(table) => Self::Table(table),
            Item::ArrayOfTables(tables) => Self::Tables(tables),
        }
    }

    fn value(self) -> Option<&'d Value> {
        if let Self::Value(value) = self { Some(value) } else { None }
    }

    fn array(self) -> Option<&'d Array> {
        self.value()?.as_array()
    }

    fn table(self) -> Option<&'d dyn TableLike> {
        match self {
            Self::Table(table) => Some(table),
            Self::Value(value) => value.as_inline_table().map(|table| table as &dyn TableLike),
            Self::Tables(_) | Self::Nothing => None,
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Value(value) => value.type_name(),
            Self::Table(_) => "table",
            Self::Tables(_) => "list of tables",
            Self::Nothing => "nothing",
        }
    }
}

impl<'d> Entry<'d> {
    fn wrong(&self, expected: &str, hint: &str, findings: &mut Findings) {
        let message = format!("`{}` must be {expected}, not {}", self.key, self.node.type_name());
        findings.error(self.span.clone(), message, hint);
    }

    /// Out of bounds: the nearest that there is.
    fn beyond(
        &self,
        is_too_much: bool,
        (least, most): (impl fmt::Display, impl fmt::Display),
        findings: &mut Findings,
    ) {
        let message = format!("`{}` must be from {least} to {most}", self.key);
        let hint = match is_too_much {
            true => format!("write {most} or less"),
            false => format!("write {least} or more"),
        };
        findings.error(self.span.clone(), message, hint);
    }

    /// A string.
    pub fn text(&self, findings: &mut Findings) -> Option<Text<'d>> {
        let text =
            self.node.value().and_then(Value::as_str).map(|text| Text { text, span: self.span.clone() });
        if text.is_none() {
            self.wrong("a string", "write text, in quotes", findings);
        }
        text
    }

    /// `true` or `false`.
    pub fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        let value = self.node.value().and_then(Value::as_bool);
        if value.is_none() {
            self.wrong("true or false", "write true or false, without quotes", findings);
        }
        value
    }

    /// A whole number within bounds.
    pub fn number(&self, bounds: Range<i64>, findings: &mut Findings) -> Option<i64> {
        let value = self.node.value().and_then(Value::as_integer);
        if value.is_none() {
            self.wrong("a whole number", "write digits alone, without quotes", findings);
        }
        let value = value?;
        if bounds.contains(&value) {
            return Some(value);
        }
        self.beyond(value >= bounds.end, (bounds.start, bounds.end - 1), findings);
        None
    }

    /// A duration: a whole number with its unit, `"200us"`, `"500ms"`, `"4s"`, `"5min"` or `"24h"`.
    pub fn duration(&self, bounds: RangeInclusive<Duration>, findings: &mut Findings) -> Option<Duration> {
        if !self.is_text() {
            self.wrong("a duration", DURATION, findings);
            return None;
        }
        let text = self.text(findings)?;
        let unit = text.text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = text.text[..text.text.len() - unit.len()].parse::<u32>().ok();
        let found = number.and_then(|number| match unit {
            "us" => Some(Duration::from_micros(number.into())),
            "ms" => Some(Duration::from_millis(number.into())),
            "s" => Some(Duration::from_secs(number.into())),
            "min" => Some(Duration::from_secs(u64::from(number) * 60)),
            "h" => Some(Duration::from_secs(u64::from(number) * 3_600)),
            _ => None,
        });
        let Some(found) = found else {
            findings.error(text.span, format!("«{}» is not a duration", text.text), DURATION);
            return None;
        };
        if !bounds.contains(&found) {
            let [least, most] = [bounds.start(), bounds.end()].map(|bound| duration_in_words(*bound));
            self.beyond(found > *bounds.end(), (least, most), findings);
            return None;
        }
        Some(found)
    }

    /// A list that is not empty; a single value stands for a list of one.
    pub fn values(&self, findings: &mut Findings) -> Vec<Entry<'d>> {
        let Some(array) = self.node.array() else {
            return vec![self.clone()];
        };
        if array.is_empty() {
            let message = format!("`{}` is an empty list", self.key);
            findings.error(self.span.clone(), message, "leave the key out, or write what it is to hold");
        }
        array.iter().map(|value| self.element(value)).collect()
    }

    fn element(&self, value: &'d Value) -> Entry<'d> {
        let span = value.span().unwrap_or_else(|| self.span.clone());
        Entry { key: self.key, node: Node::Value(value), span }
    }

    /// What its key would be, were the dots behind it part of a name and not tables in tables.
    pub fn dotted_key(&self) -> Option<String> {
        let (mut name, mut node) = (self.key.to_owned(), self.node);
        while let Some((key, item)) = node.table().and_then(|table| table.iter().next()) {
            name = format!("{name}.{key}");
            node = Node::of(item);
        }
        (name != self.key).then_some(name)
    }

    /// A list of strings, or one.
    pub fn texts(&self, findings: &mut Findings) -> Vec<Text<'d>> {
        self.values(findings).iter().filter_map(|entry| entry.text(findings)).collect()
    }

    /// A table.
    pub fn section(&self, name: &'static str, findings: &mut Findings) -> Option<Section<'d>> {
        let table = self.node.table();
        if table.is_none() {
            self.wrong("a table", "write { KEY = VALUE }", findings);
        }
        Some(Section::new(table?, name, self.span.clone()))
    }

    /// It is a table.
    pub fn is_table(&self) -> bool {
        self.node.table().is_some()
    }

    /// It is a string.
    pub fn is_text(&self) -> bool {
        self.node.value().is_some_and(Value::is_str)
    }

    /// It is a list.
    pub fn is_list(&self) -> bool {
        self.node.array().is_some()
    }

    /// It is a list without values.
    pub fn is_empty(&self) -> bool {
        self.node.array().is_some_and(Array::is_empty)
    }

    /// `[[name]]`, or a list of inline tables.
    pub fn sections(&self, name: &'static str, findings: &mut Findings) -> Vec<Section<'d>> {
        if let Node::Tables(tables) = self.node {
            let span = |table: &toml_edit::Table| table.span().unwrap_or_else(|| self.span.clone());
            return tables.iter().map(|table| Section::new(table, name, span(table))).collect();
        }
        if self.node.array().is_none() {
            findings.error(
                self.span.clone(),
                format!("`{}` must be a list of tables", self.key),
                format!("write {name}, in double brackets"),
            );
            return Vec::new();
        }
        self.values(findings).iter().filter_map(|entry| entry.section(name, findings)).collect()
    }

    /// All keys and values of a table whose keys are free.
    pub fn pairs(&self, findings: &mut Findings) -> Vec<(Text<'d>, Entry<'d>)> {
        let Some(table) = self.node.table() else {
            self.wrong("a table", "write { NAME = VALUE }", findings);
            return Vec::new();
        };
        let pair = |(key, item): (&'d str, &'d Item)| {
            let span = table.key(key).and_then(toml_edit::Key::span).unwrap_or_else(|| self.span.clone());
            let value_span = item.span().unwrap_or_else(|| span.clone());
            let entry = Entry { key, node: Node::of(item), span: value_span };
            (Text { text: key, span }, entry)
        };
        table.iter().map(pair).collect()
    }
}

impl Text<'_> {
    /// The text as a value; `expected` says what it should have been, `hint` how that is written.
    pub fn parse<T: FromStr>(&self, expected: &str, hint: &str, findings: &mut Findings) -> Option<T> {
        let value = self.text.parse().ok();
        if value.is_none() {
            findings.error(self.span.clone(), format!("«{}» is not {expected}", self.text), hint);
        }
        value
    }
}

/// A duration as the file writes it.
pub(super) fn duration_in_words(duration: Duration) -> String {
    let us = duration.as_micros();
    let units = [(3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms")];
    let unit = units.into_iter().find(|(unit, _)| us >= *unit && us.is_multiple_of(*unit));
    match unit {
        Some((unit, name)) => format!("\"{}{name}\"", us / unit),
        None => format!("\"{us}us\""),
    }
}
