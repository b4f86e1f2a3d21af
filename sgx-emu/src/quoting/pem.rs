//! Certificates as text (RFC 7468).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

/// Certificates one after the other, in lines of 64 characters.
pub(super) fn certificates<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut out = String::new();
    for der in chain {
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = BASE64.encode(der);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
            out.push_str(line);
            out.push('\n');
            rest = after;
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    out
}
