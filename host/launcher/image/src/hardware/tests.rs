//! A played kernel: what it is asked, and what each of its refusals becomes.

use std::sync::Mutex;

use super::*;

const SIZE: u64 = 0x8000;
const BASE: usize = 0x7000_0000;

/// Records what it is asked; fails one kind of request.
#[derive(Default)]
struct Played {
    asked: Mutex<Vec<Asked>>,
    fails: Option<(u32, Errno)>,
    map_fails: Option<Errno>,
    /// RESTRICT_PERMISSIONS does this many bytes at a time.
    step: u64,
    interruptions: Mutex<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Create { size: u64, base: u64, ssa_frame_size: u32, attributes: [u8; 16] },
    Add { offset: u64, length: u64, first: u8, flags: u64, secinfo: u64 },
    Init { first: u8 },
    Restrict { offset: u64, length: u64, permissions: u64 },
    Map { start: usize, bytes: usize, permissions: Permissions },
}

/// What the argument points to. The kernel wants it aligned.
fn at<const N: usize>(address: u64, alignment: u64) -> [u8; N] {
    assert_eq!(address % alignment, 0, "{address:#x}");
    // SAFETY: the loader passes addresses of structures of at least this size that outlive the call.
    unsafe { std::ptr::with_exposed_provenance::<[u8; N]>(address as usize).read() }
}

impl Kernel for Played {
    fn reserve(&self, size: usize) -> Result<usize, Errno> {
        assert_eq!(size as u64, SIZE);
        Ok(BASE)
    }

    fn ioctl(&self, opcode: u32, argument: &mut [u64]) -> Result<(), Errno> {
        assert_eq!((opcode >> 16 & 0x3fff) as usize, argument.len() * 8);
        let mut interruptions = self.interruptions.lock().unwrap();
        if *interruptions > 0 {
            *interruptions -= 1;
            return Err(Errno::INTR);
        }
        if let Some((failing, error)) = self.fails
            && failing == opcode
        {
            return Err(error);
        }
        let asked = match (opcode, &mut *argument) {
            (ioctl::CREATE, [src]) => {
                let secs: [u8; 64] = at(*src, 4096);
                Asked::Create {
                    size: u64::from_le_bytes(*secs.first_chunk().unwrap()),
                    base: u64::from_le_bytes(*secs[8..].first_chunk().unwrap()),
                    ssa_frame_size: u32::from_le_bytes(*secs[16..].first_chunk().unwrap()),
                    attributes: *secs[48..].first_chunk().unwrap(),
                }
            }
            (ioctl::ADD_PAGES, [src, offset, length, secinfo, flags, count]) => {
                *count = *length;
                let first = at::<4096>(*src, 4096)[0];
                let secinfo = u64::from_le_bytes(*at::<64>(*secinfo, 64).first_chunk().unwrap());
                Asked::Add { offset: *offset, length: *length, first, flags: *flags, secinfo }
            }
            (ioctl::INIT, [sigstruct]) => Asked::Init { first: at::<1808>(*sigstruct, 4096)[0] },
            (ioctl::RESTRICT_PERMISSIONS, [offset, length, permissions, _, count]) => {
                *count = self.step.min(*length);
                Asked::Restrict { offset: *offset, length: *length, permissions: *permissions }
            }
            other => panic!("{other:x?}"),
        };
        self.asked.lock().unwrap().push(asked);
        Ok(())
    }

    fn map(&self, start: usize, bytes: usize, permissions: Permissions) -> Result<(), Errno> {
        if let Some(error) = self.map_fails {
            return Err(error);
        }
        self.asked.lock().unwrap().push(Asked::Map { start, bytes, permissions });
        Ok(())
    }
}

struct Sig;

impl Signed for Sig {
    fn sigstruct(&self) -> &[u8; 1808] {
        &[6; 1808]
    }

    fn attributes(&self) -> [u8; 16] {
        sgx_emu::attributes(4, 7)
    }

    fn misc_select(&self) -> u32 {
        0
    }
}

fn block(tag: &[u8; 8], fields: &[u8]) -> Vec<u8> {
    let mut block = [tag.as_slice(), fields].concat();
    block.resize(64, 0);
    block
}

/// An SGXS file: (offset, SECINFO flags, measured chunks) for each page.
fn image(pages: &[(u64, u64, usize)]) -> Vec<u8> {
    let header = [1u32.to_le_bytes().as_slice(), &SIZE.to_le_bytes()].concat();
    let mut file = block(b"ECREATE\0", &header);
    for &(offset, flags, chunks) in pages {
        file.extend(block(b"EADD\0\0\0\0", &[offset.to_le_bytes(), flags.to_le_bytes()].concat()));
        for chunk in 0..chunks as u64 {
            file.extend(block(b"EEXTEND\0", &(offset + chunk * 256).to_le_bytes()));
            file.extend([0xcc; 256]);
        }
    }
    file
}

const CODE: u64 = 0x205;
const DATA: u64 = 0x203;
const TCS: u64 = 0x100;
const PAGES: [(u64, u64, usize); 4] =
    [(0, CODE, 16), (0x1000, DATA, 0), (0x2000, DATA, 0), (0x4000, TCS, 16)];

fn load(kernel: Played) -> Result<Loaded<Played>, HardwareError> {
    Loaded::load(kernel, &image(&PAGES), &Sig, true)
}

