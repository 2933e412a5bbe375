//! The choice, on hosts written down as literals. Each test says which socket was chosen, and by what.

mod choices;
mod pins;
mod properties;
mod recent;
pub(super) mod world;
