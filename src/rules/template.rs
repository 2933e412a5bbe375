//! Texts with places for what a request shows: `+33$1`, `<sip:${from_user.1}@example.net>`.

use super::captures::{Captured, User};

/// A text of the configuration with places for users and their groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Written as it stands here.
    Text(Box<str>),
    /// A user as rules see it, or a group of its pattern from 1 on.
    Shown { user: User, group: Option<u8> },
}

/// What is wrong with a template, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Bytes from its beginning.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

/// Where a text is written, which decides what of a request may stand there as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// The user part of a URI (RFC 3261 §25.1: user): what may not stand there is written `%XX`.
    User,
    /// A quoted string, without its quotes.
    Quoted,
    /// A header's value, wherever in it: only what ends no part of it, the rest as `%XX`.
    Header,
}

/// What stands between `${` and `}`.
const NAMES: [(&str, User); 3] =
    [("ruri_user", User::Ruri), ("from_user", User::From), ("to_user", User::To)];

impl Template {
    /// Reads `text`: `$1` to `$9` are groups of the `ruri_user` pattern, `${from_user.1}` of another one,
    /// `${from_user}` is the whole user, `$$` a dollar.
    ///
    /// # Errors
    /// The first place that is none of these.
    pub fn read(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let (mut literal, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('$') {
            literal.push_str(&rest[..at]);
            let behind = &rest[at + 1..];
            let place = text.len() - behind.len() - 1;
            if let Some(after) = behind.strip_prefix('$') {
                literal.push('$');
                rest = after;
                continue;
            }
            let (piece, after) = shown(behind).map_err(|message| TemplateError { at: place, message })?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
            }
            pieces.push(piece);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        Ok(Self { pieces })
    }

    /// The parts that are written as they stand in the configuration.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            Piece::Shown { .. } => None,
        })
    }

    /// The users that it shows, each with the group of its pattern, if it is one.
    pub fn shows(&self) -> impl Iterator<Item = (User, Option<u8>)> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Shown { user, group } => Some((*user, *group)),
            Piece::Text(_) => None,
        })
    }

    /// Nothing would be written.
    pub fn is_empty(&self, captured: &Captured) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Text(text) => text.is_empty(),
            Piece::Shown { user, group } => captured.shown(*user, *group).is_empty(),
        })
    }

    /// Something that it shows is empty, or all of it: around it stand signs that mean nothing without it.
    pub fn lacks(&self, captured: &Captured) -> bool {
        self.is_empty(captured) || self.shows().any(|(user, group)| captured.shown(user, group).is_empty())
    }

    /// Hands the text to `put`, piece by piece. Whatever a request shows, what is written ends no line, no
    /// quoted string and no part of a URI.
    pub fn write(&self, captured: &Captured, into: Into, put: &mut dyn FnMut(&[u8])) {
        for piece in &self.pieces {
            match (piece, into) {
                (Piece::Text(text), Into::Quoted) => write_quoted(text.as_bytes(), put),
                (Piece::Text(text), _) => put(text.as_bytes()),
                (Piece::Shown { user, group }, into) => {
                    write_shown(captured.shown(*user, *group), into, put);
                }
            }
        }
    }
}

/// What begins behind a dollar, and what follows it.
fn shown(behind: &str) -> Result<(Piece, &str), String> {
    let digit = |text: &str| match text.as_bytes() {
        [digit @ b'1'..=b'9'] => Some(digit - b'0'),
        _ => None,
    };
    if let Some(inner) = behind.strip_prefix('{') {
        let (name, after) = inner.split_once('}').ok_or("`${` lacks its `}`")?;
        let (field, group) = match name.split_once('.') {
            Some((field, group)) => {
                let number = digit(group).ok_or(format!("«{group}» is no group from 1 to 9"))?;
                (field, Some(number))
            }
            None => (name, None),
        };
        let user = NAMES.iter().find(|(known, _)| *known == field).map(|(_, user)| *user);
        let user = user.ok_or(format!("«{field}» is none of ruri_user, from_user, to_user"))?;
        return Ok((Piece::Shown { user, group }, after));
    }
    match behind.get(..1).and_then(digit) {
        Some(group) => Ok((Piece::Shown { user: User::Ruri, group: Some(group) }, &behind[1..])),
        None => Err("a dollar is followed by 1 to 9, by {NAME} or by another dollar".into()),
    }
}

fn write_shown(text: &[u8], into: Into, put: &mut dyn FnMut(&[u8])) {
    match into {
        Into::User => write_escaped(text, may_stand_in_user, put),
        Into::Header => write_escaped(text, may_stand_anywhere, put),
        // RFC 3261 §25.1, qdtext: what is not UTF-8, and no control character, may stand in a quoted string.
        Into::Quoted if std::str::from_utf8(text).is_ok() => write_quoted(text, put),
        Into::Quoted => text.iter().for_each(|&c| match c {
            0x80.. => put(b"?"),
            c => write_quoted(&[c], put),
        }),
    }
}

/// Hands a part of a URI to `put` as it stands in a user part: what may not stand there is written `%XX`, escapes stay.
pub fn write_as_user(text: &[u8], put: &mut dyn FnMut(&[u8])) {
    write_escaped(text, |c| c == b'%' || may_stand_in_user(c), put);
}

/// Bytes that may stand there as they are, in runs; the others as `%XX`.
fn write_escaped(text: &[u8], may_stand: fn(u8) -> bool, put: &mut dyn FnMut(&[u8])) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest.iter().position(|&c| !may_stand(c)).unwrap_or(rest.len());
        put(&rest[..run]);
        rest = &rest[run..];
        if let Some((&c, after)) = rest.split_first() {
            put(&[b'%', DIGITS[usize::from(c >> 4)], DIGITS[usize::from(c & 15)]]);
            rest = after;
        }
    }
}

fn write_quoted(text: &[u8], put: &mut dyn FnMut(&[u8])) {
    for &c in text {
        match c {
            b'"' | b'\\' => put(&[b'\\', c]),
            0..=0x1f | 0x7f => put(b" "),
            c => put(&[c]),
        }
    }
}

/// RFC 3261 §25.1: `unreserved / user-unreserved`.
pub fn may_stand_in_user(c: u8) -> bool {
    may_stand_anywhere(c) || b"&=+$,;?/()'".contains(&c)
}

/// What stands for itself in a URI, a token, a comment and a quoted string, and ends none of them.
fn may_stand_anywhere(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"-_.!~*+".contains(&c)
}
