//! Headers whose value is a number or a word.

use crate::chars::{is_token, number, token, trim, white, word};
use crate::error::{Error, Rule};

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2**31 (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// `1*DIGIT LWS Method`
    ///
    /// # Errors
    /// [`Rule::CSeq`]
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let error = Error::new(Rule::CSeq, 0);
        let space = text.iter().position(|&c| white(c)).ok_or(error)?;
        let number = number(&text[..space]).filter(|&n| n < 1 << 31).ok_or(error)?;
        let method = trim(&text[space..]);
        if !is_token(method) {
            return Err(error);
        }
        Ok(Self { number: number as u32, method })
    }
}

/// Max-Forwards: 0 to 255 (RFC 3261 §20.22).
///
/// # Errors
/// [`Rule::MaxForwards`]
pub fn max_forwards(text: &[u8]) -> Result<u8, Error> {
    number(text).and_then(|n| n.try_into().ok()).ok_or(Error::new(Rule::MaxForwards, 0))
}

/// Content-Length: any number of digits that fits 64 bits (RFC 3261 §20.14).
///
/// # Errors
/// [`Rule::ContentLength`]
pub fn content_length(text: &[u8]) -> Result<u64, Error> {
    number(text).ok_or(Error::new(Rule::ContentLength, 0))
}

/// Expires in seconds; larger numbers are the largest (RFC 3261 §20.19: 0 to 2**32-1).
///
/// # Errors
/// [`Rule::Expires`]
pub fn expires(text: &[u8]) -> Result<u32, Error> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Error::new(Rule::Expires, 0));
    }
    Ok(number(text).and_then(|n| n.try_into().ok()).unwrap_or(u32::MAX))
}

/// Call-ID: `word [ "@" word ]` (RFC 3261 §20.8).
///
/// # Errors
/// [`Rule::CallId`]
pub fn call_id(text: &[u8]) -> Result<&[u8], Error> {
    let mut words = text.splitn(2, |&c| c == b'@');
    if words.all(|w| !w.is_empty() && w.iter().all(|&c| word(c))) {
        return Ok(text);
    }
    Err(Error::new(Rule::CallId, 0))
}

/// The option tags of one Require, Proxy-Require, Supported or Unsupported value.
///
/// # Errors
/// [`Rule::OptionTag`] for each element that is not a token.
pub fn option_tags(text: &[u8]) -> impl Iterator<Item = Result<&[u8], Error>> {
    text.split(|&c| c == b',')
        .map(trim)
        .filter(|tag| !tag.is_empty())
        .map(|tag| if tag.iter().all(|&c| token(c)) { Ok(tag) } else { Err(Error::new(Rule::OptionTag, 0)) })
}
