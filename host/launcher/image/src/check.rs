//! What a machine has and lacks for running an image on SGX hardware: `enclave-os-host --check-platform`.

use std::arch::x86_64::__cpuid_count;
use std::fs;
use std::path::Path;

use host_services::quoting::{AESM_SOCKET, Aesm, QuoteProvider};
use rustix::fs::{Access, access};
use serde::Serialize;

use crate::dcap_library::DcapLibrary;
use crate::features;
use crate::files::ImageFiles;
use crate::hardware::{self, NODE};

/// Whether a thing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is.
    Ok,
    /// It is not, and one can do without.
    Optional,
    /// It is not, and hardware cannot be used without it.
    Missing,
}

/// One line of the checklist.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is there.
    pub status: Status,
    /// What was seen.
    pub seen: String,
    /// What to do about it, when it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

/// What was asked of the machine; tests make one up.
#[derive(Clone, Debug)]
struct Facts {
    sgx1: bool,
    sgx2: bool,
    flc: bool,
    epc_bytes: u64,
    node: Option<NodeState>,
    provision: Option<NodeState>,
    vdso: Result<(), String>,
    fsgsbase: bool,
    /// What quotes would be made by, or why there are none.
    quoting: Result<String, String>,
    image: Option<Image>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeState {
    Usable,
    Denied,
}

#[derive(Clone, Debug)]
struct Image {
    path: String,
    opened: Result<u64, String>,
    features: Result<(), String>,
}

/// The checklist for this machine and the image at `image`, if there is one.
pub fn check(image: Option<&Path>) -> Vec<Finding> {
    findings(&look(image))
}

/// Whether the list lacks nothing that hardware needs.
pub fn is_ready(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.status != Status::Missing)
}

fn look(image: Option<&Path>) -> Facts {
    let (sgx1, sgx2) = sgx_leaf();
    Facts {
        sgx1,
        sgx2,
        flc: leaf(7, 0).ecx & 1 << 30 != 0,
        epc_bytes: if sgx1 { epc_bytes() } else { 0 },
        node: node_state(NODE),
        provision: node_state("/dev/sgx_provision"),
        vdso: hardware::entry_exists().map_err(|error| error.to_string()),
        fsgsbase: fsgsbase(),
        quoting: quoting(),
        image: image.map(|path| {
            let files = ImageFiles::open(path);
            let features = match &files {
                Ok(files) => features::require(&files.manifest().cpu_features, files.manifest().xfrm)
                    .map_err(|error| error.to_string()),
                Err(_) => Ok(()),
            };
            let opened = files.map(|files| files.manifest().size).map_err(|error| error.to_string());
            Image { path: path.display().to_string(), opened, features }
        }),
    }
}

