//! The patterns of one field: those with a shape are found by their fixed beginning or end and compared
//! step by step, the others by an automaton.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use regex_syntax::hir::Hir;

use super::automaton::{Automaton, Scanned, parse};
use super::shape::{ByteSet, Shape, shapes};
use super::trie::{NONE, Trie};
use super::{Pattern, PatternError, RuleId};

/// Longest beginning or end, in bytes, that patterns are told apart by.
const KEY_BYTES: usize = 64;
/// Shapes with the same beginning or end, one more and the automaton takes it: they are compared one
/// after the other.
const SAME_KEY: usize = 16;

/// Patterns as they are collected.
pub(super) struct Collected {
    /// Which key of the configuration, for messages.
    key: &'static str,
    sources: Vec<(Pattern, RuleId)>,
    numbers: HashMap<Pattern, u32>,
}

/// The patterns of one field, compiled.
pub(super) struct Patterns {
    /// Found from the text's beginning, and from its end.
    sides: [Side; 2],
    shapes: Vec<Compiled>,
    steps: Vec<CompiledStep>,
    classes: Vec<ByteSet>,
    /// For each pattern how it is told.
    kinds: Vec<Kind>,
    automaton: Automaton,
    /// For each expression of the automaton its pattern.
    general: Vec<u32>,
}

/// How a pattern is told.
enum Kind {
    /// By any of these shapes.
    Shapes(Vec<u32>),
    /// By the automaton, under this number.
    Automaton(u32),
}

struct Side {
    keys: Vec<Vec<u8>>,
    trie: Trie,
    /// For each key of the trie the shapes that begin, or end, with it.
    shapes: Vec<Vec<u32>>,
}

struct Compiled {
    pattern: u32,
    from_end: bool,
    whole: bool,
    steps: Range<u32>,
}

struct CompiledStep {
    class: u16,
    min: u32,
    max: u32,
}

impl Collected {
    /// None yet. `key` is what messages call the field.
    pub fn new(key: &'static str) -> Self {
        Self { key, sources: Vec::new(), numbers: HashMap::new() }
    }

    /// The pattern's number; equal patterns share one.
    pub fn add(&mut self, pattern: &Pattern, rule: RuleId) -> u32 {
        *self.numbers.entry(pattern.clone()).or_insert_with(|| {
            self.sources.push((pattern.clone(), rule));
            self.sources.len() as u32 - 1
        })
    }

    /// Compiles what was added.
    ///
    /// # Errors
    /// The first pattern that is not a regular expression or is too large.
    pub fn compile(&self) -> Result<Patterns, PatternError> {
        let error = |number: usize, message: String| {
            let (pattern, rule) = &self.sources[number];
            PatternError { rule: *rule, key: self.key, pattern: pattern.0.clone(), message }
        };
        let mut hirs = Vec::with_capacity(self.sources.len());
        for (number, (pattern, _)) in self.sources.iter().enumerate() {
            hirs.push(parse(&pattern.0).map_err(|message| error(number, message))?);
        }
        let mut this = Builder::default();
        for (number, hir) in hirs.into_iter().enumerate() {
            this.add(number as u32, hir);
        }
        this.finish().map_err(|(number, message)| error(number as usize, message))
    }
}

/// Patterns being sorted.
#[derive(Default)]
struct Builder {
    keys: [HashMap<Vec<u8>, Vec<u32>>; 2],
    shapes: Vec<Compiled>,
    steps: Vec<CompiledStep>,
    classes: Vec<ByteSet>,
    class_numbers: HashMap<ByteSet, u16>,
    kinds: Vec<Kind>,
    hirs: Vec<Hir>,
    general: Vec<u32>,
}

impl Builder {
    fn add(&mut self, pattern: u32, hir: Hir) {
        let shapes = shapes(&hir).filter(|shapes| shapes.iter().all(|shape| self.has_place(shape)));
        let kind = match shapes {
            Some(shapes) => {
                Kind::Shapes(shapes.into_iter().map(|shape| self.add_shape(pattern, &shape)).collect())
            }
            None => {
                self.hirs.push(hir);
                self.general.push(pattern);
                Kind::Automaton(self.general.len() as u32 - 1)
            }
        };
        self.kinds.push(kind);
    }

    fn has_place(&self, shape: &Shape) -> bool {
        let same = self.keys[usize::from(shape.from_end)].get(&key(shape)).map_or(0, Vec::len);
        same < SAME_KEY && self.classes.len() < usize::from(u16::MAX) - shape.steps.len()
    }

