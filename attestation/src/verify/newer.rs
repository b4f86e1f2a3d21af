//! Which of two collateral documents is the older one.
//!
//! A platform that was revoked still verifies with documents of the week before, until they end. Whoever holds
//! newer ones does not let itself be given older ones.

use serde::Deserialize;
use time::OffsetDateTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::collateral::Collateral;
use crate::instant;

/// What both signed documents have (PCS API, version 4: TCB info, enclave identity).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    issue_date: String,
    fmspc: Option<String>,
}

/// For which kind of platform, and since when each part says what it says.
#[derive(PartialEq, Eq)]
struct Issue {
    fmspc: Option<String>,
    since: [OffsetDateTime; 4],
}

impl Collateral {
    /// Whether any part of this was issued before the same part of `other`, for the same kind of platform. What
    /// cannot be read is older than what can.
    pub fn is_older_than(&self, other: &Collateral) -> bool {
        let Some(other) = issue(other) else { return false };
        let Some(own) = issue(self) else { return true };
        own.fmspc == other.fmspc && own.since.iter().zip(&other.since).any(|(own, other)| own < other)
    }
}

fn issue(collateral: &Collateral) -> Option<Issue> {
    let tcb: Dated = serde_json::from_str(&collateral.tcb_info).ok()?;
    let identity: Dated = serde_json::from_str(&collateral.qe_identity).ok()?;
    let since = [
        instant::parse(&tcb.issue_date)?,
        instant::parse(&identity.issue_date)?,
        this_update(&collateral.root_ca_crl)?,
        this_update(&collateral.pck_crl)?,
    ];
    Some(Issue { fmspc: tcb.fmspc, since })
}

fn this_update(crl: &[u8]) -> Option<OffsetDateTime> {
    let (_, crl) = CertificateRevocationList::from_der(crl).ok()?;
    Some(crl.last_update().to_datetime())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

    use super::*;

    fn genuine() -> Collateral {
        Collateral::from_json(include_str!("../../tests/data/sgx_quote_collateral.json")).unwrap()
    }

    #[test]
    fn an_earlier_part_makes_it_older_and_another_platform_does_not() {
        let (now, mut before) = (genuine(), genuine());
        assert!(!before.is_older_than(&now));
        let issued = |text: &str| serde_json::from_str::<Dated>(text).unwrap().issue_date;
        let date = issued(&now.tcb_info);
        before.tcb_info = now.tcb_info.replacen(&date, "2020-01-01T00:00:00Z", 1);
        assert!(before.is_older_than(&now) && !now.is_older_than(&before));

        let fmspc = serde_json::from_str::<Dated>(&now.tcb_info).unwrap().fmspc.unwrap();
        before.tcb_info = before.tcb_info.replacen(&fmspc, "ffffffffffff", 1);
        assert!(!before.is_older_than(&now));

        let mut damaged = genuine();
        damaged.pck_crl.truncate(9);
        assert!(damaged.is_older_than(&now) && !now.is_older_than(&damaged));
    }
}
