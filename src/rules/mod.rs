//! `[[route]]`: what a rule asks and what it does, and the compiled matcher over all of them.
//!
//! Place in the flow: [`crate::proxy`] collects [`Facts`] of a request and asks the [`Matcher`] for
//! the first rule that matches.
#![forbid(unsafe_code)]

mod automaton;
mod captures;
mod checks;
mod contradiction;
mod filter;
mod gate;
mod logic;
mod matcher;
mod names;
mod networks;
mod patterns;
mod rule;
mod seen;
mod set;
mod shadow;
mod shape;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod trie;
mod users;

pub use captures::{Captured, User};
pub use contradiction::{Contradiction, contradiction};
pub use matcher::{Facts, Header, Matcher, PatternError, Scratch, Shown};
pub use networks::Networks;
pub use rule::{Action, Attempts, EgressChoice, Mode, Pattern, Rule, RuleId, Target, When};
pub use set::{Change, HeaderChange, Parts, Set, UriChange, UserChange};
pub use shadow::shadowed;
pub use template::{Into, Template, TemplateError, may_stand_in_user, write_as_user};
pub use users::plain_user;