    fn add_shape(&mut self, pattern: u32, shape: &Shape) -> u32 {
        let begin = self.steps.len() as u32;
        for step in &shape.steps {
            let classes = &mut self.classes;
            let class = *self.class_numbers.entry(step.class).or_insert_with(|| {
                classes.push(step.class);
                classes.len() as u16 - 1
            });
            self.steps.push(CompiledStep { class, min: step.min, max: step.max });
        }
        let steps = begin..self.steps.len() as u32;
        let number = self.shapes.len() as u32;
        self.shapes.push(Compiled { pattern, from_end: shape.from_end, whole: shape.whole, steps });
        self.keys[usize::from(shape.from_end)].entry(key(shape)).or_default().push(number);
        number
    }

    fn finish(self) -> Result<Patterns, (u32, String)> {
        let automaton = Automaton::new(&self.hirs).map_err(|(n, message)| (self.general[n], message))?;
        Ok(Patterns {
            sides: self.keys.map(|keys| {
                let (keys, shapes): (Vec<_>, _) = keys.into_iter().unzip();
                let trie = Trie::new(&keys, |byte| Some(byte.to_ascii_lowercase()));
                Side { keys, trie, shapes }
            }),
            shapes: self.shapes,
            steps: self.steps,
            classes: self.classes,
            kinds: self.kinds,
            automaton,
            general: self.general,
        })
    }
}

/// What a text that has the shape begins with, or ends with in reverse; in lower case.
fn key(shape: &Shape) -> Vec<u8> {
    let mut key = Vec::new();
    for step in &shape.steps {
        let Some(byte) = step.class.only(true).filter(|_| step.min > 0) else { break };
        let times = (step.min as usize).min(KEY_BYTES - key.len());
        key.extend(std::iter::repeat_n(byte, times));
        if step.min != step.max || key.len() == KEY_BYTES {
            break;
        }
    }
    key
}

impl Patterns {
    /// No rule has a pattern on this field.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Working memory for the automaton.
    pub fn scanned(&self) -> Scanned {
        self.automaton.scanned()
    }

    /// A text has a shape of the pattern, which must be one of those that have shapes.
    pub fn has_shape_of(&self, pattern: u32, text: &[u8]) -> bool {
        match &self.kinds[pattern as usize] {
            Kind::Shapes(shapes) => {
                shapes.iter().any(|&shape| self.has_shape(&self.shapes[shape as usize], text))
            }
            Kind::Automaton(_) => false,
        }
    }

    /// A scan found the pattern, which must be one of those that need it.
    pub fn was_scanned(&self, pattern: u32, scanned: &Scanned) -> bool {
        match &self.kinds[pattern as usize] {
            Kind::Shapes(_) => false,
            Kind::Automaton(number) => scanned.has(*number),
        }
    }

    /// Whether telling the pattern takes a scan.
    pub fn needs_scan(&self, pattern: u32) -> bool {
        matches!(self.kinds[pattern as usize], Kind::Automaton(_))
    }

    /// Lets the automaton see a text; what it finds is added.
    pub fn scan(&self, text: &[u8], scanned: &mut Scanned) {
        self.automaton.scan(text, scanned);
    }

    /// The first pattern that a scan found from expression `from` on, with the expression's number.
    pub fn scanned_from(&self, from: u32, scanned: &Scanned) -> Option<(u32, u32)> {
        scanned.next(from).map(|number| (number, self.general[number as usize]))
    }

    /// What texts that have shapes of these patterns begin with, and what they end with in reverse; in lower case.
    pub fn keys(&self, patterns: &HashSet<u32>) -> [Vec<&[u8]>; 2] {
        let leads = |shapes: &[u32]| {
            shapes.iter().any(|&shape| patterns.contains(&self.shapes[shape as usize].pattern))
        };
        self.sides.each_ref().map(|side| {
            let keys = side.keys.iter().zip(&side.shapes).filter(|(_, shapes)| leads(shapes));
            keys.map(|(key, _)| key.as_slice()).collect()
        })
    }

