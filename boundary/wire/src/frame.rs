//! Channel frames.
