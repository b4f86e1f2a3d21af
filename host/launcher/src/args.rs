//! What a person types.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use host_services::log;
use host_services::network::Route;

/// Runs an Enclave OS enclave and carries bytes for it: connections, ciphertext, time, log lines.
#[derive(Debug, Parser)]
#[command(
    name = "enclave-os-host",
    version,
    after_help = "Exit codes: 0 stopped in order; 1 the enclave or the host failed; 2 wrong usage; 3 cannot listen; \
                  4 data directory; 5 policy; 6 platform; 7 the enclave refused to start; 128+N ended by a second \
                  signal N.\nSIGTERM and SIGINT stop it in order: open work is finished, everything is flushed and \
                  sealed. A second one stops it at once."
)]
pub(crate) struct Args {
    /// Port to listen on; 0 takes a free one
    #[arg(short, long, value_name = "PORT", default_value_t = 8443)]
    pub(crate) port: u16,

    /// Address to listen on [default: 0.0.0.0; with a development policy 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<IpAddr>,

    /// Directory for sealed records; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "enclave-os-data")]
    pub(crate) data_dir: PathBuf,

    /// What the enclave runs on
    #[arg(long, value_enum, default_value_t = PlatformChoice::Auto)]
    pub(crate) platform: PlatformChoice,

    /// Enclave image: FILE.sgxs, with FILE.sig and FILE.json beside it [default: enclave-os.sgxs beside this
    /// program, else target/image/enclave-os.sgxs]
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,

    /// Enclave threads that serve clients [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,

    /// Policy file (TOML): who may load code. Without one, nobody may. For platform native: an image has its own
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// Sends what the enclave dials as HOST:PORT to ADDRESS:PORT instead; may be repeated
    #[arg(long, value_name = "HOST:PORT:ADDRESS:PORT")]
    pub(crate) resolve: Vec<Route>,

    /// Folder of the development PKI, which makes quotes on platforms native and emulated; made if it is not there
    /// [default: $ENCLAVE_OS_DEV_PKI, else enclave-os/dev-pki in $XDG_DATA_HOME or ~/.local/share]
    #[arg(long, value_name = "DIR")]
    pub(crate) dev_pki: Option<PathBuf>,

    /// Renews the collateral of the development PKI (makes the PKI if there is none), says where it lies, and starts
    /// nothing
    #[arg(long, conflicts_with_all = ["check_platform", "json"])]
    pub(crate) renew_dev_pki: bool,

    /// PCCS (or Intel's PCS) to fetch collateral from, so that clients can verify quotes offline. For platform sgx
    #[arg(long, value_name = "URL", conflicts_with = "collateral_dir")]
    pub(crate) pccs_url: Option<String>,

    /// Certificate authorities (PEM) that the PCCS's certificate must lead to [default: Mozilla's]
    #[arg(long, value_name = "FILE", requires = "pccs_url")]
    pub(crate) pccs_ca: Option<PathBuf>,

    /// Folder with collateral documents (*.json), for a machine that reaches no PCCS. For platform sgx
    #[arg(long, value_name = "DIR")]
    pub(crate) collateral_dir: Option<PathBuf>,

    /// Does not start the enclave again when it crashes
    #[arg(long)]
    pub(crate) no_restart: bool,

    /// Says what this machine has and lacks for SGX, and what to do about it; starts nothing
    #[arg(long)]
    pub(crate) check_platform: bool,

    /// With --check-platform: one JSON object
    #[arg(long, requires = "check_platform")]
    pub(crate) json: bool,

    /// How log lines are written to standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// `--platform`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlatformChoice {
    /// SGX hardware, else emulated, else native
    Auto,
    /// In this process; protects nothing
    Native,
    /// The image on a software SGX CPU; protects nothing
    Emulated,
    /// SGX hardware
    Sgx,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

impl From<LogFormat> for log::Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => log::Format::Text,
            LogFormat::Json => log::Format::Json,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_are_read() {
        let line =
            ["enclave-os-host", "-p", "0", "--resolve", "a:443:127.0.0.1:1", "--resolve", "b:443:[::1]:1"];
        let args = Args::try_parse_from(line).unwrap();
        assert_eq!((args.port, args.resolve.len(), args.platform), (0, 2, PlatformChoice::Auto));
        assert!(Args::try_parse_from(["enclave-os-host", "--workers", "0"]).is_err());
        assert!(Args::try_parse_from(["enclave-os-host", "--json"]).is_err());
        assert!(Args::try_parse_from(["enclave-os-host", "--resolve", "a"]).is_err());
    }
}
