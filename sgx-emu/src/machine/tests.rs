//! Enclaves of a few instructions each, assembled here, signed, loaded and run.

mod entry;
mod image;
