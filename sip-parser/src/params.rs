//! `;name=value` parameters of URIs and header values.

mod names;
mod simple;

use std::fmt;
use std::ops::Range;

use crate::block::Set;
use crate::chars::{self, TOKEN, URI_PARAM, URI_PARAM_NAME, VALUE, after_white, white};
use crate::error::{Error, Rule};
use crate::grammar::{Text, escaped, quoted};
use crate::scan::{Window, chunk, eight_at, plain_end, stops};
use crate::span::Span;
use names::{begins, is_name};

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name as written; names are compared without case.
    pub name: &'a [u8],
    /// Its value, quotes included; `None`: there is no `=`.
    pub value: Option<&'a [u8]>,
    /// All of it, from the `;` before it on: what to cut to remove it.
    pub with_semicolon: &'a [u8],
}

impl fmt::Display for Param<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ";{}", Text(self.name))?;
        self.value.iter().try_for_each(|value| write!(f, "={}", Text(value)))
    }
}

/// Whose parameters they are: decides their grammar, and which are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// `uri-parameters = *( ";" uri-parameter)`
    Uri,
    /// `*( SEMI via-params )`
    Via,
    /// `*( SEMI generic-param )` of From, To, Contact, Route and Record-Route.
    NameAddr,
}

impl Owner {
    /// The number of a parameter that a proxy asks for. Any of them twice is an error: RFC 3261 §7.3.1, "any
    /// given parameter-name MUST NOT appear more than once"; who takes the first and who takes the last
    /// would read two messages.
    ///
    /// Inlined with a name that the compiler knows, this is a comparison of `self`.
    #[inline(always)]
    fn place(self, name: &[u8]) -> Option<usize> {
        self.place_at(name, 0, name.len())
    }

    /// The same of the name that stands at `from..end` of a text.
    #[inline(always)]
    fn place_at(self, text: &[u8], from: usize, end: usize) -> Option<usize> {
        let len = end - from;
        match (self, len) {
            (Self::NameAddr, 3) if is_name(text, from, b"tag") => Some(0),
            (Self::Uri, 2) if is_name(text, from, b"lr") => Some(0),
            (Self::Uri, 9) if is_name(text, from, b"transport") && text[from + 8] | 0x20 == b't' => Some(1),
            (Self::Uri, 5) if is_name(text, from, b"maddr") => Some(2),
            (Self::Via, 6) if is_name(text, from, b"branch") => Some(BRANCH),
            (Self::Via, 5) if is_name(text, from, b"rport") => Some(RPORT),
            (Self::Via, 8) if is_name(text, from, b"received") => Some(RECEIVED),
            (Self::Via, 5) if is_name(text, from, b"maddr") => Some(3),
            _ => None,
        }
    }

    /// Reads the parameter whose `;` stands at `at`.
    #[inline(always)]
    fn param(self, text: &[u8], at: usize) -> Result<Found, Error> {
        let (common, value) = match self {
            Self::Uri => (URI_PARAM_NAME, URI_PARAM),
            Self::Via | Self::NameAddr => (TOKEN, VALUE),
        };
        match chars::short_pair(common, value, text, at + 1) {
            Some((name_end, end)) => Ok(Found { name: at + 1, name_end, value: Some(name_end + 1), end }),
            None => self.any_param(text, at),
        }
    }

    /// The same without a short way.
    #[inline(never)]
    fn any_param(self, text: &[u8], at: usize) -> Result<Found, Error> {
        match self {
            Self::Uri => uri_param(text, at),
            Self::Via | Self::NameAddr => header_param(text, at),
        }
    }
}

/// Where the parts of a parameter stand.
struct Found {
    name: usize,
    name_end: usize,
    /// `None`: there is no `=`.
    value: Option<usize>,
    end: usize,
}

/// Parameters that were read, in order.
#[derive(Clone, Copy)]
pub struct Params<'a> {
    /// What they stand in.
    whole: &'a [u8],
    places: Places,
    owner: Owner,
}

/// Where parameters stand in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct Places {
    /// Those that a proxy asks for, each from its `;` on; nowhere if its end is 0.
    known: [Span; KNOWN],
    /// From the first `;` to the end of the last one.
    all: Span,
}

const KNOWN: usize = 4;

/// The place of `branch` among those of a Via.
const BRANCH: usize = 0;
/// The place of `rport`.
pub(crate) const RPORT: usize = 1;
/// The place of `received`.
const RECEIVED: usize = 2;

