//! Who may do what?
//!
//! Everything here rests on the measured policy page and nothing the host says. [`decide`] answers for
//! each [`Wish`] by the token that comes with it; what it grants is a [`Grant`], which nothing else can make, and which
//! [`code_policy::approve`] demands before bytes become an [`ApprovedArtifact`], which in turn is all the
//! runtime turns into native code. What nobody has allowed is denied.

#![forbid(unsafe_code)]

pub mod code_policy;
mod decision;
pub mod leaves;
pub mod names;
mod nonces;
mod policy;
mod token;

pub use code_policy::{ApprovedArtifact, NotApproved};
pub use decision::{Circumstances, Denied, Grant, Operation, Wish, decide};
pub use nonces::{MAX_NONCES, Nonces};
pub use policy::{Policy, PolicyError};
pub use token::Rejected;
