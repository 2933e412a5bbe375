//! `[[route]]`: what a rule asks and what it does, and the compiled matcher over all of them.
//!
//! Place in the flow: [`crate::proxy`] collects [`Facts`] of a request and asks the [`Matcher`] for
//! the first rule that matches.
#![forbid(unsafe_code)]

mod bits;
mod hosts;
mod matcher;
mod networks;
mod patterns;
mod prefixes;
mod rule;
mod shadow;
#[cfg(test)]
mod tests;
mod users;

pub use matcher::{Facts, Matcher, PatternError, Scratch};
pub use rule::{Action, EgressChoice, Mode, Pattern, Rule, RuleId, Target, When};
pub use shadow::shadowed;
pub use users::plain_user;