impl Places {
    /// Reads parameters from `from` on, as long as there is a `;`: these, and where they end.
    ///
    /// # Errors
    /// [`Rule::Parameter`], [`Rule::ParameterTwice`], [`Rule::Quote`], [`Rule::Escape`].
    #[inline(always)]
    pub fn read(text: &[u8], from: usize, owner: Owner) -> Result<(Self, usize), Error> {
        match text.get(from) {
            Some(c) if *c == b';' || *c <= b' ' => match owner {
                Owner::Uri => Self::of_uri(text, from),
                Owner::Via => Self::of_via(text, from),
                Owner::NameAddr => Self::of_name_addr(text, from),
            },
            _ => Ok((Self::none(from), from)),
        }
    }

    /// How long the known one in this place is, from its `;` on; 0: there is none.
    #[inline(always)]
    pub const fn known_len(&self, place: usize) -> usize {
        self.known[place].len()
    }

    /// Where the last one ends.
    #[inline(always)]
    pub fn end(&self) -> usize {
        self.all.end.into()
    }

    /// None, at this place.
    #[inline(always)]
    pub fn none(at: usize) -> Self {
        Self { all: Span::new(at, at), known: [Span::default(); KNOWN] }
    }

    /// The same of a URI's that have plain values of less than 31 characters together with their names, to the first place
    /// without a `;`.
    #[inline(always)]
    pub fn usual_of_uri<S: Set>(text: &[u8], window: &Window, from: usize) -> Option<Self> {
        if window.get(from) != Some(&b';') {
            return Some(Self::none(from));
        }
        let mut known = [Span::default(); KNOWN];
        let mut at = from;
        while let Some(b';') = text.get(at) {
            let (name_end, end) = plain_pair::<S>(text, at + 1)?;
            if let Some(place) = Owner::Uri.place_at(text, at + 1, name_end) {
                if known[place].end != 0 {
                    return None;
                }
                known[place] = Span::new(at, end);
            }
            at = end;
        }
        Some(Self { all: Span::new(from, at), known })
    }

    /// The same of what most Vias have, to the end of the text at `len`.
    #[inline(always)]
    pub fn usual_of_via<S: Set>(text: &[u8], from: usize, len: usize) -> Option<Self> {
        let mut known = [Span::default(); KNOWN];
        let mut at = from;
        while at < len {
            let (place, end) = usual_via_param::<S>(text, at, len)?;
            if let Some(place) = place {
                if known[place].end != 0 {
                    return None;
                }
                known[place] = Span::new(at, end);
            }
            at = end;
        }
        Some(Self { all: Span::new(from, at), known })
    }

    /// A plain tag from `from` to `len`, or nothing. The text begins at `base` in the value.
    #[inline(always)]
    pub fn usual_tag<S: Set>(text: &[u8], base: usize, from: usize, len: usize) -> Option<Self> {
        if from == len {
            return Some(Self::none(base + from));
        }
        let &[semicolon, t, a, g, equals] = chunk(text, from as u32)?;
        let is_tag = u32::from_le_bytes([t, a, g, equals]) | 0x20_2020 == u32::from_le_bytes(*b"tag=");
        if semicolon != b';' || !is_tag || len == from + 5 || plain_end::<S>(text, from + 5) != len {
            return None;
        }
        let all = Span::new(base + from, base + len);
        Some(Self { all, known: [all, Span::default(), Span::default(), Span::default()] })
    }

    // One function for each, so that none of them takes registers of those who call it.

    #[inline(never)]
    fn of_uri(text: &[u8], from: usize) -> Result<(Self, usize), Error> {
        Self::some(text, from, Owner::Uri)
    }

    #[inline(never)]
    fn of_via(text: &[u8], from: usize) -> Result<(Self, usize), Error> {
        Self::some(text, from, Owner::Via)
    }

    #[inline(never)]
    fn of_name_addr(text: &[u8], from: usize) -> Result<(Self, usize), Error> {
        Self::some(text, from, Owner::NameAddr)
    }

    #[inline(always)]
    fn some(text: &[u8], from: usize, owner: Owner) -> Result<(Self, usize), Error> {
        let mut known = [Span::default(); KNOWN];
        let mut at = from;
        while let Some(begin) = begin(text, at, owner) {
            // A ";" that nothing follows is common in URIs, and harmless: nobody appends to them.
            if owner == Owner::Uri && matches!(text.get(begin + 1), None | Some(b'?' | b'>')) {
                at = begin + 1;
                break;
            }
            let found = owner.param(text, begin)?;
            let place = owner.place_at(text, found.name, found.name_end);
            if let Some(place) = place {
                if known[place].end != 0 {
                    return Err(Error::new(Rule::ParameterTwice, at));
                }
                known[place] = Span::new(begin, found.end);
            }
            at = found.end;
        }
        Ok((Self { all: Span::new(from, at), known }, at))
    }
}

