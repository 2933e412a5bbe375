//! `set`: what a rule changes in the requests that it sends on, compiled. What is written where is
//! [`crate::proxy`]'s.

use std::fmt;

use super::captures::{Captured, Groups, Room, User};
use super::{Header, Pattern, Template};

/// What a rule changes. Equal ones write the same of the same request.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// Of the Request-URI.
    pub uri: UriChange,
    /// Of headers, in configured order; at most [`crate::limits::SET_HEADERS`], no header twice.
    pub headers: Vec<HeaderChange>,
    /// For each user whether a template shows it, and the pattern whose groups one does.
    shown: [Option<Shown>; 3],
}

#[derive(Clone, Debug)]
struct Shown {
    groups: Option<Groups>,
}

/// What becomes of the Request-URI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UriChange {
    /// Of its user.
    pub user: Option<UserChange>,
    /// Host, with a port if there is to be one, as it is written; `maddr` goes with the old one.
    pub host: Option<Box<str>>,
}

/// What becomes of the Request-URI's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// All of it, its parameters and password included, is this.
    Whole(Template),
    /// So many characters go from its beginning, then this is put before; the rest stays byte for byte.
    Edges {
        /// An escape counts as one.
        strip: u16,
        /// As it is written.
        prefix: Box<str>,
    },
}

/// A change of one header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderChange {
    /// Which one.
    pub header: Header,
    /// Its name as it is written.
    pub name: Box<str>,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has this one value. Where the request lacks what that shows, it goes.
    Is(Template),
    /// This value comes before those that there are. Where the request lacks what it shows, none does.
    Add(Template),
    /// It goes.
    Remove,
    /// Parts of its values, which are addresses.
    Parts(Parts),
}

/// Parts of a name-addr (RFC 3261 §25.1); what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The display name; empty: there is none.
    pub display: Option<Template>,
    /// The user of a SIP or SIPS URI, its password included.
    pub user: Option<Template>,
    /// Host and port of a SIP or SIPS URI, as they are written.
    pub host: Option<Box<str>>,
}

impl Set {
    /// Of these changes; `patterns` are what the rule asks of the users of Request-URI, From and To.
    ///
    /// # Errors
    /// A pattern whose groups are asked for and that is not sound.
    pub fn new(
        uri: UriChange,
        headers: Vec<HeaderChange>,
        patterns: [Option<&Pattern>; 3],
    ) -> Result<Self, String> {
        let mut set = Self { uri, headers, shown: [const { None }; 3] };
        let shows: Vec<_> = set.templates().flat_map(Template::shows).collect();
        for (user, group) in shows {
            let shown = set.shown[user as usize].get_or_insert(Shown { groups: None });
            if let (Some(_), None, Some(pattern)) = (group, &shown.groups, patterns[user as usize]) {
                shown.groups = Some(Groups::new(&pattern.0)?);
            }
        }
        Ok(set)
    }

    /// How many groups a pattern has; `None`: it is no pattern.
    pub fn groups_of(pattern: &Pattern) -> Option<usize> {
        Groups::count(&pattern.0)
    }

    /// It changes the Request-URI.
    pub fn changes_uri(&self) -> bool {
        self.uri != UriChange::default()
    }

    /// Whether any template shows the user.
    pub fn shows(&self, user: User) -> bool {
        self.shown[user as usize].is_some()
    }

    /// Keeps what the templates show of a request: its users, decoded, of Request-URI, From and To. Allocates nothing.
    pub(super) fn capture(&self, users: [&[u8]; 3], captured: &mut Captured, room: &mut Room) {
        for (which, text) in [User::Ruri, User::From, User::To].into_iter().zip(users) {
            let Some(shown) = &self.shown[which as usize] else { continue };
            captured.keep(which, text);
            if let Some(groups) = &shown.groups {
                captured.find(which, groups, room);
            }
        }
    }

    /// Makes a shard's memory large enough.
    pub(super) fn prepare(&self, room: &mut Room) {
        let groups = self.shown.iter().flatten().filter_map(|shown| shown.groups.as_ref());
        groups.for_each(|groups| groups.prepare(room));
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        let user = match &self.uri.user {
            Some(UserChange::Whole(template)) => Some(template),
            _ => None,
        };
        let headers = self.headers.iter().flat_map(|header| match &header.change {
            Change::Is(template) | Change::Add(template) => [Some(template), None],
            Change::Parts(parts) => [parts.display.as_ref(), parts.user.as_ref()],
            Change::Remove => [None, None],
        });
        user.into_iter().chain(headers.flatten())
    }
}

impl PartialEq for Set {
    /// Patterns are the rule's, which is compared by itself.
    fn eq(&self, other: &Self) -> bool {
        self.uri == other.uri && self.headers == other.headers
    }
}

impl Eq for Set {}

impl fmt::Display for Set {
    /// What it changes, in a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = [
            ("Request-URI's user", self.uri.user.is_some()),
            ("Request-URI's host", self.uri.host.is_some()),
        ];
        let uri = uri.into_iter().filter(|(_, changes)| *changes).map(|(what, _)| what);
        let all = uri.chain(self.headers.iter().map(|header| &*header.name));
        all.enumerate().try_for_each(|(n, what)| {
            if n > 0 {
                f.write_str(", ")?;
            }
            f.write_str(what)
        })
    }
}
