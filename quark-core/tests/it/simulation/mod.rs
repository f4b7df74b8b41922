//! The simulator: that it is one run per seed, and that it sees what is wrong.

mod bites;
mod broken;
mod planted;
mod runs;
mod scripts;
