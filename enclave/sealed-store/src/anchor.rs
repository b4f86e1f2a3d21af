//! The anchor: whose store this is, readable before any key is known.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `EOSSTORE` |
//! | 8 | 2 | format, 1, LE |
//! | 10 | 2 | ISVSVN of the sealing key request, LE |
//! | 12 | 4 | zero |
//! | 16 | 32 | MRENCLAVE |
//! | 48 | 16 | CPUSVN of the sealing key request |
//! | 64 | 32 | KEYID of the sealing key request |
//! | 96 | 32 | HMAC-SHA-256 over the above |

use enclave_platform::{Identity, SealKeyRequest};

use crate::backend::RecordId;
use crate::error::{Misbehaviour, OpenError};
use crate::keys::RootKeys;

/// Where the anchor lies: first of all records.
pub(crate) const ANCHOR_ID: RecordId = [0; 32];

const MAGIC: &[u8; 8] = b"EOSSTORE";
const FORMAT: u16 = 1;
const COVERED: usize = 96;
const LEN: usize = COVERED + 32;

/// What the anchor claims. It holds once [`Anchor::verify`] has seen the keys that it leads to.
pub(crate) struct Anchor {
    bytes: [u8; LEN],
    pub(crate) request: SealKeyRequest,
}

impl Anchor {
    pub(crate) fn new(identity: &Identity, request: SealKeyRequest, root: &RootKeys) -> Self {
        let mut bytes = [0; LEN];
        let parts: [(usize, &[u8]); 6] = [
            (0, MAGIC),
            (8, &FORMAT.to_le_bytes()),
            (10, &request.isv_svn.to_le_bytes()),
            (16, &identity.mrenclave),
            (48, &request.cpu_svn),
            (64, &request.key_id),
        ];
        for (at, part) in parts {
            bytes.iter_mut().skip(at).zip(part).for_each(|(to, from)| *to = *from);
        }
        let (covered, mac) = bytes.split_at_mut(COVERED);
        mac.copy_from_slice(&root.anchor_mac(covered));
        Self { bytes, request }
    }

    /// Reads an anchor. Format and measurement are looked at first, so that an honest host that was given
    /// the wrong directory gets the right message.
    pub(crate) fn read(value: &[u8], identity: &Identity) -> Result<Self, OpenError> {
        let forged = OpenError::HostMisbehaved(Misbehaviour::AnchorForged);
        let Some(bytes) = value.first_chunk::<LEN>() else { return Err(forged) };
        let fields = || {
            let (magic, rest) = bytes.split_first_chunk::<8>()?;
            let (format, rest) = rest.split_first_chunk()?;
            let (isv_svn, rest) = rest.split_first_chunk()?;
            let (_zero, rest) = rest.split_first_chunk::<4>()?;
            let (mrenclave, rest) = rest.split_first_chunk()?;
            let (cpu_svn, rest) = rest.split_first_chunk()?;
            let (key_id, _mac) = rest.split_first_chunk()?;
            let isv_svn = u16::from_le_bytes(*isv_svn);
            let request = SealKeyRequest { key_id: *key_id, cpu_svn: *cpu_svn, isv_svn };
            (magic == MAGIC).then_some((u16::from_le_bytes(*format), *mrenclave, request))
        };
        let Some((format, mrenclave, request)) = fields() else { return Err(forged) };
        if format != FORMAT {
            return Err(OpenError::Format { found: format, known: FORMAT });
        }
        if mrenclave != identity.mrenclave {
            return Err(OpenError::OtherMeasurement { store: mrenclave, enclave: identity.mrenclave });
        }
        if value.len() != LEN {
            return Err(forged);
        }
        Ok(Self { bytes: *bytes, request })
    }

    pub(crate) fn verify(&self, root: &RootKeys) -> Result<(), Misbehaviour> {
        let (covered, mac) = self.bytes.split_at(COVERED);
        if root.anchor_mac_holds(covered, mac) { Ok(()) } else { Err(Misbehaviour::AnchorForged) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
