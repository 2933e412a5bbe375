//! Regular expressions of any kind over one field: all of them in one automaton, scanned at most once a
//! request.

use regex_automata::meta::{Cache, Config, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, PatternID, PatternSet};
use regex_syntax::hir::Hir;

use crate::limits::{PATTERN_BYTES, PATTERN_CACHE_BYTES};

/// The expressions of one field that take an automaton.
pub(super) struct Automaton(Option<(Regex, usize)>);

/// What a scan found, and the memory it needs.
pub(super) struct Scanned {
    cache: Option<Cache>,
    found: PatternSet,
    is_new: bool,
}

/// Reads a regular expression. Bytes, not text: a user part need not be UTF-8.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(pattern: &str) -> Result<Hir, String> {
    let config = syntax::Config::new().utf8(false).unicode(false);
    syntax::parse_with(pattern, &config).map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or(&text).trim_start_matches("error: ").to_owned()
    })
}

impl Automaton {
    /// Of expressions that are numbered in the order given.
    ///
    /// # Errors
    /// The number of the expression that is too large, and how.
    pub fn new(patterns: &[Hir]) -> Result<Self, (usize, String)> {
        if patterns.is_empty() {
            return Ok(Self(None));
        }
        match build(patterns) {
            Ok(regex) => Ok(Self(Some((regex, patterns.len())))),
            Err(together) => {
                let alone = patterns.iter().enumerate().find_map(|(n, pattern)| {
                    build(std::slice::from_ref(pattern)).err().map(|message| (n, message))
                });
                let message = format!("all patterns of this key together: {together}");
                Err(alone.unwrap_or((patterns.len() - 1, message)))
            }
        }
    }

    /// Working memory that fits.
    pub fn scanned(&self) -> Scanned {
        let (cache, patterns) =
            self.0.as_ref().map_or((None, 0), |(regex, patterns)| (Some(regex.create_cache()), *patterns));
        Scanned { cache, found: PatternSet::new(patterns), is_new: true }
    }

    /// Adds the expressions that match `text` to what was found.
    pub fn scan(&self, text: &[u8], scanned: &mut Scanned) {
        if let (Some((regex, _)), Some(cache)) = (&self.0, &mut scanned.cache) {
            regex.which_overlapping_matches_with(cache, &Input::new(text), &mut scanned.found);
        }
    }
}

impl Scanned {
    /// Nothing is found.
    #[inline]
    pub fn forget(&mut self) {
        if !self.is_new {
            self.found.clear();
            self.is_new = true;
        }
    }

    /// Nothing has been scanned since [`Scanned::forget`].
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// All has been scanned that there is.
    pub fn done(&mut self) {
        self.is_new = false;
    }

    /// The expression was found.
    pub fn has(&self, pattern: u32) -> bool {
        self.found.contains(PatternID::must(pattern as usize))
    }

    /// The first expression from `from` on that was found.
    pub fn next(&self, from: u32) -> Option<u32> {
        (from..self.found.capacity() as u32).find(|&pattern| self.has(pattern))
    }
}

/// Sizes are bounded, so that no pattern takes the memory or the time of others.
fn build(patterns: &[Hir]) -> Result<Regex, String> {
    let config = Config::new()
        .match_kind(regex_automata::MatchKind::All)
        .utf8_empty(false)
        .nfa_size_limit(Some(PATTERN_BYTES))
        .hybrid_cache_capacity(PATTERN_CACHE_BYTES)
        .onepass(false);
    Regex::builder().configure(config).build_many_from_hir(patterns).map_err(|error| {
        match error.size_limit() {
            Some(limit) => format!("needs more than {limit} bytes; write it shorter"),
            None => error.to_string(),
        }
    })
}
