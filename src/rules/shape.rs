//! Patterns as people write them for numbers and names: a fixed beginning or end, then classes of
//! characters, so many of each. Such a one is compared step by step, without an automaton.

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

/// Shapes that one pattern may fall apart into by its alternatives.
const MOST_SHAPES: usize = 16;
/// Steps of a shape.
const MOST_STEPS: usize = 64;

/// One way to satisfy a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// Steps are taken from the text's end towards its beginning.
    pub from_end: bool,
    /// The steps reach to the other end of the text.
    pub whole: bool,
    /// What follows on one another.
    pub steps: Vec<Step>,
}

/// So many characters of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Which bytes.
    pub class: ByteSet,
    /// At least.
    pub min: u32,
    /// At most; [`u32::MAX`]: no limit.
    pub max: u32,
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ByteSet([u64; 4]);

/// A shape that is being put together.
#[derive(Clone, Default)]
struct Draft {
    begins: bool,
    ends: bool,
    steps: Vec<Step>,
}

/// The shapes that a pattern consists of; `None` where it takes an automaton to tell.
pub(super) fn shapes(pattern: &Hir) -> Option<Vec<Shape>> {
    let drafts = extend(pattern, vec![Draft::default()])?;
    drafts.into_iter().map(Draft::finish).collect()
}

/// Appends what `hir` asks for to each draft.
fn extend(hir: &Hir, mut drafts: Vec<Draft>) -> Option<Vec<Draft>> {
    match hir.kind() {
        HirKind::Empty => Some(drafts),
        HirKind::Literal(literal) => {
            for &byte in &literal.0 {
                append(&mut drafts, &Step::one(ByteSet::of(byte)))?;
            }
            Some(drafts)
        }
        HirKind::Class(class) => {
            append(&mut drafts, &Step::one(ByteSet::of_class(class)?))?;
            Some(drafts)
        }
        HirKind::Look(Look::Start) => drafts.iter_mut().all(Draft::begin).then_some(drafts),
        HirKind::Look(Look::End) => {
            drafts.iter_mut().for_each(|draft| draft.ends = true);
            Some(drafts)
        }
        HirKind::Look(_) => None,
        HirKind::Capture(capture) => extend(&capture.sub, drafts),
        HirKind::Concat(parts) => parts.iter().try_fold(drafts, |drafts, part| extend(part, drafts)),
        HirKind::Alternation(parts) => either(parts.iter(), &drafts),
        HirKind::Repetition(repetition) => repeat(repetition, drafts),
    }
}

fn either<'h>(parts: impl Iterator<Item = &'h Hir>, drafts: &[Draft]) -> Option<Vec<Draft>> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(extend(part, drafts.to_vec())?);
        if all.len() > MOST_SHAPES {
            return None;
        }
    }
    Some(all)
}

fn repeat(repetition: &Repetition, mut drafts: Vec<Draft>) -> Option<Vec<Draft>> {
    let Repetition { min, max, ref sub, .. } = *repetition;
    // An optional part is two shapes: the one with it has a longer beginning to be found by.
    if (min, max) == (0, Some(1)) {
        let with = extend(sub, drafts.clone())?;
        drafts.extend(with);
        return (drafts.len() <= MOST_SHAPES).then_some(drafts);
    }
    if let Some(class) = single(sub) {
        append(&mut drafts, &Step { class, min, max: max.unwrap_or(u32::MAX) })?;
        return Some(drafts);
    }
    if max != Some(min) || min as usize > MOST_STEPS {
        return None;
    }
    (0..min).try_fold(drafts, |drafts, _| extend(sub, drafts))
}

/// The class of what is always one byte.
fn single(hir: &Hir) -> Option<ByteSet> {
    match hir.kind() {
        HirKind::Literal(literal) if literal.0.len() == 1 => Some(ByteSet::of(literal.0[0])),
        HirKind::Class(class) => ByteSet::of_class(class),
        HirKind::Capture(capture) => single(&capture.sub),
        _ => None,
    }
}

fn append(drafts: &mut [Draft], step: &Step) -> Option<()> {
    for draft in drafts {
        if draft.ends || draft.steps.len() >= MOST_STEPS {
            return None;
        }
        draft.steps.push(step.clone());
    }
    Some(())
}

