//! Regular expressions over one field: all of them in one automaton, scanned at most once a request.

use regex_automata::meta::{Cache, Config, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, PatternSet};

use super::{Pattern, PatternError, RuleId};
use crate::limits::{PATTERN_BYTES, PATTERN_CACHE_BYTES};

/// The patterns of one field.
pub(super) struct Patterns {
    key: &'static str,
    sources: Vec<(Pattern, RuleId)>,
    regex: Option<Regex>,
}

/// What a scan found, and the memory it needs.
pub(super) struct Scanned {
    cache: Option<Cache>,
    found: PatternSet,
    is_new: bool,
}

impl Patterns {
    pub fn new(key: &'static str) -> Self {
        Self { key, sources: Vec::new(), regex: None }
    }

    /// The pattern's number; equal patterns share one.
    pub fn add(&mut self, pattern: &Pattern, rule: RuleId) -> usize {
        self.sources.iter().position(|(known, _)| known == pattern).unwrap_or_else(|| {
            self.sources.push((pattern.clone(), rule));
            self.sources.len() - 1
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Compiles what was added.
    pub fn compile(&mut self) -> Result<(), PatternError> {
        for (pattern, rule) in &self.sources {
            build(&[&pattern.0]).map_err(|message| self.error(*rule, pattern, message))?;
        }
        let all: Vec<&str> = self.sources.iter().map(|(pattern, _)| &*pattern.0).collect();
        if let Some((pattern, rule)) = self.sources.last() {
            let whole = build(&all).map_err(|message| {
                self.error(*rule, pattern, format!("all patterns of this key together: {message}"))
            })?;
            self.regex = Some(whole);
        }
        Ok(())
    }

    fn error(&self, rule: RuleId, pattern: &Pattern, message: String) -> PatternError {
        PatternError { rule, key: self.key, pattern: pattern.0.clone(), message }
    }

    pub fn scanned(&self) -> Scanned {
        Scanned {
            cache: self.regex.as_ref().map(Regex::create_cache),
            found: PatternSet::new(self.sources.len()),
            is_new: true,
        }
    }

    /// Adds the patterns that match `text` to what was found.
    pub fn scan(&self, text: &[u8], scanned: &mut Scanned) {
        if let (Some(regex), Some(cache)) = (&self.regex, &mut scanned.cache) {
            regex.which_overlapping_matches_with(cache, &Input::new(text), &mut scanned.found);
        }
    }
}

impl Scanned {
    pub fn forget(&mut self) {
        if !self.is_new {
            self.found.clear();
            self.is_new = true;
        }
    }

    pub fn is_new(&self) -> bool {
        self.is_new
    }

    pub fn done(&mut self) {
        self.is_new = false;
    }

    /// The patterns that were found, ascending.
    pub fn found(&self) -> impl Iterator<Item = usize> + '_ {
        // Mostly none: no need to look at each pattern's place.
        let any = (!self.found.is_empty()).then(|| self.found.iter());
        any.into_iter().flatten().map(|pattern| pattern.as_usize())
    }

    pub fn has(&self, pattern: usize) -> bool {
        self.found.contains(regex_automata::PatternID::must(pattern))
    }
}

/// Bytes, not text: a user part need not be UTF-8. Sizes are bounded, so that no pattern takes the
/// memory or the time of others.
fn build(patterns: &[&str]) -> Result<Regex, String> {
    let config = Config::new()
        .match_kind(regex_automata::MatchKind::All)
        .utf8_empty(false)
        .nfa_size_limit(Some(PATTERN_BYTES))
        .hybrid_cache_capacity(PATTERN_CACHE_BYTES)
        .onepass(false);
    let syntax = syntax::Config::new().utf8(false).unicode(false);
    Regex::builder().configure(config).syntax(syntax).build_many(patterns).map_err(|error| {
        match (error.size_limit(), error.syntax_error()) {
            (Some(limit), _) => format!("needs more than {limit} bytes; write it shorter"),
            (None, Some(syntax)) => {
                let text = syntax.to_string();
                text.lines().last().unwrap_or(&text).trim_start_matches("error: ").to_owned()
            }
            (None, None) => error.to_string(),
        }
    })
}