fn findings(facts: &Facts) -> Vec<Finding> {
    let required = |there| if there { Status::Ok } else { Status::Missing };
    let optional = |there| if there { Status::Ok } else { Status::Optional };
    let mut list = Vec::new();
    let mut put = |name, status, seen: String, advice: &'static str| {
        let advice = (status != Status::Ok).then_some(advice);
        list.push(Finding { name, status, seen, advice });
    };
    let yes_no = |there: bool| if there { "yes" } else { "no" }.to_owned();

    put(
        "CPU: SGX",
        required(facts.sgx1),
        yes_no(facts.sgx1),
        "use a server with SGX (Ice Lake-SP or later) and enable it in the BIOS; in a virtual machine, give the guest \
         an EPC",
    );
    put(
        "CPU: SGX2",
        optional(facts.sgx2),
        yes_no(facts.sgx2),
        "without it guest code lies in pages that stay writable (core.platform says so to clients)",
    );
    put(
        "CPU: flexible launch control",
        required(facts.flc),
        yes_no(facts.flc),
        "enable it in the BIOS: the kernel's driver needs it",
    );
    put(
        "EPC",
        required(facts.epc_bytes > 0),
        format!("{} MiB", facts.epc_bytes >> 20),
        "give memory to SGX in the BIOS (PRMRR)",
    );
    let node = |state: Option<NodeState>| match state {
        Some(NodeState::Usable) => "usable".to_owned(),
        Some(NodeState::Denied) => "there, but not for this user".to_owned(),
        None => "not there".to_owned(),
    };
    put(
        NODE,
        required(facts.node == Some(NodeState::Usable)),
        node(facts.node),
        match facts.node {
            Some(_) => "add this user to the group that owns it (often sgx)",
            None => {
                "use Linux 5.11 or later built with CONFIG_X86_SGX; give a container the device with --device"
            }
        },
    );
    put(
        "vDSO: __vdso_sgx_enter_enclave",
        required(facts.vdso.is_ok()),
        facts.vdso.clone().err().unwrap_or_else(|| "there".to_owned()),
        "use Linux 5.11 or later, with the vDSO switched on",
    );
    put(
        "FSGSBASE",
        required(facts.fsgsbase),
        yes_no(facts.fsgsbase),
        "use Linux 5.9 or later and do not boot with nofsgsbase; the software CPU needs it as well",
    );
    put(
        "quotes",
        optional(facts.quoting.is_ok()),
        facts.quoting.clone().map_or_else(|why| format!("none: {why}"), |by| format!("by {by}")),
        "without quotes clients cannot verify the enclave: install and start Intel's aesmd (sgx-aesm-service, \
         libsgx-aesm-quote-ex-plugin), or install libsgx-dcap-ql",
    );
    put(
        "/dev/sgx_provision",
        optional(facts.provision == Some(NodeState::Usable)),
        node(facts.provision),
        "the quoting service needs it, this program does not: add the service's user to the group sgx_prv",
    );
    match &facts.image {
        None => put(
            "image",
            Status::Missing,
            "none found".to_owned(),
            "make one with `cargo xtask image`, or name one with --image",
        ),
        Some(image) => {
            let seen = match &image.opened {
                Ok(size) => format!("{}, {} MiB", image.path, size >> 20),
                Err(why) => why.clone(),
            };
            put("image", required(image.opened.is_ok()), seen, "make it again with `cargo xtask image`");
            put(
                "CPU: features of the image",
                required(image.features.is_ok()),
                image.features.clone().err().unwrap_or_else(|| "all there".to_owned()),
                "run it on a newer server, or make an image with fewer `cpu_features`",
            );
        }
    }
    list
}

/// CPUID.7.0:EBX.SGX.
pub(crate) fn cpu_has_sgx() -> bool {
    leaf(0, 0).eax >= 7 && leaf(7, 0).ebx & 1 << 2 != 0
}

/// CPUID.12H.0:EAX.SGX2.
pub(crate) fn cpu_has_sgx2() -> bool {
    sgx_leaf().1
}

/// CPUID.12H.0:EAX, bits 0 and 1.
fn sgx_leaf() -> (bool, bool) {
    if !cpu_has_sgx() || leaf(0, 0).eax < 0x12 {
        return (false, false);
    }
    let eax = leaf(0x12, 0).eax;
    (eax & 1 != 0, eax & 2 != 0)
}

/// The sections that CPUID.12H lists from sub-leaf 2 on.
fn epc_bytes() -> u64 {
    (2..32)
        .map(|section| leaf(0x12, section))
        .take_while(|section| section.eax & 0xf == 1)
        .map(|section| u64::from(section.edx & 0xf_ffff) << 32 | u64::from(section.ecx & 0xffff_f000))
        .sum()
}

fn leaf(leaf: u32, sub_leaf: u32) -> std::arch::x86_64::CpuidResult {
    __cpuid_count(leaf, sub_leaf)
}

