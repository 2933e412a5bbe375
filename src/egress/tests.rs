//! The choice, on hosts written down as literals. Each test says which socket was chosen, and by what.

mod choices;
mod elsewhere;
mod pins;
mod properties;
mod recent;
mod seats;
pub(super) mod world;
