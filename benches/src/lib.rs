//! How fast is it, against what?

#![forbid(unsafe_code)]