impl<'a> Params<'a> {
    /// Those that were read of this text.
    #[inline(always)]
    pub(crate) const fn new(whole: &'a [u8], places: Places, owner: Owner) -> Self {
        Self { whole, places, owner }
    }

    /// The text, from the first `;` to the end of the last parameter.
    pub fn text(&self) -> &'a [u8] {
        self.places.all.of(self.whole)
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        all(self.text(), self.owner)
    }

    /// The first parameter of this name, compared without case.
    #[inline(always)]
    pub fn get(&self, name: &[u8]) -> Option<Param<'a>> {
        let Some(place) = self.owner.place(name) else {
            return find(self.text(), self.owner, name);
        };
        let span = self.places.known[place];
        if span.end == 0 {
            return None;
        }
        let text = span.of(self.whole);
        let name_end = 1 + name.len();
        match text.get(name_end..) {
            Some([]) => Some(Param { name: &text[1..], value: None, with_semicolon: text }),
            Some([b'=', value @ ..]) if !value.first().is_some_and(|&c| white(c)) => {
                Some(Param { name: &text[1..name_end], value: Some(value), with_semicolon: text })
            }
            // There is white space within it.
            _ => find(text, self.owner, name),
        }
    }

    /// Where the first parameter of this name stands in the value that was parsed, from the `;` before it on: what to
    /// cut to remove it.
    #[inline(always)]
    pub fn range(&self, name: &[u8]) -> Option<Range<usize>> {
        let Some(place) = self.owner.place(name) else {
            let found = find(self.text(), self.owner, name)?.with_semicolon;
            let start = chars::offset(self.whole, found);
            return Some(start..start + found.len());
        };
        let span = self.places.known[place];
        (span.end != 0).then(|| span.range())
    }

    /// The value of the first parameter of this name; `None`: it is absent or has none.
    #[inline(always)]
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name)?.value
    }

    /// There is a parameter of this name.
    #[inline(always)]
    pub fn has(&self, name: &[u8]) -> bool {
        match self.owner.place(name) {
            Some(place) => self.places.known[place].end != 0,
            None => find(self.text(), self.owner, name).is_some(),
        }
    }
}

/// All parameters of a text that was read before.
fn all(text: &[u8], owner: Owner) -> impl Iterator<Item = Param<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let begin = begin(text, at, owner)?;
        let found = owner.param(text, begin).ok()?;
        at = found.end;
        Some(Param {
            name: &text[found.name..found.name_end],
            value: found.value.map(|value| &text[value..found.end]),
            with_semicolon: &text[begin..found.end],
        })
    })
}

#[inline(never)]
fn find<'a>(text: &'a [u8], owner: Owner, name: &[u8]) -> Option<Param<'a>> {
    all(text, owner).find(|param| param.name.eq_ignore_ascii_case(name))
}

/// Where the next parameter begins, if there is one.
#[inline(always)]
fn begin(text: &[u8], at: usize, owner: Owner) -> Option<usize> {
    match text.get(at)? {
        b';' => Some(at),
        c if *c <= b' ' && owner != Owner::Uri => {
            let begin = after_white(text, at);
            (text.get(begin) == Some(&b';')).then_some(begin)
        }
        _ => None,
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Params({self})")
    }
}

impl fmt::Display for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|param| param.fmt(f))
    }
}

/// A name of plain characters at `from`, and perhaps `=` and a value of such: where each ends, both within 32 bytes.
#[inline(always)]
fn plain_pair<S: Set>(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let stops = stops::<S>(text, from);
    let name_end = from + stops.trailing_zeros() as usize;
    if name_end == from || stops == 0 {
        return None;
    }
    if text.get(name_end) != Some(&b'=') {
        return Some((name_end, name_end));
    }
    let behind = stops & (stops - 1);
    let end = from + behind.trailing_zeros() as usize;
    (behind != 0 && end > name_end + 1).then_some((name_end, end))
}

