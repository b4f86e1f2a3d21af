//! What the software SGX CPU loads.

use sgx_emu::{
    ATTRIBUTE_MODE64BIT, CHUNK_SIZE, PAGE_SIZE, Secinfo, Secs, Sgxs, Sigstruct, UninitializedEnclave,
    attributes,
};

/// A file has one encoding: what was read in full writes itself again. What its pages say, EADD and EEXTEND
/// take or refuse.
pub(crate) fn sgxs(input: &[u8]) {
    let Ok(sgxs) = Sgxs::parse(input) else { return };
    let secs = Secs {
        size: sgxs.size,
        ssa_frame_size: sgxs.ssa_frame_size,
        attributes: attributes(ATTRIBUTE_MODE64BIT, 3),
        misc_select: 0,
    };
    let mut enclave = UninitializedEnclave::ecreate(secs).ok();
    let mut again = block(b"ECREATE\0", &[&sgxs.ssa_frame_size.to_le_bytes(), &sgxs.size.to_le_bytes()]);
    let mut complete = true;
    for page in sgxs.pages() {
        let Ok(page) = page else {
            complete = false;
            break;
        };
        again.extend(block(b"EADD\0\0\0\0", &[&page.offset.to_le_bytes(), &page.secinfo[..48]]));
        let mut content = [0; PAGE_SIZE];
        for chunk in page.chunks() {
            let at = usize::try_from(chunk.offset - page.offset).unwrap_or(usize::MAX);
            assert!(at <= PAGE_SIZE - CHUNK_SIZE && at.is_multiple_of(CHUNK_SIZE));
            content[at..at + CHUNK_SIZE].copy_from_slice(chunk.data);
            let tag = if chunk.measured { b"EEXTEND\0" } else { b"UNMEASRD" };
            again.extend(block(tag, &[&chunk.offset.to_le_bytes()]));
            again.extend(chunk.data);
        }
        let Ok(secinfo) = Secinfo::from_bytes(&page.secinfo) else { continue };
        if let Some(enclave) = &mut enclave
            && enclave.eadd(page.offset, secinfo, &mut content).is_ok()
        {
            for chunk in page.chunks().filter(|chunk| chunk.measured) {
                assert!(
                    enclave.eextend(chunk.offset, chunk.data).is_ok(),
                    "a chunk of a page that was added"
                );
            }
        }
    }
    assert!(!complete || again == input);
}

fn block(tag: &[u8; 8], fields: &[&[u8]]) -> Vec<u8> {
    let mut block = [&tag[..], &fields.concat()].concat();
    block.resize(64, 0);
    block
}

/// What was accepted says what its bytes say, and its signature has an answer.
pub(crate) fn sigstruct(input: &[u8]) {
    let Ok(bytes) = <&[u8; Sigstruct::LEN]>::try_from(input) else { return };
    let Ok(sigstruct) = Sigstruct::from_bytes(bytes) else { return };
    assert!(bytes[960..992] == sigstruct.enclave_hash && bytes[928..944] == sigstruct.attributes);
    if sigstruct.verify_signature().is_ok() {
        // The signature covers the hash.
        let mut other = *bytes;
        other[960] ^= 1;
        let holds = Sigstruct::from_bytes(&other).and_then(|other| other.verify_signature());
        assert!(holds.is_err());
    }
}
