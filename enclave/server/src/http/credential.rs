//! Operators' tokens in HTTP: bearer tokens (RFC 6750).

use attestation::operator_token;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::refusal::Refusal;

/// The token of a request. Of two nobody can say which is meant, so they are none.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    token(value)
}

fn token(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Takes out of a request what only the enclave may see of it: an `Authorization` that is a token of ours, or was meant
/// to be one (PROTOCOL "HTTP"). Whatever else an app's own users send is theirs.
pub(super) fn keep_from_guest(headers: &mut HeaderMap) {
    let ours = |value: &HeaderValue| {
        // In pieces, so that no spelling of the list or of the scheme hides one.
        let text = String::from_utf8_lossy(value.as_bytes());
        text.split([' ', '\t', ',', ';', '=', '"']).any(operator_token::is_one)
    };
    if headers.get_all(AUTHORIZATION).iter().any(ours) {
        headers.remove(AUTHORIZATION);
    }
}

/// `WWW-Authenticate` of a refusal that another credential could mend (RFC 6750 §3).
pub(super) fn challenge(refusal: &Refusal) -> Option<HeaderValue> {
    const REALM: &str = "Bearer realm=\"enclave-os\"";
    let error = match refusal.code() {
        "unauthenticated" => return Some(HeaderValue::from_static(REALM)),
        "role-too-low" | "app-not-allowed" => "insufficient_scope",
        code if code.starts_with("token-") || code.starts_with("nonce-") => "invalid_token",
        _ => return None,
    };
    // What may stand in a description: §3.
    let plain = |c: char| match c {
        '"' | '\\' => '\'',
        c if c.is_ascii_graphic() || c == ' ' => c,
        _ => '?',
    };
    let description: String = refusal.message().chars().map(plain).collect();
    HeaderValue::try_from(format!("{REALM}, error=\"{error}\", error_description=\"{description}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_request_has_one_token_or_none() {
        for (values, token) in [
            (&["Bearer a.b.c"][..], Some("a.b.c")),
            (&["bearer  a.b.c "], Some("a.b.c")),
            (&["BEARER \ta.b.c"], Some("a.b.c")),
            (&["Bearer"], None),
            (&["Basic YTpi"], None),
            (&["a.b.c"], None),
            (&["Bearer a.b.c", "Bearer a.b.c"], None),
            (&["Basic YTpi", "Bearer a.b.c"], None),
            (&[], None),
        ] {
            assert_eq!(bearer(&headers(values)), token, "{values:?}");
        }
    }

    #[test]
    fn no_guest_sees_an_operators_token() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.x", part(r#"{"typ":"enclave-os-token+jwt"}"#), part("{}"));
        let left = |values: &[&str]| {
            let mut headers = headers(values);
            headers.insert("x-other", HeaderValue::from_static("stays"));
            keep_from_guest(&mut headers);
            assert_eq!(headers.get("x-other").unwrap(), "stays");
            headers.get_all(AUTHORIZATION).iter().count()
        };
        for values in [
            &[format!("Bearer {token}").as_str()][..],
            &[&token],
            &[&format!("bearer\t {token} ")],
            &[&format!("Bearer  {token}, Basic YTpi")],
            &[&format!("Token token=\"{token}\"")],
            &["Basic YTpi", &format!("Bearer {token}")],
            &[&format!("Bearer {token}"), "Bearer of.the.app"],
        ] {
            assert_eq!(left(values), 0, "{values:?}");
        }
        let others = format!("Bearer {}.e30.x", part(r#"{"typ":"JWT","alg":"ES256"}"#));
        assert_eq!(left(&[&others]), 1);
        assert_eq!(left(&["Basic YTpi"]), 1);
        assert_eq!(left(&[]), 0);
    }

    #[test]
    fn a_refusal_says_which_credential_would_do() {
        let header = |code: &'static str, message: &str| {
            challenge(&Refusal::new(code, message)).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(header("unauthenticated", "x").unwrap(), "Bearer realm=\"enclave-os\"");
        assert_eq!(
            header("token-malformed", "a \"b\" \\ \n é").unwrap(),
            "Bearer realm=\"enclave-os\", error=\"invalid_token\", error_description=\"a 'b' ' ? ?\""
        );
        assert!(header("nonce-unknown", "x").unwrap().contains("error=\"invalid_token\""));
        assert!(header("role-too-low", "x").unwrap().contains("error=\"insufficient_scope\""));
        assert_eq!(header("no-operators", "x"), None);
        assert_eq!(header("unknown-app", "x"), None);
    }
}