/// The parameter of a Via whose `;` stands at `at`, in a text that ends at `len`, if it is one that nearly every Via has,
/// or a short one: the number of its place, and where it ends.
#[inline(always)]
fn usual_via_param<S: Set>(text: &[u8], at: usize, len: usize) -> Option<(Option<usize>, usize)> {
    let eight = match chunk(text, at as u32) {
        Some(eight) => u64::from_le_bytes(*eight),
        None => last_eight(text, at),
    };
    if begins(eight, b";branch=") {
        return Some((Some(BRANCH), usual_value_end::<S>(text, at + 8, len)?));
    }
    let (place, equals) = if begins(eight, b";rport") {
        (RPORT, at + 6)
    } else if begins(eight, b";receive") && matches!(text.get(at + 8..), Some([b'd' | b'D', b'=', ..])) {
        (RECEIVED, at + 9)
    } else {
        let name = if eight as u8 == b';' { at + 1 } else { return None };
        let (name_end, end) = plain_pair::<S>(text, name)?;
        return Some((Owner::Via.place_at(text, name, name_end), end));
    };
    if text.get(equals) != Some(&b'=') {
        return Some((Some(place), equals));
    }
    Some((Some(place), usual_value_end::<S>(text, equals + 1, len)?))
}

#[cold]
#[inline(never)]
fn last_eight(text: &[u8], at: usize) -> u64 {
    eight_at(text, at)
}

/// Where the value ends that begins at `from`, if there is one, in a text that ends at `len`.
#[inline(always)]
fn usual_value_end<S: Set>(text: &[u8], from: usize, len: usize) -> Option<usize> {
    let mut end = plain_end::<S>(text, from);
    if end != len && text.get(end) != Some(&b';') {
        end = long_value_end(text, from);
    }
    (end > from).then_some(end)
}

/// Where a value ends that has others than plain characters.
#[inline(never)]
fn long_value_end(text: &[u8], from: usize) -> usize {
    chars::run(VALUE, text, from)
}

/// `";" pname [ "=" pvalue ]` (RFC 3261 §25.1: uri-parameter); no white space, but escapes.
#[inline(always)]
fn uri_param(text: &[u8], at: usize) -> Result<Found, Error> {
    let name = at + 1;
    let name_end = escaped(URI_PARAM_NAME, text, name)?;
    let value = (text.get(name_end) == Some(&b'=')).then_some(name_end + 1);
    // "=" is let through within values, so the first one ends the name.
    let end = value.map_or(Ok(name_end), |value| escaped(URI_PARAM, text, value))?;
    if name == name_end || value == Some(end) {
        return Err(Error::new(Rule::Parameter, name));
    }
    Ok(Found { name, name_end, value, end })
}

/// `SEMI generic-param`, `generic-param = token [ EQUAL gen-value ]`
#[inline(always)]
fn header_param(text: &[u8], at: usize) -> Result<Found, Error> {
    let mut name = at + 1;
    let mut name_end = chars::run(TOKEN, text, name);
    if name == name_end {
        (name, name_end) = spaced_name(text, name)?;
    }
    let equal = match text.get(name_end) {
        Some(b'=') => name_end,
        Some(&c) if white(c) => after_white(text, name_end),
        _ => text.len(),
    };
    if text.get(equal) != Some(&b'=') {
        return Ok(Found { name, name_end, value: None, end: name_end });
    }
    let mut value = equal + 1;
    let mut end = chars::run(VALUE, text, value);
    if value == end {
        (value, end) = spaced_or_quoted_value(text, value)?;
    }
    Ok(Found { name, name_end, value: Some(value), end })
}

#[cold]
fn spaced_name(text: &[u8], from: usize) -> Result<(usize, usize), Error> {
    let name = after_white(text, from);
    match chars::run(TOKEN, text, name) {
        end if end == name => Err(Error::new(Rule::Parameter, name)),
        end => Ok((name, end)),
    }
}

