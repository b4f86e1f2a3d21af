//! EGETKEY: key requests, what a key depends on, and the derivation.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::secrets::Secrets;
use crate::{ATTRIBUTE_EINITTOKENKEY, ATTRIBUTE_PROVISIONKEY, EnclaveState};

/// Error codes of EGETKEY (SDM, table "SGX error codes").
pub mod error_code {
    /// SGX_INVALID_ATTRIBUTE: the enclave's attributes do not entitle it to the key.
    pub const INVALID_ATTRIBUTE: u32 = 2;
    /// SGX_INVALID_CPUSVN: the request names a CPUSVN beyond the current one.
    pub const INVALID_CPUSVN: u32 = 32;
    /// SGX_INVALID_ISVSVN: the request names an ISVSVN beyond the enclave's.
    pub const INVALID_ISVSVN: u32 = 64;
    /// SGX_INVALID_KEYNAME: no such key on this CPU.
    pub const INVALID_KEYNAME: u32 = 256;
}

/// KEYREQUEST.KEYNAME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyName(pub u16);

impl KeyName {
    /// The launch key. This CPU has none.
    pub const EINITTOKEN: Self = Self(0);
    /// The provisioning key. This CPU has none.
    pub const PROVISION: Self = Self(1);
    /// The provisioning seal key. This CPU has none.
    pub const PROVISION_SEAL: Self = Self(2);
    /// The key that verifies reports made for the asking enclave.
    pub const REPORT: Self = Self(3);
    /// The sealing key.
    pub const SEAL: Self = Self(4);
}

/// KEYREQUEST.KEYPOLICY, the bits of a CPU without KSS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Bind the key to MRENCLAVE.
    pub mrenclave: bool,
    /// Bind the key to MRSIGNER.
    pub mrsigner: bool,
}

/// KEYREQUEST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRequest {
    /// Which key.
    pub name: KeyName,
    /// What the key is bound to beside what it always is.
    pub policy: KeyPolicy,
    /// Lowest enclave security version that can get the key.
    pub isv_svn: u16,
    /// Lowest CPU security version that can get the key.
    pub cpu_svn: [u8; 16],
    /// Which attributes the key is bound to. INIT and DEBUG always are.
    pub attribute_mask: [u8; 16],
    /// Wear-out protection.
    pub key_id: [u8; 32],
    /// Which bits of MISCSELECT the key is bound to.
    pub misc_mask: u32,
}

/// A fault: on hardware the instruction raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("#GP(0): reserved bits of KEYREQUEST are set, or bits of a feature this CPU lacks (KSS, CET)")]
pub struct GeneralProtection;

impl KeyRequest {
    /// Size of the KEYREQUEST structure.
    pub const LEN: usize = 512;

    /// Reads a KEYREQUEST as the instruction does.
    ///
    /// # Errors
    /// [`GeneralProtection`] where the instruction faults.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, GeneralProtection> {
        let policy = u16::from_le_bytes(field(bytes, 2));
        // Without KSS only the two lowest bits of KEYPOLICY exist; CET mask (6), CONFIGSVN (76) and the
        // rest are reserved.
        if policy & !3 != 0 || bytes[6..8].iter().chain(&bytes[76..]).any(|&b| b != 0) {
            return Err(GeneralProtection);
        }
        Ok(Self {
            name: KeyName(u16::from_le_bytes(field(bytes, 0))),
            policy: KeyPolicy { mrenclave: policy & 1 != 0, mrsigner: policy & 2 != 0 },
            isv_svn: u16::from_le_bytes(field(bytes, 4)),
            cpu_svn: field(bytes, 8),
            attribute_mask: field(bytes, 24),
            key_id: field(bytes, 40),
            misc_mask: u32::from_le_bytes(field(bytes, 72)),
        })
    }
}

/// The `N` bytes at `at`. Offsets here are constants of the SDM within fixed-size structures.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(crate) fn egetkey(
    secrets: &Secrets,
    enclave: &EnclaveState,
    request: &KeyRequest,
) -> Result<[u8; 16], u32> {
    match request.name {
        KeyName::SEAL => seal_key(secrets, enclave, request),
        KeyName::REPORT => Ok(report_key(
            secrets,
            &enclave.mrenclave,
            &enclave.attributes,
            enclave.misc_select,
            &Config::NONE,
            &request.key_id,
        )),
        KeyName::EINITTOKEN if !enclave.has(ATTRIBUTE_EINITTOKENKEY) => Err(error_code::INVALID_ATTRIBUTE),
        KeyName::PROVISION | KeyName::PROVISION_SEAL if !enclave.has(ATTRIBUTE_PROVISIONKEY) => {
            Err(error_code::INVALID_ATTRIBUTE)
        }
        _ => Err(error_code::INVALID_KEYNAME),
    }
}

