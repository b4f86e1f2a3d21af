//! How is a component loaded, called and limited?

#![forbid(unsafe_code)]