#[cold]
fn spaced_or_quoted_value(text: &[u8], from: usize) -> Result<(usize, usize), Error> {
    let value = after_white(text, from);
    if text.get(value) == Some(&b'"') {
        return Ok((value, quoted(text, value)?));
    }
    match chars::run(VALUE, text, value) {
        end if end == value => Err(Error::new(Rule::Parameter, value)),
        end => Ok((value, end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, owner: Owner) -> Result<Params<'_>, Error> {
        let (places, end) = Places::read(text.as_bytes(), 0, owner)?;
        if end == text.len() {
            Ok(Params::new(text.as_bytes(), places, owner))
        } else {
            Err(Error::new(Rule::Parameter, end))
        }
    }

    fn shown(text: &str, owner: Owner) -> String {
        read(text, owner).expect("parameters").to_string()
    }

    #[test]
    fn header_parameters_have_white_space_and_quotes() {
        let text = " ; a = 1 ;\r\n b;c=\"x;,=\\\"\";D=[::1]:5@a==";
        let params = read(text, Owner::Via).expect("parameters");
        assert_eq!(params.to_string(), r#";a=1;b;c="x;,=\"";D=[::1]:5@a=="#);
        assert_eq!(params.value(b"A"), Some(&b"1"[..]));
        assert_eq!(params.get(b"b").map(|p| p.value), Some(None));
        assert_eq!(params.value(b"d"), Some(&b"[::1]:5@a=="[..]));
        assert!(!params.has(b"e") && !params.has(b""));
    }

    #[test]
    fn the_known_ones_are_found_where_they_stand() {
        let text = ";x=1;Branch = z9hG4bK1 ;\trport;received=192.0.2.1";
        let params = read(text, Owner::Via).expect("parameters");
        let branch = params.get(b"branch").expect("there is one");
        assert_eq!((branch.name, branch.value), (&b"Branch"[..], Some(&b"z9hG4bK1"[..])));
        assert_eq!(branch.with_semicolon, b";Branch = z9hG4bK1");
        let rport = params.get(b"rport").expect("there is one");
        assert_eq!((rport.name, rport.value, rport.with_semicolon), (&b"rport"[..], None, &b";\trport"[..]));
        assert_eq!(params.value(b"received"), Some(&b"192.0.2.1"[..]));
        assert_eq!(params.get(b"maddr"), None);
        // What get() takes apart is what the iterator reads.
        for param in params.iter() {
            assert_eq!(params.get(param.name), Some(param));
        }
    }

    #[test]
    fn uri_parameters_have_escapes_and_no_white_space() {
        assert_eq!(shown(";lr;transport=udp;x=%41=b|", Owner::Uri), ";lr;transport=udp;x=%41=b|");
        assert_eq!(shown(";lr;", Owner::Uri), ";lr");
        let equals = read(";a=b=c", Owner::Uri).expect("a value with a sign in it");
        assert_eq!(equals.value(b"a"), Some(&b"b=c"[..]));
        for (text, rule, at) in [
            (";", None, 0),
            (";;", Some(Rule::Parameter), 1),
            (";;lr", Some(Rule::Parameter), 1),
            (";lr ", Some(Rule::Parameter), 3),
            ("; lr", Some(Rule::Parameter), 1),
            (";a=", Some(Rule::Parameter), 1),
            (";=a", Some(Rule::Parameter), 1),
            (";a=%4", Some(Rule::Escape), 3),
            (";a=\"b\"", Some(Rule::Parameter), 1),
            (";lr;LR", Some(Rule::ParameterTwice), 3),
            (";maddr=a;maddr=b", Some(Rule::ParameterTwice), 8),
        ] {
            let error = read(text, Owner::Uri).err();
            assert_eq!(error, rule.map(|rule| Error::new(rule, at)), "{text}");
        }
    }

    #[test]
    fn what_is_no_header_parameter_is_refused() {
        for (text, rule, at) in [
            (";", Rule::Parameter, 1),
            (";;", Rule::Parameter, 1),
            (";a;;b", Rule::Parameter, 3),
            (";a;", Rule::Parameter, 3),
            (";a=", Rule::Parameter, 3),
            (";a=,", Rule::Parameter, 3),
            (";a b", Rule::Parameter, 2),
            (";a=1 2", Rule::Parameter, 4),
            (";a=\"b", Rule::Quote, 3),
            (";a=b\0c", Rule::Parameter, 4),
            ("a", Rule::Parameter, 0),
            (";branch=1;BRANCH=2", Rule::ParameterTwice, 9),
        ] {
            assert_eq!(read(text, Owner::Via).err(), Some(Error::new(rule, at)), "{text}");
        }
        assert!(read(";x;x", Owner::Via).is_ok(), "nobody decides by it");
        assert!(read(";tag=1;tag=2", Owner::NameAddr).is_err());
    }

    /// A short pair is read as any other.
    #[test]
    fn a_short_pair_is_a_parameter_like_any_other() {
        let parts = |found: &Found| (found.name, found.name_end, found.value, found.end);
        for owner in [Owner::Uri, Owner::Via, Owner::NameAddr] {
            for form in [
                ";user=phone",
                ";a=b",
                ";transport=udp;lr",
                ";received=192.0.2.1",
                ";x=abcdefghijklmnop>;y",
                ";lr;ob",
            ] {
                for (at, c) in (1..form.len()).flat_map(|at| (0..=u8::MAX).map(move |c| (at, c))) {
                    for rest in ["", ";x=y", ">;tag=2 and some more of it"] {
                        let mut text = [form, rest].concat().into_bytes();
                        text[at] = c;
                        let read = owner.param(&text, 0).map(|found| parts(&found));
                        let general = owner.any_param(&text, 0).map(|found| parts(&found));
                        assert_eq!(read, general, "{}", text.escape_ascii());
                    }
                }
            }
        }
    }
}
