//! What clients show to be let in.

use attestation::operator_token::{Claims, Delegation, Signed, Token, TokenError, is_one};

/// A text is of one kind at most, no guest is shown what is one, and what it claims survives its JSON.
pub(crate) fn operator_token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let token = read::<Token>(text);
    let delegation = read::<Delegation>(text);
    assert!(token.is_none() || delegation.is_none());
    if let Some(inner) = token.flatten() {
        read::<Delegation>(&inner);
    }
}

/// The delegation in its header, if it is one of this kind.
fn read<C: Claims + PartialEq>(text: &str) -> Option<Option<String>> {
    let signed = Signed::<C>::parse(text).ok()?;
    assert!(is_one(text));
    let end = text.len() - signed.message().len() - 1;
    assert_eq!(end, 86, "64 bytes in base64url");
    if let Ok(claims) = signed.claims() {
        assert!(claims.apps().is_none_or(|apps| !apps.is_empty()));
        let again = serde_json::to_vec(&claims).ok().and_then(|json| serde_json::from_slice::<C>(&json).ok());
        assert!(again.is_some_and(|again| again == claims));
    } else {
        assert!(!matches!(signed.claims(), Err(TokenError::Compact)));
    }
    Some(signed.delegation().map(str::to_owned))
}