/// AT_HWCAP2, HWCAP2_FSGSBASE: the kernel lets programs use RDGSBASE.
fn fsgsbase() -> bool {
    const AT_HWCAP2: u64 = 26;
    const FSGSBASE: u64 = 1 << 1;
    let auxiliary = fs::read("/proc/self/auxv").unwrap_or_default();
    let (words, _) = auxiliary.as_chunks::<16>();
    words.iter().any(|pair| {
        let (key, value) = (u128::from_le_bytes(*pair) as u64, (u128::from_le_bytes(*pair) >> 64) as u64);
        key == AT_HWCAP2 && value & FSGSBASE != 0
    })
}

/// AESM first, the DCAP library second, as the host does when it runs.
fn quoting() -> Result<String, String> {
    let aesm = Aesm::new(Path::new(AESM_SOCKET));
    let Err(no_aesm) = aesm.target_info() else { return Ok(aesm.name()) };
    let library = DcapLibrary::default();
    match library.target_info() {
        Ok(_) => Ok(library.name()),
        Err(no_library) => Err(format!("{no_aesm}; {no_library}")),
    }
}

fn node_state(path: &str) -> Option<NodeState> {
    fs::metadata(path).ok()?;
    let usable = access(path, Access::READ_OK | Access::WRITE_OK).is_ok();
    Some(if usable { NodeState::Usable } else { NodeState::Denied })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Facts {
        Facts {
            sgx1: true,
            sgx2: true,
            flc: true,
            epc_bytes: 64 << 30,
            node: Some(NodeState::Usable),
            provision: Some(NodeState::Usable),
            vdso: Ok(()),
            fsgsbase: true,
            quoting: Ok("AESM".to_owned()),
            image: Some(Image { path: "i.sgxs".to_owned(), opened: Ok(2 << 30), features: Ok(()) }),
        }
    }

    #[test]
    fn a_complete_machine_needs_no_advice() {
        let list = findings(&complete());
        assert!(
            is_ready(&list) && list.iter().all(|f| f.status == Status::Ok && f.advice.is_none()),
            "{list:?}"
        );
    }

    #[test]
    fn each_thing_that_lacks_is_named_with_what_to_do() {
        let lacks = |change: fn(&mut Facts)| {
            let mut facts = complete();
            change(&mut facts);
            let list = findings(&facts);
            let mut open: Vec<_> = list.into_iter().filter(|f| f.status != Status::Ok).collect();
            assert_eq!(open.len(), 1, "{open:?}");
            let finding = open.remove(0);
            (finding.name, finding.status, finding.advice.unwrap())
        };
        let missing = [
            lacks(|f| f.sgx1 = false),
            lacks(|f| f.flc = false),
            lacks(|f| f.epc_bytes = 0),
            lacks(|f| f.node = None),
            lacks(|f| f.node = Some(NodeState::Denied)),
            lacks(|f| f.vdso = Err("its vDSO has no such function".to_owned())),
            lacks(|f| f.fsgsbase = false),
            lacks(|f| f.image = None),
            lacks(|f| f.image.as_mut().unwrap().opened = Err("changed after signing".to_owned())),
            lacks(|f| f.image.as_mut().unwrap().features = Err("vaes".to_owned())),
        ];
        assert!(missing.iter().all(|(_, status, _)| *status == Status::Missing), "{missing:?}");
        let optional = [
            lacks(|f| f.sgx2 = false),
            lacks(|f| f.quoting = Err("nobody listens".to_owned())),
            lacks(|f| f.provision = None),
        ];
        assert!(optional.iter().all(|(_, status, _)| *status == Status::Optional), "{optional:?}");
        assert_ne!(missing[3].2, missing[4].2, "no node, and one that is not for this user");
    }

    #[test]
    fn this_machine_can_be_asked() {
        let list = check(None);
        assert!(list.iter().any(|f| f.name == NODE));
        let text = serde_json::to_string(&list).unwrap();
        assert!(text.contains("\"status\":\""), "{text}");
    }
}
