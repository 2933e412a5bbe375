//! `;name=value` parameters of URIs and header values.

use std::fmt;

use nom::Parser;
use nom::character::complete::char;

use crate::chars::{URI_PARAM, VALUE, offset, white};
use crate::error::Rule;
use crate::grammar::{Parsed, Text, after_white, broken, escaped, quoted, rule, separator, some, token};

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
        Some(match (self, name) {
            (Self::Uri, b"lr") | (Self::Via, b"branch") | (Self::NameAddr, b"tag") => 0,
            (Self::Uri, b"transport") | (Self::Via, b"rport") => 1,
            (Self::Uri, b"maddr") | (Self::Via, b"received") => 2,
            (Self::Via, b"maddr") => 3,
            _ if name.len() <= LONGEST && name.iter().any(u8::is_ascii_uppercase) => {
                return self.place_in_capitals(name);
            }
            _ => return None,
        })
    }

    #[cold]
    #[inline(never)]
    fn place_in_capitals(self, name: &[u8]) -> Option<usize> {
        let mut lower = [0; LONGEST];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.place(lower)
    }

    #[inline]
    fn param(self, input: &[u8]) -> Parsed<'_, Param<'_>> {
        match self {
            Self::Uri => uri_param(input),
            Self::Via | Self::NameAddr => header_param(input),
        }
    }
}

/// Parameters that were read, in order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Params<'a> {
    text: &'a [u8],
    owner: Owner,
    known: [Place; PLACES],
}

const PLACES: usize = 4;

/// Length of the longest name that is remembered: `transport`.
const LONGEST: usize = 9;

/// Where a parameter stands in [`Params::text`]; nowhere if `end` is 0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    begin: u16,
    name: u16,
    /// 0 if it has none.
    value: u16,
    end: u16,
}

impl Place {
    const NOWHERE: Self = Self { begin: 0, name: 0, value: 0, end: 0 };
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
        let (mut rest, owner) = (self.text, self.owner);
        std::iter::from_fn(move || {
            let (after, param) = owner.param(rest).ok()?;
            rest = after;
            Some(param)
        })
    }

    /// The first parameter of this name, compared without case.
    #[inline(always)]
    pub fn get(&self, name: &[u8]) -> Option<Param<'a>> {
        let Some(place) = self.owner.place(name) else {
            return self.find(name);
        };
        let at = &self.known[place];
        let part = |from: u16, to: u16| self.text.get(from.into()..to.into()).unwrap_or(&[]);
        (at.end > 0).then(|| Param {
            name: part(at.name, at.name + name.len() as u16),
            value: (at.value > 0).then(|| part(at.value, at.end)),
            with_semicolon: part(at.begin, at.end),
        })
    }

    #[inline(never)]
    fn find(&self, name: &[u8]) -> Option<Param<'a>> {
        self.iter().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// The value of the first parameter of this name; `None`: it is absent or has none.
    #[inline(always)]
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name)?.value
    }

    /// There is a parameter of this name.
    #[inline(always)]
    pub fn has(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Reads parameters as long as there is a `;`.
    #[inline(always)]
    pub(crate) fn read(input: &'a [u8], owner: Owner) -> Parsed<'a, Self> {
        let mut known = [Place::NOWHERE; PLACES];
        let mut rest = input;
        if input.len() > crate::MAX_MESSAGE {
            return broken(Rule::MessageTooLarge, input);
        }
        while begins(rest, owner) {
            // A ";" that nothing follows is common in URIs, and harmless: nobody appends to them.
            if owner == Owner::Uri && matches!(rest, [b';'] | [b';', b'?', ..]) {
                rest = &rest[1..];
                break;
            }
            let (after, param) = rule(Rule::Parameter, |i| owner.param(i)).parse(rest)?;
            if let Some(place) = owner.place(param.name) {
                if known[place].end != 0 {
                    return broken(Rule::ParameterTwice, rest);
                }
                let place_of = |part: &[u8]| offset(input, part) as u16;
                known[place] = Place {
                    begin: place_of(param.with_semicolon),
                    name: place_of(param.name),
                    value: param.value.map_or(0, place_of),
                    end: (input.len() - after.len()) as u16,
                };
            }
            rest = after;
        }
        let text = &input[..input.len() - rest.len()];
        Ok((rest, Self { text, owner, known }))
    }
}

/// Another parameter begins here.
#[inline]
fn begins(text: &[u8], owner: Owner) -> bool {
    match text {
        [b';', ..] => true,
        [c, ..] if white(*c) && owner != Owner::Uri => crate::chars::trim(text).first() == Some(&b';'),
        _ => false,
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
#[inline]
fn uri_param(input: &[u8]) -> Parsed<'_, Param<'_>> {
    let (rest, _) = char(';').parse(input)?;
    let (after, text) = escaped(URI_PARAM).parse(rest)?;
    // "=" is let through within values, so the first one ends the name.
    let equals = memchr::memchr(b'=', text);
    let (name, value) = match equals {
        None => (text, None),
        Some(at) => (&text[..at], Some(&text[at + 1..])),
    };
    if name.is_empty() || value.is_some_and(<[u8]>::is_empty) {
        return broken(Rule::Parameter, rest);
    }
    Ok((after, Param { name, value, with_semicolon: &input[..input.len() - after.len()] }))
}

/// `SEMI generic-param`, `generic-param = token [ EQUAL gen-value ]`
#[inline]
fn header_param(input: &[u8]) -> Parsed<'_, Param<'_>> {
    let begin = after_white(input);
    let (rest, _) = char(';').parse(begin)?;
    let (rest, name) = token(after_white(rest))?;
    let (rest, value) = match rest.first() {
        Some(b'=') => gen_value(&rest[1..]).map(|(rest, value)| (rest, Some(value)))?,
        Some(&c) if white(c) => match separator(b'=').parse(rest) {
            Ok((rest, _)) => gen_value(rest).map(|(rest, value)| (rest, Some(value)))?,
            Err(_) => (rest, None),
        },
        _ => (rest, None),
    };
    Ok((rest, Param { name, value, with_semicolon: &begin[..begin.len() - rest.len()] }))
}

#[inline]
fn gen_value(input: &[u8]) -> Parsed<'_, &[u8]> {
    let input = after_white(input);
    if input.first() == Some(&b'"') { quoted(input) } else { some(VALUE).parse(input) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::grammar::whole;

    fn read(text: &str, owner: Owner) -> Result<Params<'_>, Error> {
        whole(text.as_bytes(), Rule::Parameter, |i| Params::read(i, owner))
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
