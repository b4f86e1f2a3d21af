//! Runs an EDP program with EDP's own runner on the software SGX CPU: `edp-runner ELF KEY ARGUMENTS...`
//!
//! Nothing of the runner is changed. It asks a loader for an enclave, and enters it by a function that the
//! kernel's vDSO has on a machine with SGX; here both are the software CPU's.

use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use anyhow::{Context, Result, anyhow};
use enclave_runner::{Command, EnclaveBuilder};
use image_tool::{Parameters, SigningKey, Unsigned, convert, mrenclave, sign};
use sgx_emu::SoftwareCpu;
use sgx_isa::{Attributes, Miscselect, Sigstruct};
use sgxs::loader::{Load, Mapping, MappingInfo, Tcs};
use sgxs::sgxs::{SgxsRead, SgxsWrite};

std::arch::global_asm!(
    ".global __vdso_sgx_enter_enclave",
    ".type __vdso_sgx_enter_enclave, @function",
    "__vdso_sgx_enter_enclave:",
    "jmp {}",
    sym sgx_emu::enter_enclave,
);

const PARAMETERS: &str = r#"
heap = 0x100_0000
stack = 0x2_0000
threads = 4
isv_prod_id = 0
isv_svn = 0
debug = false
xfrm = 7
date = 2026-01-01
cpu = "x86-64-v3"
cpu_features = []
"#;

/// Enclaves of one software CPU.
struct Loader(Arc<SoftwareCpu>);

#[derive(Debug)]
struct Enclave(sgx_emu::Enclave);

impl MappingInfo for Enclave {
    fn address(&self) -> *mut libc::c_void {
        self.0.base() as *mut _
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

/// A thread, which keeps its enclave loaded.
#[derive(Debug)]
struct Thread {
    _enclave: sgx_emu::Enclave,
    address: usize,
}

impl Tcs for Thread {
    fn address(&self) -> *mut libc::c_void {
        self.address as *mut _
    }
}

impl Load for Loader {
    type MappingInfo = Enclave;
    type Tcs = Thread;

    fn load<R: SgxsRead>(
        &mut self,
        reader: &mut R,
        sigstruct: &Sigstruct,
        attributes: Attributes,
        miscselect: Miscselect,
    ) -> Result<Mapping<Self>> {
        let mut image = Vec::new();
        while let Some(step) = reader.read_meas()? {
            image.write_meas(&step)?;
        }
        let attributes = sgx_emu::Attributes::Exactly {
            flags: attributes.flags.bits(),
            xfrm: attributes.xfrm,
            misc_select: miscselect.bits(),
        };
        let bytes: &[u8] = sigstruct.as_ref();
        let enclave = sgx_emu::Enclave::load(self.0.clone(), &image, bytes.try_into()?, attributes)?;
        let thread = |&address| Thread { _enclave: enclave.clone(), address };
        let tcss = enclave.tcs().iter().map(thread).collect();
        Ok(Mapping { info: Enclave(enclave), tcss })
    }
}

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut path = |what| arguments.next().ok_or_else(|| anyhow!("no {what} given"));
    let (elf, key) = (path("program")?, path("key")?);
    let parameters = Parameters::from_toml(PARAMETERS)?;
    let image = convert(&fs::read(&elf).context("program")?, &parameters, &[])?;
    let key = SigningKey::from_pem(&fs::read_to_string(key).context("key")?)?;
    let signed = sign(&Unsigned::new(mrenclave(&image.sgxs)?, &parameters), &key)?;

    let file = Path::new(&elf).with_extension("sgxs");
    fs::write(&file, &image.sgxs)?;
    fs::write(file.with_extension("sig"), signed)?;
    let mut builder: EnclaveBuilder<_, Command> =
        EnclaveBuilder::new(enclave_runner_sgx::EnclaveBuilder::new(&file));
    builder.args(arguments);
    builder.build(Loader(Arc::new(SoftwareCpu::ephemeral())))?.run()
}
