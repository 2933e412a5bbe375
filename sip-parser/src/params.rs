//! `;name=value` parameters of URIs and header values.

use crate::chars::{param, token, trim, white};
use crate::error::{Error, Rule};
use crate::list::quoted_len;

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

/// Parameters as text: everything behind the first `;`, that one included; or empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Params<'a>(pub(crate) &'a [u8]);

impl<'a> Params<'a> {
    /// The text, from the first `;` on.
    pub fn text(self) -> &'a [u8] {
        self.0
    }

    /// All parameters in order. Stops at the first malformed one; a value that was parsed has none.
    pub fn iter(self) -> impl Iterator<Item = Param<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (param, after) = next(rest).ok()??;
            rest = after;
            Some(param)
        })
    }

    /// The first parameter of this name, compared without case.
    pub fn get(self, name: &[u8]) -> Option<Param<'a>> {
        self.iter().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// The value of the first parameter of this name; `Some(None)`: it has none.
    pub fn value(self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name)?.value
    }

    /// There is a parameter of this name.
    pub fn has(self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Checks all of `text`, which begins with `;` or white space, or is empty.
    pub(crate) fn check(text: &'a [u8]) -> Result<Self, Error> {
        let mut rest = text;
        while let Some((_, after)) = next(rest).map_err(|e| e.shifted(text.len() - rest.len()))? {
            rest = after;
        }
        Ok(Self(text))
    }
}

/// The first parameter of a text that begins with `;`, and the rest behind it.
fn next(text: &[u8]) -> Result<Option<(Param<'_>, &[u8])>, Error> {
    let begin = skip_white(text, 0);
    match text.get(begin) {
        None => return Ok(None),
        Some(b';') => {}
        Some(_) => return Err(Error::new(Rule::Parameter, begin)),
    }
    let start = skip_white(text, begin + 1);
    let end = skip(text, start, |c| token(c) || param(c));
    let name = &text[start..end];
    if name.is_empty() {
        // A ";" that nothing follows is common and harmless; anything else hides a broken parameter.
        return if end == text.len() { Ok(None) } else { Err(Error::new(Rule::Parameter, end)) };
    }
    let equals = skip_white(text, end);
    if text.get(equals) != Some(&b'=') {
        return Ok(Some((Param { name, value: None, with_semicolon: &text[begin..end] }, &text[end..])));
    }
    let start = skip_white(text, equals + 1);
    let end = if text.get(start) == Some(&b'"') {
        start + quoted_len(&text[start..]).map_err(|e| e.shifted(start))?
    } else {
        skip(text, start, |c| token(c) || param(c) || c == b'@' || c == b'=' || c == b'?' || c == b'|')
    };
    let value = trim(&text[start..end]);
    Ok(Some((Param { name, value: Some(value), with_semicolon: &text[begin..end] }, &text[end..])))
}

fn skip(text: &[u8], from: usize, class: impl Fn(u8) -> bool) -> usize {
    let len = text.get(from..).unwrap_or(&[]).iter().position(|&c| !class(c));
    len.map_or(text.len(), |len| from + len)
}

fn skip_white(text: &[u8], from: usize) -> usize {
    skip(text, from, white)
}
