//! Checks of when, and for whom, evidence was made.

use time::OffsetDateTime;

use super::{CLOCK_SKEW_SECONDS, judge::Outcome};
use crate::hex;
use crate::instant;
use crate::leaf_certificate::LeafCertificate;
use crate::policy::{FreshnessRule, Tier};

/// What report data should bind, for the sentence when it does not.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    NotBefore,
    Nonce,
    Channel,
    Evidence,
}

pub(super) fn report_data(found: &[u8; 64], wanted: &[u8; 64], bound: Bound) -> Outcome {
    let text = hex::encode(found);
    let outcome = if found == wanted {
        Outcome::pass(text)
    } else {
        Outcome::fail(
            text,
            match bound {
                Bound::NotBefore => {
                    "the quote was not made for this certificate's key and start of validity: somebody else's quote was put into it. Do not use this server"
                }
                Bound::Nonce => {
                    "the quote was not made for this certificate's key and this client's nonce: it is an old one, or one of another connection. Connect anew; if it stays so, something between here and the enclave answers in its place"
                }
                Bound::Channel => {
                    "the quote was not made for this certificate's key, this client's nonce and this TLS connection: somebody relays evidence of another connection. Connect anew, without a proxy that ends TLS; if it stays so, do not use this server"
                }
                Bound::Evidence => {
                    "the evidence quote was not made for this certificate and this manifest: one of them was changed or exchanged. Ask the enclave for another document (`/.enclave/v1/evidence`)"
                }
            },
        )
    };
    outcome.wanted(hex::encode(wanted))
}

/// `offline`: of a document, whose tier nothing can raise.
pub(super) fn tier(rule: &FreshnessRule, tier: Tier, offline: bool) -> Outcome {
    let outcome = if tier >= rule.min_tier {
        Outcome::pass(tier.name())
    } else {
        let message = match rule.min_tier {
            _ if offline => {
                "an evidence document has tier `certificate`, because it was made for no client in particular: judge it by a policy with `freshness.min_tier = \"certificate\"`, or connect to the enclave"
            }
            Tier::Channel => {
                "the policy wants evidence that is bound to this TLS connection: ask for `attest` after the handshake (`--tier channel`)"
            }
            _ => {
                "the policy wants evidence made for this client: offer a nonce in the handshake (`--tier challenge`), or lower `freshness.min_tier` where the age of a certificate is enough"
            }
        };
        Outcome::fail(tier.name(), message)
    };
    outcome.wanted(format!("at least {}", rule.min_tier))
}

pub(super) fn age(rule: &FreshnessRule, leaf: &LeafCertificate, now: OffsetDateTime) -> Outcome {
    let age = (now - leaf.not_before).whole_seconds();
    let limit = i64::try_from(rule.max_age_seconds).unwrap_or(i64::MAX);
    let found = format!("{age} s, since {}", instant::format(leaf.not_before));
    let outcome = if age < -CLOCK_SKEW_SECONDS {
        Outcome::fail(
            found,
            "the certificate is from the future: this clock is slow, or that of the enclave's host is fast. Set both by NTP",
        )
    } else if age > limit.saturating_add(CLOCK_SKEW_SECONDS) {
        Outcome::fail(
            found,
            "the evidence is older than the policy allows: ask the enclave anew, or raise `freshness.max_age_seconds`",
        )
    } else {
        Outcome::pass(found)
    };
    outcome.wanted(format!("at most {limit} s"))
}