fn seal_key(secrets: &Secrets, enclave: &EnclaveState, request: &KeyRequest) -> Result<[u8; 16], u32> {
    /// INIT and DEBUG (SDM, EGETKEY: REQUIRED_SEALING_MASK).
    const REQUIRED_SEALING_MASK: u128 = 3;

    // CPUSVN is a vector of component versions: beyond the current one if any component is.
    if request.cpu_svn.iter().zip(&secrets.cpu_svn).any(|(asked, current)| asked > current) {
        return Err(error_code::INVALID_CPUSVN);
    }
    if request.isv_svn > enclave.isv_svn {
        return Err(error_code::INVALID_ISVSVN);
    }
    let mask = u128::from_le_bytes(request.attribute_mask) | REQUIRED_SEALING_MASK;
    let attributes = (u128::from_le_bytes(enclave.attributes) & mask).to_le_bytes();
    Ok(Dependencies {
        name: KeyName::SEAL,
        policy: request.policy,
        isv_prod_id: enclave.isv_prod_id,
        isv_svn: request.isv_svn,
        attributes,
        attribute_mask: request.attribute_mask,
        mrenclave: if request.policy.mrenclave { enclave.mrenclave } else { [0; 32] },
        mrsigner: if request.policy.mrsigner { enclave.mrsigner } else { [0; 32] },
        key_id: request.key_id,
        cpu_svn: request.cpu_svn,
        misc_select: enclave.misc_select & request.misc_mask,
        misc_mask: request.misc_mask,
        config: Config::NONE,
    }
    .derive(secrets))
}

/// The report key of the enclave with this measurement and these attributes (SDM: EREPORT, and EGETKEY
/// with REPORT_KEY).
pub(crate) fn report_key(
    secrets: &Secrets,
    mrenclave: &[u8; 32],
    attributes: &[u8; 16],
    misc_select: u32,
    config: &Config,
    key_id: &[u8; 32],
) -> [u8; 16] {
    Dependencies {
        name: KeyName::REPORT,
        policy: KeyPolicy::default(),
        isv_prod_id: 0,
        isv_svn: 0,
        attributes: *attributes,
        attribute_mask: [0; 16],
        mrenclave: *mrenclave,
        mrsigner: [0; 32],
        key_id: *key_id,
        cpu_svn: secrets.cpu_svn,
        misc_select,
        misc_mask: 0,
        config: *config,
    }
    .derive(secrets)
}

/// CONFIGID and CONFIGSVN. An enclave of this CPU has none, a TARGETINFO may name some.
#[derive(Clone, Copy)]
pub(crate) struct Config {
    pub(crate) id: [u8; 64],
    pub(crate) svn: [u8; 2],
}

impl Config {
    const NONE: Self = Self { id: [0; 64], svn: [0; 2] };
}

/// The SDM's KEYDEPENDENCIES, as far as this CPU has the features.
struct Dependencies {
    name: KeyName,
    policy: KeyPolicy,
    isv_prod_id: u16,
    isv_svn: u16,
    attributes: [u8; 16],
    attribute_mask: [u8; 16],
    mrenclave: [u8; 32],
    mrsigner: [u8; 32],
    key_id: [u8; 32],
    cpu_svn: [u8; 16],
    misc_select: u32,
    misc_mask: u32,
    config: Config,
}

