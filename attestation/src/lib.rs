//! What does the evidence say, and does it hold?
//!
//! Shared by the enclave, which writes evidence, and by everything that checks it. Formats:
//! `docs/formats/certificates.md` and `docs/formats/policy-page.md`.
//!
//! - [`merkle`]: tree hash and inclusion proofs (RFC 9162).
//! - [`manifest`]: the configuration as named leaves of that tree.
//! - [`oid`]: where certificates carry what.
//! - [`report_data`]: what a quote is made over.
//! - [`quote`]: what a quote says, and [`collateral`]: what it takes to verify it.
//! - [`evidence`]: the document that is verified offline.
//! - [`hex`] and [`instant`]: how documents spell bytes and moments.
//! - [`image_policy`]: the measured policy page.
//! - [`operator_token`]: what operators show to be let in.
//! - `image_manifest` (feature `image-manifest`): what is told beside a signed image.
//! - `leaf_certificate` (feature `x509`): what a leaf certificate claims.
//! - `vectors` (feature `vectors`): cases that verifiers in all languages answer alike.
//! - `policy` and `verify` (feature `verify`): what a verifier accepts, and whether that is what it was given.

#![forbid(unsafe_code)]

pub mod collateral;
pub mod evidence;
pub mod hex;
#[cfg(feature = "image-manifest")]
pub mod image_manifest;
pub mod image_policy;
pub mod instant;
#[cfg(feature = "x509")]
pub mod leaf_certificate;
pub mod manifest;
pub mod merkle;
pub mod oid;
pub mod operator_token;
#[cfg(feature = "verify")]
pub mod policy;
pub mod quote;
pub mod report_data;
#[cfg(feature = "vectors")]
pub mod vectors;
#[cfg(feature = "verify")]
pub mod verify;
pub mod workloads;
