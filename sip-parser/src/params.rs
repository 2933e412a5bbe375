//! `;name=value` parameters of URIs and header values.

use std::fmt;

use crate::chars::{self, TOKEN, URI_PARAM, URI_PARAM_NAME, VALUE, after_white, white};
use crate::error::{Error, Rule};
use crate::grammar::{Text, escaped, quoted};

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

impl<'a> Param<'a> {
    fn new(text: &'a [u8], begin: usize, found: &Found) -> Self {
        Self {
            name: &text[found.name..found.name_end],
            value: found.value.map(|value| &text[value..found.end]),
            with_semicolon: &text[begin..found.end],
        }
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
        let letters = small_letters(name);
        match (self, name.len()) {
            (Self::NameAddr, 3) if letters == first_eight(b"tag") => Some(0),
            (Self::Uri, 2) if letters == first_eight(b"lr") => Some(0),
            (Self::Uri, 9) if letters == first_eight(b"transport") && name[8] | 0x20 == b't' => Some(1),
            (Self::Uri, 5) if letters == first_eight(b"maddr") => Some(2),
            (Self::Via, 6) if letters == first_eight(b"branch") => Some(0),
            (Self::Via, 5) if letters == first_eight(b"rport") => Some(1),
            (Self::Via, 8) if letters == first_eight(b"received") => Some(2),
            (Self::Via, 5) if letters == first_eight(b"maddr") => Some(3),
            _ => None,
        }
    }

    /// Reads the parameter whose `;` stands at `at`.
    #[inline(always)]
    fn param(self, text: &[u8], at: usize) -> Result<Found, Error> {
        match self {
            Self::Uri => uri_param(text, at),
            Self::Via | Self::NameAddr => header_param(text, at),
        }
    }
}

/// The first eight bytes of a name with the bit that makes letters small; nothing else becomes a letter by it.
#[inline(always)]
fn small_letters(name: &[u8]) -> u64 {
    let wanted = u64::MAX.unbounded_shr(64 - 8 * name.len().min(8) as u32);
    (first_eight(name) | 0x2020_2020_2020_2020) & wanted
}

/// The first eight bytes; 0 where there are fewer.
#[inline(always)]
const fn first_eight(name: &[u8]) -> u64 {
    match *name {
        [a, b, c, d, e, f, g, h, ..] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        [a, b, c, d, ref rest @ ..] => u32::from_le_bytes([a, b, c, d]) as u64 | few(rest) << 32,
        _ => few(name),
    }
}

/// Up to three bytes.
#[inline(always)]
const fn few(bytes: &[u8]) -> u64 {
    match *bytes {
        [] => 0,
        [a] => a as u64,
        [a, b] => u16::from_le_bytes([a, b]) as u64,
        [a, b, c, ..] => u16::from_le_bytes([a, b]) as u64 | (c as u64) << 16,
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
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Params<'a> {
    text: &'a [u8],
    known: [Place; PLACES],
    owner: Owner,
}

const PLACES: usize = 4;

/// Where a parameter stands in [`Params::text`], from its `;` on; nowhere if `end` is 0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    begin: u16,
    end: u16,
}

impl Place {
    const NOWHERE: Self = Self { begin: 0, end: 0 };
}

impl<'a> Params<'a> {
    /// None at all.
    pub(crate) const fn none() -> Self {
        Self { text: &[], owner: Owner::Uri, known: [Place::NOWHERE; PLACES] }
    }

    /// The text, from the first `;` to the end of the last parameter.
    pub const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        all(self.text, self.owner)
    }

    /// The first parameter of this name, compared without case.
    #[inline(always)]
    pub fn get(&self, name: &[u8]) -> Option<Param<'a>> {
        let Some(place) = self.owner.place(name) else {
            return find(self.text, self.owner, name);
        };
        let Place { begin, end } = self.known[place];
        if end == 0 {
            return None;
        }
        let text = self.text.get(begin.into()..end.into())?;
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

    /// The value of the first parameter of this name; `None`: it is absent or has none.
    #[inline(always)]
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name)?.value
    }

    /// There is a parameter of this name.
    #[inline(always)]
    pub fn has(&self, name: &[u8]) -> bool {
        match self.owner.place(name) {
            Some(place) => self.known[place].end != 0,
            None => find(self.text, self.owner, name).is_some(),
        }
    }

    /// Reads parameters from `from` on, as long as there is a `;`: these, and where they end.
    ///
    /// # Errors
    /// [`Rule::Parameter`], [`Rule::ParameterTwice`], [`Rule::Quote`], [`Rule::Escape`];
    /// [`Rule::MessageTooLarge`] where a place has no number.
    #[inline(always)]
    pub(crate) fn read(text: &'a [u8], from: usize, owner: Owner) -> Result<(Self, usize), Error> {
        let mut known = [Place::NOWHERE; PLACES];
        let mut at = from;
        while let Some(begin) = begin(text, at, owner) {
            // A ";" that nothing follows is common in URIs, and harmless: nobody appends to them.
            if owner == Owner::Uri && matches!(text.get(begin + 1), None | Some(b'?' | b'>')) {
                at = begin + 1;
                break;
            }
            let found = owner.param(text, begin)?;
            if let Some(place) = owner.place(&text[found.name..found.name_end]) {
                if known[place].end != 0 {
                    return Err(Error::new(Rule::ParameterTwice, at));
                }
                known[place] = Place { begin: (begin - from) as u16, end: (found.end - from) as u16 };
            }
            at = found.end;
        }
        if at - from > crate::MAX_MESSAGE {
            return Err(Error::new(Rule::MessageTooLarge, from));
        }
        Ok((Self { text: &text[from..at], known, owner }, at))
    }
}

/// All parameters of a text that was read before.
fn all(text: &[u8], owner: Owner) -> impl Iterator<Item = Param<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let begin = begin(text, at, owner)?;
        let found = owner.param(text, begin).ok()?;
        at = found.end;
        Some(Param::new(text, begin, &found))
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
        let (params, end) = Params::read(text.as_bytes(), 0, owner)?;
        if end == text.len() { Ok(params) } else { Err(Error::new(Rule::Parameter, end)) }
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
}
