//! Reading a change word by word, with the place of what is not understood.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::fib::spec::{Family, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};

/// What is not understood, with the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    text: String,
    /// Bytes of the text before the word, and the word's length.
    pub(super) place: (usize, usize),
    pub(super) problem: String,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (begin, len) = self.place;
        writeln!(f, "{}", self.problem)?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  {:begin$}{}", "", "^".repeat(len.max(1)))
    }
}

impl std::error::Error for Misread {}

/// Words with their places.
pub(super) struct Words<'a> {
    text: &'a str,
    at: usize,
    last: (usize, usize),
}

impl<'a> Words<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, last: (0, 0) }
    }

    pub fn next(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let begin = self.at + (rest.len() - rest.trim_start().len());
        let word = self.text[begin..].split_ascii_whitespace().next();
        self.last = (begin, word.map_or(0, str::len));
        self.at = begin + self.last.1;
        word
    }

    /// The next word is this one: it is taken.
    pub fn skip(&mut self, word: &str) -> bool {
        let here = (self.at, self.last);
        let found = self.next() == Some(word);
        if !found {
            (self.at, self.last) = here;
        }
        found
    }

    /// The word read last is not understood.
    pub fn misread(&self, problem: impl Into<String>) -> Misread {
        Misread { text: self.text.into(), place: self.last, problem: problem.into() }
    }

    /// There are no more words.
    pub fn end(&mut self) -> Result<(), Misread> {
        match self.next() {
            None => Ok(()),
            Some(word) => Err(self.misread(format!("`{word}` is one word too many"))),
        }
    }

    pub fn value<T: FromStr>(&mut self, what: &str) -> Result<T, Misread> {
        let word = self.next().ok_or_else(|| self.misread(format!("{what} is missing")))?;
        word.parse().map_err(|_| self.misread(format!("`{word}` is not {what}")))
    }

    /// `main`, `local`, `default` or a number.
    pub fn table(&mut self) -> Result<u32, Misread> {
        Ok(match self.value::<String>("a table")?.as_str() {
            "main" => TABLE_MAIN,
            "local" => TABLE_LOCAL,
            "default" => TABLE_DEFAULT,
            number => number
                .parse()
                .map_err(|_| self.misread("`main`, `local`, `default` or a number stands here"))?,
        })
    }

    /// ADDRESS or ADDRESS/LENGTH; `default`, `all` and `any`: everything of the family.
    pub fn prefix(&self, word: Option<&str>, family: Option<Family>) -> Result<IpNet, Misread> {
        let all = match family {
            Some(Family::V6) => "::/0",
            _ => "0.0.0.0/0",
        };
        let prefix = match word {
            Some("default" | "all" | "any") => all.parse().ok(),
            Some(word) => word.parse().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from)),
            None => None,
        };
        prefix.ok_or_else(|| self.misread("a prefix stands here: ADDRESS/LENGTH or `default`"))
    }
}
