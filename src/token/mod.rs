//! What Viaduct writes into its own Via branch, Record-Route and To tag, authenticated.
#![forbid(unsafe_code)]

/// What signs and verifies tokens: the first key signs, all verify.
pub struct Keys {}
