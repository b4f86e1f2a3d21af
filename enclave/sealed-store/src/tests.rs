//! The store against hosts that fail and lie.
