//! Runs an image that is not ours: `foreign-report report.sgxs KEY`.
//!
//! It is the enclave of the crate `report-test`, which makes a report for whoever its last page names, and
//! copies that to the address it is called with. The page is not in its file; its loader adds it.

use std::sync::Arc;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use image_tool::{Parameters, SigningKey, Unsigned, mrenclave, sign};
use sgx_emu::{
    Attributes, Enclave, EnclaveRun, EnclaveState, KeyName, KeyPolicy, KeyRequest, REPORT_LEN, SoftwareCpu,
    enter_enclave, report_is_authentic, target_info,
};
use sgx_isa::{PageType, SecinfoFlags};
use sgxs::sgxs::{PageChunk, SecinfoTruncated, SgxsWrite};

const PARAMETERS: &str = r#"
heap = 0x100_0000
stack = 0x2_0000
threads = 1
isv_prod_id = 3
isv_svn = 4
debug = false
xfrm = 7
date = 2026-01-01
cpu = "x86-64-v3"
cpu_features = []
"#;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut image = fs::read(arguments.next().context("no image given")?)?;
    let key = fs::read_to_string(arguments.next().context("no key given")?)?;

    let target = EnclaveState { mrenclave: [5; 32], ..EnclaveState::development() };
    let page = target_info(&target);
    let secinfo = SecinfoTruncated { flags: SecinfoFlags::R | SecinfoFlags::W | PageType::Reg.into() };
    image.write_page((&mut &page[..], [PageChunk::Included; 16]), 0x3000, secinfo)?;
    let parameters = Parameters::from_toml(PARAMETERS)?;
    let signed = sign(&Unsigned::new(mrenclave(&image)?, &parameters), &SigningKey::from_pem(&key)?)?;

    let cpu = Arc::new(SoftwareCpu::ephemeral());
    let enclave = Enclave::load(Arc::clone(&cpu), &image, &signed, Attributes::Signed)?;
    let mut report = [0; REPORT_LEN];
    let mut run = EnclaveRun::new(*enclave.tcs().first().context("no TCS")? as u64);
    // SAFETY: the enclave writes a report to the address it is called with, and keeps to the ABI of EDP.
    let status = unsafe { enter_enclave(report.as_mut_ptr() as u64, 0, 0, 2, 0, 0, &mut run) };
    ensure!(status == 0 && run.function == 4, "{status}, {run:?}, {:?}", sgx_emu::last_fault());

    let request = KeyRequest {
        name: KeyName::REPORT,
        policy: KeyPolicy::default(),
        isv_svn: 0,
        cpu_svn: [0; 16],
        attribute_mask: [0; 16],
        key_id: report[384..416].try_into()?,
        misc_mask: 0,
    };
    let key = |state| cpu.egetkey(state, &request).map_err(|code| anyhow::anyhow!("EGETKEY: {code}"));
    ensure!(report_is_authentic(&key(&target)?, &report), "the target cannot verify the report");
    ensure!(!report_is_authentic(&key(enclave.identity())?, &report), "others can");
    ensure!(report[64..96] == mrenclave(&image)? && report[256..260] == [3, 0, 4, 0], "another identity");
    println!("a report of {}", report[64..96].iter().map(|b| format!("{b:02x}")).collect::<String>());
    Ok(())
}
