//! Enclaves of a few instructions each, assembled here, signed, loaded and run.

mod aex;
mod entry;
mod host;
mod image;
mod leaves;
mod load;
