//! What verifiers need beside a quote: passed on unread, but as one JSON object of a known shape.

use serde_json::Value;

/// Longest collateral document in bytes.
pub const MAX_COLLATERAL: usize = 64 * 1024;

/// Its members, all strings.
const MEMBERS: [&str; 9] = [
    "pck_crl",
    "pck_crl_issuer_chain",
    "qe_identity",
    "qe_identity_issuer_chain",
    "qe_identity_signature",
    "root_ca_crl",
    "tcb_info",
    "tcb_info_issuer_chain",
    "tcb_info_signature",
];

/// What the host gave is no collateral document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its collateral is not one JSON object with exactly the nine members of the format, all strings, in 64 KiB"
)]
pub struct BadCollateral;

/// Reads the document so far that it can stand inside another one and adds nothing to that.
pub(crate) fn parse(text: &[u8]) -> Result<Value, BadCollateral> {
    if text.len() > MAX_COLLATERAL {
        return Err(BadCollateral);
    }
    let document: Value = serde_json::from_slice(text).map_err(|_| BadCollateral)?;
    let members = document.as_object().ok_or(BadCollateral)?;
    let right = |name: &str| members.get(name).is_some_and(Value::is_string);
    if members.len() == MEMBERS.len() && MEMBERS.iter().all(|name| right(name)) {
        Ok(document)
    } else {
        Err(BadCollateral)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(members: &[&str]) -> Vec<u8> {
        let members = members.iter().map(|name| ((*name).to_owned(), Value::from("x"))).collect();
        Value::Object(members).to_string().into_bytes()
    }

    #[test]
    fn exactly_the_members_of_the_format() {
        assert!(parse(&document(&MEMBERS)).is_ok());
        let more = [&MEMBERS[..], &["quote"]].concat();
        for bad in [
            document(&MEMBERS[1..]),
            document(&more),
            b"".to_vec(),
            b"[]".to_vec(),
            b"{},\"quote\":\"\"".to_vec(),
            b"\xff".to_vec(),
            String::from_utf8(document(&MEMBERS)).unwrap().replacen("\"x\"", "7", 1).into_bytes(),
            [document(&MEMBERS), vec![b' '; MAX_COLLATERAL]].concat(),
        ] {
            assert_eq!(parse(&bad), Err(BadCollateral), "{}", String::from_utf8_lossy(&bad));
        }
    }
}