impl Dependencies {
    /// HMAC-SHA-256 keyed by the machine's fuses, over a label, the owner epoch and every dependency at a
    /// fixed width; the first 16 bytes. (Hardware uses AES-CMAC; which PRF it is cannot be seen outside.)
    fn derive(&self, secrets: &Secrets) -> [u8; 16] {
        let policy = u16::from(self.policy.mrenclave) | u16::from(self.policy.mrsigner) << 1;
        let mut mac = keyed(&secrets.fuses);
        mac.update(b"software SGX CPU key derivation");
        mac.update(&*secrets.owner_epoch);
        mac.update(&self.name.0.to_le_bytes());
        mac.update(&policy.to_le_bytes());
        mac.update(&self.isv_prod_id.to_le_bytes());
        mac.update(&self.isv_svn.to_le_bytes());
        mac.update(&self.attributes);
        mac.update(&self.attribute_mask);
        mac.update(&self.mrenclave);
        mac.update(&self.mrsigner);
        mac.update(&self.key_id);
        mac.update(&self.cpu_svn);
        mac.update(&self.misc_select.to_le_bytes());
        mac.update(&self.misc_mask.to_le_bytes());
        mac.update(&self.config.id);
        mac.update(&self.config.svn);
        let full = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
        field(&*full, 0)
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = sha2::digest::Key::<Hmac<Sha256>>::default();
    block[..32].copy_from_slice(key);
    Hmac::new(&block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ATTRIBUTE_DEBUG, SoftwareCpu, attributes};

    fn request(cpu: &SoftwareCpu) -> KeyRequest {
        KeyRequest {
            name: KeyName::SEAL,
            policy: KeyPolicy { mrenclave: true, mrsigner: false },
            isv_svn: 1,
            cpu_svn: cpu.cpu_svn(),
            attribute_mask: [0xff; 16],
            key_id: [7; 32],
            misc_mask: u32::MAX,
        }
    }

    #[test]
    fn a_seal_key_changes_with_everything_it_is_bound_to() {
        let cpu = SoftwareCpu::ephemeral();
        let enclave = EnclaveState::development();
        let r = request(&cpu);
        let key = cpu.egetkey(&enclave, &r).unwrap();
        assert_eq!(cpu.egetkey(&enclave, &r).unwrap(), key, "repeatable");

        let mut keys = vec![key];
        let mut differs = |e: &EnclaveState, r: &KeyRequest, why: &str| {
            let k = cpu.egetkey(e, r).unwrap();
            assert!(!keys.contains(&k), "{why}");
            keys.push(k);
        };
        differs(&EnclaveState { mrenclave: [1; 32], ..enclave.clone() }, &r, "measurement");
        differs(&EnclaveState { isv_prod_id: 9, ..enclave.clone() }, &r, "product");
        let debug = attributes(u64::from(enclave.attributes[0]) | ATTRIBUTE_DEBUG, 7);
        differs(&EnclaveState { attributes: debug, ..enclave.clone() }, &r, "debug");
        let xfrm = attributes(u64::from(enclave.attributes[0]), 3);
        differs(&EnclaveState { attributes: xfrm, ..enclave.clone() }, &r, "masked-in xfrm");
        differs(&EnclaveState { misc_select: 1, ..enclave.clone() }, &r, "misc");
        differs(&enclave, &KeyRequest { key_id: [8; 32], ..r.clone() }, "key id");
        differs(&enclave, &KeyRequest { isv_svn: 0, ..r.clone() }, "isv svn");
        differs(&enclave, &KeyRequest { cpu_svn: [0; 16], ..r.clone() }, "cpu svn");
        differs(&enclave, &KeyRequest { attribute_mask: [0x7f; 16], ..r.clone() }, "mask itself");
        differs(&enclave, &KeyRequest { misc_mask: 0, ..r.clone() }, "misc mask itself");
        let both = KeyPolicy { mrenclave: true, mrsigner: true };
        differs(&enclave, &KeyRequest { policy: both, ..r.clone() }, "policy");
        differs(&enclave, &KeyRequest { name: KeyName::REPORT, ..r.clone() }, "name");
        let other_machine = SoftwareCpu::ephemeral();
        let r = KeyRequest { cpu_svn: other_machine.cpu_svn(), ..r };
        assert_ne!(other_machine.egetkey(&enclave, &r).unwrap(), key, "machine");
    }

    #[test]
    fn a_seal_key_ignores_what_it_is_not_bound_to() {
        let cpu = SoftwareCpu::ephemeral();
        let enclave = EnclaveState::development();
        let r = KeyRequest { attribute_mask: [0; 16], misc_mask: 0, ..request(&cpu) };
        let key = cpu.egetkey(&enclave, &r);
        let mut other = enclave.clone();
        other.mrsigner = [1; 32];
        other.isv_svn = 5; // a newer enclave still gets the key of the older version it asks for
        other.attributes = attributes(u64::from(enclave.attributes[0]), 0xe7);
        other.misc_select = 1;
        assert_eq!(cpu.egetkey(&other, &r), key);

        // DEBUG is never ignored, whatever the mask says.
        let debug = attributes(u64::from(enclave.attributes[0]) | ATTRIBUTE_DEBUG, 7);
        assert_ne!(cpu.egetkey(&EnclaveState { attributes: debug, ..enclave.clone() }, &r), key);

        // Bound to the signer alone, every image of that signer gets it.
        let signer = KeyRequest { policy: KeyPolicy { mrenclave: false, mrsigner: true }, ..r };
        let image2 = EnclaveState { mrenclave: [2; 32], ..enclave.clone() };
        assert_eq!(cpu.egetkey(&enclave, &signer), cpu.egetkey(&image2, &signer));
        assert_ne!(cpu.egetkey(&enclave, &signer), cpu.egetkey(&other, &signer));
    }

    #[test]
    fn versions_beyond_the_current_ones_are_refused_and_older_ones_granted() {
        let cpu = SoftwareCpu::ephemeral();
        let enclave = EnclaveState::development();
        let r = request(&cpu);
        let newer = KeyRequest { isv_svn: enclave.isv_svn + 1, ..r.clone() };
        assert_eq!(cpu.egetkey(&enclave, &newer), Err(error_code::INVALID_ISVSVN));

        let mut one_component = cpu.cpu_svn();
        one_component[3] += 1;
        one_component[0] = 0;
        let newer = KeyRequest { cpu_svn: one_component, ..r.clone() };
        assert_eq!(cpu.egetkey(&enclave, &newer), Err(error_code::INVALID_CPUSVN));

        let key = cpu.egetkey(&enclave, &r).unwrap();
        let mut raised = cpu.cpu_svn();
        raised[15] += 1;
        let updated = cpu.at_cpu_svn(raised);
        assert_eq!(updated.egetkey(&enclave, &r), Ok(key), "an update keeps old keys reachable");

        let bad = KeyRequest { name: KeyName(7), ..r };
        assert_eq!(updated.egetkey(&enclave, &bad), Err(error_code::INVALID_KEYNAME));
    }

    #[test]
    fn keys_of_other_enclaves_are_refused_and_those_this_cpu_lacks_unknown() {
        let cpu = SoftwareCpu::ephemeral();
        let plain = EnclaveState::development();
        let with = |flag| EnclaveState {
            attributes: attributes(u64::from(plain.attributes[0]) | flag, 7),
            ..plain.clone()
        };
        for (name, entitled) in [
            (KeyName::EINITTOKEN, with(ATTRIBUTE_EINITTOKENKEY)),
            (KeyName::PROVISION, with(ATTRIBUTE_PROVISIONKEY)),
            (KeyName::PROVISION_SEAL, with(ATTRIBUTE_PROVISIONKEY)),
        ] {
            let r = KeyRequest { name, ..request(&cpu) };
            assert_eq!(cpu.egetkey(&plain, &r), Err(error_code::INVALID_ATTRIBUTE), "{name:?}");
            assert_eq!(cpu.egetkey(&entitled, &r), Err(error_code::INVALID_KEYNAME), "{name:?}");
        }
    }

    #[test]
    fn key_requests_are_read_as_the_instruction_reads_them() {
        let mut bytes = [0; KeyRequest::LEN];
        bytes[0] = 4;
        bytes[2] = 1;
        bytes[4] = 3;
        bytes[8..24].fill(5);
        bytes[24..40].fill(6);
        bytes[40..72].fill(7);
        bytes[72] = 8;
        let r = KeyRequest::from_bytes(&bytes).unwrap();
        assert_eq!((r.name, r.isv_svn, r.misc_mask), (KeyName::SEAL, 3, 8));
        assert_eq!(r.policy, KeyPolicy { mrenclave: true, mrsigner: false });
        assert_eq!((r.cpu_svn, r.attribute_mask, r.key_id), ([5; 16], [6; 16], [7; 32]));

        for reserved in [2, 6, 7, 76, 100, 511] {
            let mut bad = bytes;
            bad[reserved] |= 4;
            assert_eq!(KeyRequest::from_bytes(&bad), Err(GeneralProtection), "byte {reserved}");
        }
    }
}
