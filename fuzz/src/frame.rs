//! Channel frames.

use boundary_wire::frame::{MAX_FRAME, ToEnclave, ToHost, is_host};

/// A frame has one encoding: what was decoded encodes to the same bytes.
pub(crate) fn to_enclave(input: &[u8]) {
    let Ok(frame) = ToEnclave::decode(input) else { return };
    let again = frame.encode().map(|encoded| encoded.to_vec());
    assert!(again.is_ok_and(|bytes| bytes == input), "{frame:?}");
    assert!(input.len() <= MAX_FRAME);
}

pub(crate) fn to_host(input: &[u8]) {
    let Ok(frame) = ToHost::decode(input) else { return };
    let again = frame.encode().map(|encoded| encoded.to_vec());
    assert!(again.is_ok_and(|bytes| bytes == input), "{frame:?}");
    if let ToHost::Dial { conn, port, host } = frame {
        assert!(conn.is_dialed() && port != 0 && is_host(host));
        assert!(host.bytes().all(|b| b.is_ascii_graphic()), "{host:?}");
    }
}
