//! Images that are not what was signed, and launches that are not what was asked for.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use image_tool::{Parameters, SigningKey, Unsigned, sign};
use launcher_image::{Emulated, FilesError, ImageFiles};
use sgx_emu::{Attributes, EinitError, KeyName, KeyPolicy, KeyRequest, LoadError, SoftwareCpu};

use crate::support::copy;

fn open(path: &Path) -> Result<ImageFiles, FilesError> {
    ImageFiles::open(path)
}

fn load(cpu: &Arc<SoftwareCpu>, path: &Path, attributes: Attributes) -> Result<Emulated, LoadError> {
    Emulated::load(cpu.clone(), &open(path).unwrap(), attributes)
}

fn cpu() -> Arc<SoftwareCpu> {
    Arc::new(SoftwareCpu::ephemeral())
}

fn change(path: &Path, act: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    act(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Where these bytes first stand.
fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap()
}

fn test_key() -> SigningKey {
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../image-tool/tests/keys/test-only.pem");
    SigningKey::from_pem(&fs::read_to_string(pem).unwrap()).unwrap()
}

fn parameters(debug: bool) -> Parameters {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../enclave/image/image.toml");
    let text = fs::read_to_string(file).unwrap();
    let text = if debug { text.replace("\ndebug = false", "\ndebug = true") } else { text };
    Parameters::from_toml(&text).unwrap()
}

#[test]
fn a_page_that_was_changed_after_signing() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy(dir.path());
    change(&path, |sgxs| {
        let chunk = find(sgxs, b"EEXTEND\0") + 64;
        sgxs[chunk + 5] ^= 1;
    });
    let error = load(&cpu(), &path, Attributes::Signed).err().unwrap();
    assert!(matches!(error, LoadError::Einit(EinitError::Measurement)), "{error}");
}

#[test]
fn a_policy_that_was_changed_after_signing() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy(dir.path());
    change(&path, |sgxs| {
        let at = find(sgxs, b"\"development\":true");
        sgxs[at..at + 18].copy_from_slice(b"\"development\":fals");
    });
    let error = load(&cpu(), &path, Attributes::Signed).err().unwrap();
    assert!(matches!(error, LoadError::Einit(EinitError::Measurement)), "{error}");
}

#[test]
fn a_manifest_that_tells_of_another_policy_signer_or_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy(dir.path());
    let json = path.with_extension("json");
    let original = fs::read_to_string(&json).unwrap();
    let set = |name: &str, value: serde_json::Value| {
        let mut manifest: serde_json::Value = serde_json::from_str(&original).unwrap();
        manifest[name] = value;
        fs::write(&json, manifest.to_string()).unwrap();
        open(&path).err().unwrap()
    };
    for (name, shown) in [("mrenclave", "MRENCLAVE"), ("mrsigner", "MRSIGNER")] {
        let error = set(name, "ab".repeat(32).into());
        assert!(matches!(error, FilesError::Mixed { what, .. } if what == shown), "{error}");
        assert!(error.to_string().contains(&"ab".repeat(32)), "{error}");
    }
    assert!(matches!(set("isv_svn", 77.into()), FilesError::Mixed { what: "ISVSVN", .. }));
    assert!(matches!(set("debug", true.into()), FilesError::Mixed { what: "debug", .. }));
    assert!(matches!(set("format", 2.into()), FilesError::Manifest { .. }));
}

#[test]
fn a_signature_by_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy(dir.path());
    let mrenclave = open(&path).unwrap().mrenclave();
    let sigstruct = sign(&Unsigned::new(mrenclave, &parameters(false)), &test_key()).unwrap();
    let sig = path.with_extension("sig");
    let original = fs::read(&sig).unwrap();
    fs::write(&sig, sigstruct).unwrap();
    let error = open(&path).err().unwrap();
    assert!(matches!(error, FilesError::Mixed { what: "MRSIGNER", .. }), "{error}");

    // The same key in the structure, another's signature: EINIT finds that.
    let signature = 516..516 + 384;
    let mut forged = original;
    forged[signature.clone()].copy_from_slice(&sigstruct[signature]);
    fs::write(&sig, forged).unwrap();
    let error = load(&cpu(), &path, Attributes::Signed).err().unwrap();
    assert!(matches!(error, LoadError::Einit(EinitError::Signature)), "{error}");
}

#[test]
fn files_that_lack_or_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy(dir.path());
    change(&path.with_extension("sig"), |sig| sig.truncate(1807));
    assert!(matches!(open(&path), Err(FilesError::SignatureLength { len: 1807, .. })));
    fs::write(path.with_extension("sig"), [0; 1808]).unwrap();
    assert!(matches!(open(&path), Err(FilesError::Signature { .. })));
    fs::remove_file(path.with_extension("sig")).unwrap();
    let error = open(&path).err().unwrap().to_string();
    assert!(error.contains("enclave-os.sig") && error.contains("cargo xtask image"), "{error}");
}

/// DESIGN D14: MRENCLAVE does not cover attributes, so the signature pins them and the key depends on them.
#[test]
fn another_launch_of_the_same_image_gets_no_sealing_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy(dir.path());
    let cpu = cpu();
    let mode64 = 4;
    for (flags, xfrm) in [(mode64 | sgx_emu::ATTRIBUTE_DEBUG, 7), (mode64, 3)] {
        let attributes = Attributes::Exactly { flags, xfrm, misc_select: 0 };
        let error = load(&cpu, &path, attributes).err().unwrap();
        assert!(matches!(error, LoadError::Einit(EinitError::Attribute("ATTRIBUTES"))), "{error}");
    }

    // A signature that allows a debug launch of the same pages: the same MRENCLAVE, another key.
    let production = load(&cpu, &path, Attributes::Signed).unwrap();
    let mrenclave = production.enclave().identity().mrenclave;
    let sigstruct = sign(&Unsigned::new(mrenclave, &parameters(true)), &test_key()).unwrap();
    fs::write(path.with_extension("sig"), sigstruct).unwrap();
    let mut manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path.with_extension("json")).unwrap()).unwrap();
    manifest["debug"] = true.into();
    let mrsigner = image_tool::mrsigner(&sigstruct);
    manifest["mrsigner"] = mrsigner.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    fs::write(path.with_extension("json"), manifest.to_string()).unwrap();
    let files = open(&path).unwrap();
    let refused = files.require_production().err().unwrap();
    assert!(refused.to_string().contains("debug image"), "{refused}");

    let debug = Emulated::load(cpu.clone(), &files, Attributes::Signed).unwrap();
    assert_eq!(debug.enclave().identity().mrenclave, mrenclave);
    let key = |enclave: &Emulated| {
        let request = KeyRequest {
            name: KeyName::SEAL,
            policy: KeyPolicy { mrenclave: true, mrsigner: false },
            isv_svn: 1,
            cpu_svn: cpu.cpu_svn(),
            attribute_mask: [0xff; 16],
            key_id: [7; 32],
            misc_mask: u32::MAX,
        };
        cpu.egetkey(enclave.enclave().identity(), &request).unwrap()
    };
    assert_ne!(key(&production), key(&debug));
}
