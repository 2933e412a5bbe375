//! The choice, on hosts written down as literals. Each test says which socket was chosen, and by what.

mod choices;
mod pins;
pub(super) mod world;
