//! Honest bounds on a clock that the host sets.
