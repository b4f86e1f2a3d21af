//! The store against hosts that fail and lie.

mod failures;
mod lies;
mod oracle;
mod races;
mod world;