    /// Calls `found` with every pattern with a shape that `wanted` wants and the text matches.
    #[inline]
    pub fn each_shape(&self, text: &[u8], wanted: impl Fn(u32) -> bool, mut found: impl FnMut(u32)) {
        for (side, from_end) in self.sides.iter().zip([false, true]) {
            let mut key = match from_end {
                false => side.trie.longest(text.iter().copied()),
                true => side.trie.longest(text.iter().rev().copied()),
            };
            while key != NONE {
                for &shape in &side.shapes[key as usize] {
                    let shape = &self.shapes[shape as usize];
                    if wanted(shape.pattern) && self.has_shape(shape, text) {
                        found(shape.pattern);
                    }
                }
                key = side.trie.parent(key);
            }
        }
    }

    fn has_shape(&self, shape: &Compiled, text: &[u8]) -> bool {
        let steps = &self.steps[shape.steps.start as usize..shape.steps.end as usize];
        match shape.from_end {
            false => self.follows(steps, text.iter(), shape.whole),
            true => self.follows(steps, text.iter().rev(), shape.whole),
        }
    }

    #[inline]
    fn follows<'t>(
        &self,
        steps: &[CompiledStep],
        text: impl ExactSizeIterator<Item = &'t u8> + Clone,
        whole: bool,
    ) -> bool {
        let mut text = text.peekable();
        for step in steps {
            let class = &self.classes[usize::from(step.class)];
            let mut times = 0;
            while times < step.max && text.next_if(|byte| class.has(**byte)).is_some() {
                times += 1;
            }
            if times < step.min {
                return false;
            }
        }
        !whole || text.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_automata::meta::Regex;

    use super::*;

    fn compile(patterns: &[&str]) -> Patterns {
        let mut collected = Collected::new("ruri_user");
        for pattern in patterns {
            collected.add(&Pattern((*pattern).into()), RuleId(0));
        }
        collected.compile().unwrap()
    }

    /// The patterns that are found, by all ways to ask.
    fn found(patterns: &Patterns, text: &[u8]) -> Vec<u32> {
        let mut scanned = patterns.scanned();
        patterns.scan(text, &mut scanned);
        let mut found = Vec::new();
        patterns.each_shape(text, |_| true, |pattern| found.push(pattern));
        let mut from = 0;
        while let Some((number, pattern)) = patterns.scanned_from(from, &scanned) {
            found.push(pattern);
            from = number + 1;
        }
        found.sort();
        found.dedup();
        let asked: Vec<u32> = (0..patterns.kinds.len() as u32)
            .filter(|&p| patterns.has_shape_of(p, text) || patterns.was_scanned(p, &scanned))
            .collect();
        assert_eq!(found, asked);
        found
    }

    const PATTERNS: [&str; 24] = [
        r"^\*12[0-9]+$",
        r"^(00|\+)12",
        r"^\+?1[12]{2}",
        "^(?i)ab*",
        "(?i)AB$",
        "2$",
        "^.*12$",
        "^a+b+$",
        "^[12]{2,3}a",
        "^[12]{2,3}$",
        "1",
        "a|b",
        "",
        "^",
        "$",
        "^$",
        "^1*2?a$",
        "[ab]{2}1$",
        r"^\+",
        "^(1|12)(2|22)a$",
        "^1?1?1?2$",
        "^(?s:.)*a1$",
        "^b{0,2}1",
        "[^1]$",
    ];

    #[test]
    fn most_of_what_people_write_takes_no_automaton() {
        let patterns = compile(&PATTERNS);
        let general: Vec<_> = (PATTERNS.iter().zip(&patterns.kinds))
            .filter_map(|(pattern, kind)| matches!(kind, Kind::Automaton(_)).then_some(*pattern))
            .collect();
        assert_eq!(general, ["1", "a|b", ""]);
    }

    #[test]
    fn patterns_by_the_dozen_with_the_same_beginning_go_to_the_automaton() {
        let texts: Vec<String> = (0..40).map(|n| format!("^[0-9]{{{n}}}$")).collect();
        let patterns = compile(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(patterns.general.len(), 40 - SAME_KEY);
        assert_eq!((found(&patterns, b"123"), found(&patterns, &[b'1'; 30])), (vec![3], vec![30]));
    }

    proptest! {
        #[test]
        fn a_pattern_is_found_where_the_plain_engine_finds_it(text in "[*+0129aAbB]{0,6}|[12]{0,4}|[aAb]{0,4}[12]{0,3}") {
            let patterns = compile(&PATTERNS);
            let plain: Vec<u32> = (PATTERNS.iter().zip(0..))
                .filter_map(|(pattern, n)| Regex::new(pattern).unwrap().is_match(&text).then_some(n))
                .collect();
            prop_assert_eq!(found(&patterns, text.as_bytes()), plain);
        }
    }
}