impl Draft {
    fn begin(&mut self) -> bool {
        self.begins = true;
        self.steps.is_empty() && !self.ends
    }

    fn finish(self) -> Option<Shape> {
        let Self { begins, ends, mut steps } = self;
        if begins && is_greedy(&steps) {
            return Some(Shape { from_end: false, whole: ends, steps });
        }
        steps.reverse();
        (ends && is_greedy(&steps)).then_some(Shape { from_end: true, whole: begins, steps })
    }
}

/// To take as many as there are is never wrong: what follows a step of open length begins with other
/// characters.
fn is_greedy(steps: &[Step]) -> bool {
    steps.iter().enumerate().all(|(at, step)| {
        step.min == step.max || steps[at + 1..].iter().all(|later| !step.class.meets(&later.class))
    })
}

impl Step {
    fn one(class: ByteSet) -> Self {
        Self { class, min: 1, max: 1 }
    }
}

impl ByteSet {
    /// Of one byte.
    pub fn of(byte: u8) -> Self {
        let mut set = Self::default();
        set.insert(byte);
        set
    }

    /// `None` where the class holds characters of several bytes.
    fn of_class(class: &Class) -> Option<Self> {
        let bytes = match class {
            Class::Bytes(bytes) => bytes.clone(),
            Class::Unicode(characters) => characters.to_byte_class()?,
        };
        let mut set = Self::default();
        bytes.iter().flat_map(|range| range.start()..=range.end()).for_each(|byte| set.insert(byte));
        Some(set)
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
    }

    /// The byte is in it.
    #[inline]
    pub fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] >> (byte % 64) & 1 != 0
    }

    /// They have a byte in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// The only byte of it; regardless of case, if so asked, in lower case then.
    pub fn only(&self, any_case: bool) -> Option<u8> {
        let mut bytes = (0..=u8::MAX).filter(|&byte| self.has(byte));
        match (bytes.next(), bytes.next(), bytes.next()) {
            (Some(byte), None, _) => Some(if any_case { byte.to_ascii_lowercase() } else { byte }),
            (Some(a), Some(b), None) if any_case && a.eq_ignore_ascii_case(&b) => Some(b),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::automaton::parse;

    fn of(pattern: &str) -> Option<Vec<String>> {
        let shape = |shape: Shape| {
            let step = |step: &Step| {
                let class = step.class.only(false).map_or("?".to_owned(), |byte| (byte as char).to_string());
                match (step.min, step.max) {
                    (1, 1) => class,
                    (min, u32::MAX) => format!("{class}{{{min},}}"),
                    (min, max) => format!("{class}{{{min},{max}}}"),
                }
            };
            let steps: String = shape.steps.iter().map(step).collect();
            let (begin, end) = if shape.from_end { ("<", ">") } else { ("^", "$") };
            format!("{begin}{steps}{}", if shape.whole { end } else { "" })
        };
        Some(shapes(&parse(pattern).unwrap())?.into_iter().map(shape).collect())
    }

    #[test]
    fn patterns_of_numbers_and_names_have_shapes() {
        let shapes = |pattern: &str| of(pattern).unwrap_or_default().join(" ");
        assert_eq!(shapes(r"^\*33[0-9]+$"), "^*33?{1,}$");
        assert_eq!(shapes(r"^(00|\+)33"), "^0033 ^+33");
        assert_eq!(shapes(r"^\+?33[1-9][0-9]{8}$"), "^33??{8,8}$ ^+33??{8,8}$");
        assert_eq!(shapes("^(?i)bob$"), "^???$");
        assert_eq!(shapes("^anna"), "^anna");
        assert_eq!(shapes("99$"), "<99");
        assert_eq!(shapes("^.*99$"), "<99?{0,}>");
        assert_eq!(shapes("^a*b"), "^a{0,}b");
        assert_eq!(shapes("^(ab){2}$"), "^abab$");
        assert_eq!(shapes("^"), "^");
    }

    #[test]
    fn other_patterns_have_none() {
        for pattern in
            ["33", "a|b", "", "^.*33", "^[0-9]*5[0-9]*$", r"^a\b", "(?m)^a", "^(ab)+$", "^a|b", "a^b"]
        {
            assert_eq!(of(pattern), None, "{pattern}");
        }
        assert_eq!(of("^((a{9}b){9}c){9}"), None);
    }
}
