//! Certificate chains as PEM (RFC 7468), read strictly: one chain has one spelling, so that no byte of it can be
//! changed without being noticed.

use base64::{Engine, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const END: &str = "-----END CERTIFICATE-----\n";
const LINE: usize = 64;

/// Reads exactly `N` certificates, in lines of 64 characters that end in a line feed, with nothing between or
/// around them but the one NUL that quoting libraries put at the end.
pub(super) fn certificates<const N: usize>(text: &[u8]) -> Option<[Vec<u8>; N]> {
    let text = std::str::from_utf8(text).ok()?;
    let mut rest = text.strip_suffix('\0').unwrap_or(text);
    let mut out = [const { Vec::new() }; N];
    for certificate in &mut out {
        let (body, after) = rest.strip_prefix(BEGIN)?.split_once(END)?;
        *certificate = STANDARD.decode(body.replace('\n', "")).ok()?;
        if lines(certificate) != body {
            return None;
        }
        rest = after;
    }
    rest.is_empty().then_some(out)
}

fn lines(der: &[u8]) -> String {
    let mut text = STANDARD.encode(der);
    let mut at = LINE;
    while at < text.len() {
        text.insert(at, '\n');
        at += LINE + 1;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_chain_has_one_spelling() {
        let one = |der: &[u8]| format!("{BEGIN}{}{END}", lines(der));
        let (a, b) = (vec![1; 100], vec![2; 48]);
        let text = one(&a) + &one(&b);
        assert_eq!(certificates(text.as_bytes()), Some([a.clone(), b.clone()]));
        assert_eq!(certificates((text.clone() + "\0").as_bytes()), Some([a, b]));
        assert_eq!(certificates::<1>(text.as_bytes()), None);
        assert_eq!(certificates::<3>(text.as_bytes()), None);
        for other in [
            text.clone() + "\n",
            text.clone() + "\0\0",
            format!(" {text}"),
            text.replace('\n', "\r\n"),
            text.replacen("BEGIN CERTIFICATE", "BEGIN TRUSTED CERTIFICATE", 1),
            text.replacen("AQEB", "AQ\nEB", 1),
            text.replacen("AQ==", "AR==", 1),
            text.trim_end().to_owned(),
        ] {
            assert_eq!(certificates::<2>(other.as_bytes()), None, "{other}");
        }
    }
}