fn failing(opcode: u32, error: Errno) -> HardwareError {
    load(Played { fails: Some((opcode, error)), ..Played::default() }).err().unwrap()
}

#[test]
fn opcodes_are_those_of_the_header() {
    let opcodes = [ioctl::CREATE, ioctl::ADD_PAGES, ioctl::INIT, ioctl::RESTRICT_PERMISSIONS];
    assert_eq!(opcodes, [0x4008_a400, 0xc030_a401, 0x4008_a402, 0xc028_a405]);
}

#[test]
fn the_kernel_is_asked_for_what_the_image_says() {
    let loaded = load(Played { interruptions: Mutex::new(3), ..Played::default() }).unwrap();
    let rw = Permissions { read: true, write: true, execute: false };
    let rx = Permissions { read: true, write: false, execute: true };
    let add = |offset, first, flags, secinfo| Asked::Add { offset, length: 4096, first, flags, secinfo };
    let attributes = sgx_emu::attributes(4, 7);
    assert_eq!(
        *loaded.kernel.asked.lock().unwrap(),
        [
            Asked::Create { size: SIZE, base: BASE as u64, ssa_frame_size: 1, attributes },
            add(0, 0xcc, 1, CODE),
            add(0x1000, 0, 0, DATA),
            add(0x2000, 0, 0, DATA),
            add(0x4000, 0xcc, 1, TCS),
            Asked::Init { first: 6 },
            Asked::Map { start: BASE, bytes: 0x1000, permissions: rx },
            Asked::Map { start: BASE + 0x1000, bytes: 0x2000, permissions: rw },
            Asked::Map { start: BASE + 0x4000, bytes: 0x1000, permissions: rw },
        ]
    );
    assert_eq!((loaded.tcs, loaded.range), (vec![BASE + 0x4000], BASE..BASE + SIZE as usize));
}

#[test]
fn each_refusal_of_the_kernel_says_what_to_do() {
    for opcode in [ioctl::CREATE, ioctl::ADD_PAGES, ioctl::INIT] {
        let error = failing(opcode, Errno::NOMEM);
        assert!(matches!(error, HardwareError::NoEpc { size: SIZE }), "{error}");
        assert!(error.to_string().contains("smaller `heap`"));
    }
    let error = failing(ioctl::CREATE, Errno::INVAL).to_string();
    assert!(error.contains("ECREATE") && error.contains("XFRM"), "{error}");
    let error = failing(ioctl::ADD_PAGES, Errno::IO).to_string();
    assert!(error.contains("the page at offset 0x0"), "{error}");
    let error = failing(ioctl::INIT, Errno::PERM).to_string();
    assert!(error.contains("launch control") && error.contains("Sign it again"), "{error}");
    let error = load(Played { map_fails: Some(Errno::PERM), ..Played::default() }).err().unwrap();
    assert!(matches!(error, HardwareError::NoExec), "{error}");
}

#[test]
fn a_node_that_does_not_open_says_what_to_do() {
    let cases = [
        (Errno::NOENT, false, "has no SGX"),
        (Errno::NOENT, true, "no driver"),
        (Errno::ACCESS, true, "add this user to the group"),
        (Errno::MFILE, true, "opening /dev/sgx_enclave failed"),
    ];
    for (error, cpu_has_sgx, text) in cases {
        let said = open_error(error, cpu_has_sgx).to_string();
        assert!(said.contains(text), "{said}");
    }
}

#[test]
fn pages_that_the_kernel_cannot_add_are_named() {
    let load = |pages: &[_]| Loaded::load(Played::default(), &image(pages), &Sig, true).err().unwrap();
    let error = load(&[(0x3000, CODE, 15)]);
    assert!(matches!(error, HardwareError::PartlyMeasured(0x3000)), "{error}");
    for page in [(0x3000, 0x305, 0), (0x3001, CODE, 0), (SIZE, CODE, 0)] {
        let error = load(&[page]);
        assert!(matches!(error, HardwareError::Secinfo(offset) if offset == page.0), "{error}");
    }
    assert!(matches!(load(&[(0, CODE, 16), (0, 0, 0)]), HardwareError::Secinfo(0)));
    let cut = Loaded::load(Played::default(), &image(&PAGES)[..100], &Sig, true).err().unwrap();
    assert!(matches!(cut, HardwareError::Sgxs(_)), "{cut}");
}

#[test]
fn permissions_are_restricted_until_all_pages_are_done() {
    let loaded = load(Played { step: 0x2000, ..Played::default() }).unwrap();
    loaded.kernel.asked.lock().unwrap().clear();
    loaded.restrict(0x1000, 0x3000, 1).unwrap();
    let restrict = |offset, length| Asked::Restrict { offset, length, permissions: 1 };
    assert_eq!(*loaded.kernel.asked.lock().unwrap(), [restrict(0x1000, 0x3000), restrict(0x3000, 0x1000)]);
    let stuck = load(Played::default()).unwrap();
    assert!(stuck.restrict(0x1000, 0x1000, 1).unwrap_err().to_string().contains("stopped at offset 0x1000"));
    let no_sgx2 = Played { fails: Some((ioctl::RESTRICT_PERMISSIONS, Errno::NODEV)), ..Played::default() };
    assert!(load(no_sgx2).unwrap().restrict(0, 0x1000, 1).is_err());
}
