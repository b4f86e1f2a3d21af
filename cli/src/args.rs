//! Arguments as they are typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Where a server is expected when none is named.
pub(crate) const DEFAULT_SERVER: &str = "127.0.0.1:8443";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the server refused, or the application failed
  2  the command line is wrong
  3  no connection, or not this protocol
  4  the enclave could not be verified
  5  something on this machine: a file, or the compiler
`run` ends with the code of its program.

Results go to stdout, everything else to stderr.";

/// Verify an enclave, load applications into it and call them.
#[derive(Debug, Parser)]
#[command(name = "enclave-os", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The server, host:port
    #[arg(long, global = true, value_name = "HOST:PORT", env = "ENCLAVE_OS_SERVER", default_value = DEFAULT_SERVER)]
    pub(crate) server: String,
    /// Name to ask for (SNI) and to demand in the certificate [default: the host of the server; with --policy no
    /// name is demanded]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// The policy (TOML) that the enclave has to pass before it gets a byte [env: ENCLAVE_OS_VERIFY_POLICY]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "ca")]
    pub(crate) policy: Option<PathBuf>,
    /// How fresh its evidence has to be; the policy's minimum stays [default: channel]
    #[arg(long, global = true, value_enum)]
    pub(crate) tier: Option<Tier>,
    /// Certificate authorities (PEM) the enclave's certificate must lead to. No quote is checked: --policy does
    /// [env: ENCLAVE_OS_CA]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// An operator's key: each command goes with the token that it needs
    #[arg(long, global = true, value_name = "FILE", env = "ENCLAVE_OS_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// Print JSON, in the shapes of docs/cli.md
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What a server is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Nobody,
    /// A certificate authority.
    Authority(PathBuf),
    /// A policy; `named` on the command line, or else by the environment.
    Policy {
        file: PathBuf,
        named: bool,
    },
}

impl Global {
    /// What was typed counts, else what the environment says; a policy before an authority, since it demands more.
    pub(crate) fn trust(&self, environment: impl Fn(&str) -> Option<OsString>) -> Trust {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        match (&self.policy, &self.ca) {
            (Some(file), _) => Trust::Policy { file: file.clone(), named: true },
            (None, Some(file)) => Trust::Authority(file.clone()),
            (None, None) => match (variable("ENCLAVE_OS_VERIFY_POLICY"), variable("ENCLAVE_OS_CA")) {
                (Some(file), _) => Trust::Policy { file, named: false },
                (None, Some(file)) => Trust::Authority(file),
                (None, None) => Trust::Nobody,
            },
        }
    }

    /// Everything that says where the server is and what is demanded of it.
    pub(crate) fn demands(&self) -> impl PartialEq + '_ {
        (&self.server, &self.server_name, &self.policy, self.tier, &self.ca, &self.key)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Verify an enclave and report what runs there; exit code 0 only if the policy holds
    Verify(Verify),
    /// Verify, then type commands: those of this program, or raw JSON
    Shell(Shell),
    /// Show what a certificate, a quote or an evidence document says, without judging it
    Inspect(Inspect),
    /// Compile a component (.wasm) to what an enclave takes (.cwasm)
    Compile(Compile),
    /// Load an application; a .wasm is compiled here first, for the target the server names
    Load(Box<Load>),
    /// Call a function: enclave-os call test-app 'kv-store("greeting", "hi")'
    Call(Call),
    /// Run a program (wasi:cli/run) with its standard streams here; the exit code is the program's
    Run(Run),
    /// List the applications that are loaded
    List,
    /// Unload an application and erase its data for good
    Unload(Unload),
    /// Show the functions of an application with their types
    Schema(Schema),
    /// Show what a server runs on, and what its certificate claims
    #[command(visible_alias = "ready")]
    Status,
    /// Check that a configuration leaf is part of what the certificate names
    Proof(Proof),
    /// The enclave's certificate authority
    #[command(subcommand)]
    Ca(Ca),
    /// Print a token of --key, for other programs: curl -H "Authorization: Bearer $(enclave-os token)"
    Token(Token),
    /// Operators' keys: make one, show one, vouch for one
    #[command(subcommand)]
    Key(Key),
    /// The PKI under which enclaves on platforms emulated and native are quoted; it proves nothing
    #[command(subcommand)]
    DevPki(DevPki),
}

/// How fresh evidence is (`docs/formats/certificates.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// The certificate as it is served
    Certificate,
    /// A certificate made for this connection
    Challenge,
    /// A quote over this connection's keys
    Channel,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Verify {
    /// The server [default: that of --server]
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// An application that has to run there
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// Judge this evidence document (JSON) in place of a server
    #[arg(long, value_name = "FILE", conflicts_with_all = ["address", "write_policy", "tier", "server_name"])]
    pub(crate) evidence: Option<PathBuf>,
    /// Write a policy that accepts exactly what is seen now. Look at it before you rely on it
    #[arg(long, value_name = "FILE")]
    pub(crate) write_policy: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Shell {
    /// The server [default: that of --server]
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Inspect {
    /// Certificates (PEM or DER), a quote, or an evidence document
    pub(crate) file: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Compile {
    /// The component
    pub(crate) file: PathBuf,
    /// Where to write the artifact [default: beside the component, as .cwasm]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The target triple [default: that of this machine; `status` shows a server's]
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Load {
    /// The component (.wasm) or artifact (.cwasm)
    pub(crate) file: PathBuf,
    /// Its name: a-z, 0-9 and '-' [default: made from the file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Server name of its own certificate [default: its name]
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Where its HTTP handler answers [default: /NAME]
    #[arg(long, value_name = "PATH")]
    pub(crate) route_prefix: Option<String>,
    /// Environment variable, measured with its value (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// Environment variable measured by a salted hash only (repeatable). KEY alone takes the value from this
    /// shell's environment, KEY=@FILE from a file
    #[arg(long, value_name = "KEY[=VALUE|=@FILE]")]
    pub(crate) secret: Vec<String>,
    /// A host it may reach (repeatable) [default: any]
    #[arg(long, value_name = "HOST", conflicts_with = "no_egress")]
    pub(crate) egress: Vec<String>,
    /// It may reach no host at all
    #[arg(long)]
    pub(crate) no_egress: bool,
    /// File with your own 32-byte key for its data, 64 hex digits (BYOK)
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Fuel of one call [server's default: 10000000]
    #[arg(long, value_name = "N")]
    pub(crate) max_fuel: Option<String>,
    /// Memory of one call, such as 64MiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_memory: Option<String>,
    /// What all its calls together may keep in the store, such as 2GiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_store: Option<String>,
    /// Keys that all its calls together may keep in buckets, such as 50000
    #[arg(long, value_name = "N")]
    pub(crate) max_store_keys: Option<String>,
    /// Time of one call, such as 10s or 500ms
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Its version, for its configuration and its environment
    #[arg(long, value_name = "VERSION")]
    pub(crate) app_version: Option<String>,
    /// Who may keep its data when its code is replaced
    #[arg(long, value_enum)]
    pub(crate) data_policy: Option<DataPolicy>,
    /// Where its log goes
    #[arg(long, value_enum)]
    pub(crate) log_policy: Option<LogPolicy>,
    /// Who may call it
    #[arg(long, value_enum)]
    pub(crate) access: Option<Access>,
    /// Fuel of one HTTP request [server's default: 1000000000]
    #[arg(long, value_name = "N")]
    pub(crate) http_max_fuel: Option<String>,
    /// Time in which nothing of an HTTP request or its answer moves, such as 60s
    #[arg(long, value_name = "TIME")]
    pub(crate) http_idle_timeout: Option<String>,
    /// Time of one HTTP request with its answer, such as 5m
    #[arg(long, value_name = "TIME")]
    pub(crate) http_timeout: Option<String>,
    /// Body of an HTTP request, such as 64MiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) http_max_request: Option<String>,
    /// Body of the answer to an HTTP request, such as 1GiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) http_max_response: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DataPolicy {
    /// Nobody: data belongs to exactly this code
    CodeHash,
    /// Whoever may load
    Operator,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogPolicy {
    /// To the host, in clear
    Host,
    /// Nowhere
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Access {
    /// Anyone who can connect
    Open,
    /// Whoever holds a token
    Token,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Call {
    /// The application's name
    pub(crate) app: String,
    /// The call in WAVE, such as 'kv-store("greeting", "hi")'; without parameters the name is enough
    #[arg(value_name = "CALL")]
    pub(crate) call: String,
    /// Parameters as a JSON array or object, in place of WAVE
    #[arg(long, value_name = "JSON")]
    pub(crate) params: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// The application's name
    pub(crate) app: String,
    /// What its standard input is; - is that of this program [default: empty]
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
    /// Its arguments, behind --
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Unload {
    /// The application's name
    pub(crate) name: String,
    /// Do not ask, even on a terminal
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Schema {
    /// The application's name
    pub(crate) app: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Proof {
    /// The leaf, such as app.test-app.code_hash; without it all leaves are checked and listed
    pub(crate) leaf: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Print the certificate signing request, for an operator to sign
    Csr {
        /// Write it to a file
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Install the certificate chain an operator made of the request
    Install {
        /// The chain (PEM): the enclave's new CA certificate first
        chain: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevPki {
    /// Write root, PCK chain, collateral and the policy lines that accept this root; makes or renews what is missing
    Export {
        /// The folder to write to
        #[arg(short, long, value_name = "DIR", default_value = "enclave-os-dev-pki")]
        out: PathBuf,
        /// The folder of the PKI [default: $ENCLAVE_OS_DEV_PKI, else that of this user]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Show the root's fingerprint, and how long the collateral is good
    Show {
        /// The folder of the PKI [default: $ENCLAVE_OS_DEV_PKI, else that of this user]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Renew the collateral; root and PCK stay. Makes a PKI if there is none
    Renew {
        /// The folder of the PKI [default: $ENCLAVE_OS_DEV_PKI, else that of this user]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Token {
    /// What it is for [default: monitoring; with --app app]
    #[arg(long, value_enum)]
    pub(crate) role: Option<Role>,
    /// An application that it is for (repeatable) [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Vec<String>,
    /// How long it lives, such as 90s or 5m, which is the most
    #[arg(long, value_name = "TIME", default_value = "5m")]
    pub(crate) lifetime: String,
    /// The enclave: SHA-256 of its CA's public key, hex [default: that of the server, which is asked]
    #[arg(long, value_name = "HEX")]
    pub(crate) audience: Option<String>,
    /// The one-time nonce of the connection that it is for, as the server gave it
    #[arg(long)]
    pub(crate) nonce: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key, and print the lines that a policy file needs
    New(NewKey),
    /// Show a key's public part and what vouches for it
    Show {
        /// The key's file
        file: PathBuf,
    },
    /// Let the root --key vouch for another key
    Delegate(Delegate),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NewKey {
    /// Where to write it; never over another file
    pub(crate) file: PathBuf,
    /// Which kind
    #[arg(long, value_enum, default_value = "p256")]
    pub(crate) algorithm: Algorithm,
    /// The operator's name, for the policy
    #[arg(long, default_value = "operator")]
    pub(crate) name: String,
    /// The operator's role, for the policy
    #[arg(long, value_enum, default_value = "manager")]
    pub(crate) role: Role,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Delegate {
    /// The key to vouch for: its public key (PEM or JWK), or its own file
    pub(crate) to: PathBuf,
    /// What it may do at most; not more than the root
    #[arg(long, value_enum)]
    pub(crate) role: Role,
    /// An application that it is for (repeatable) [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Vec<String>,
    /// For how many days
    #[arg(long, value_name = "N", default_value = "30")]
    pub(crate) days: u16,
    /// Whom it is for, for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Write it to a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// The kinds of keys.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Algorithm {
    /// ECDSA P-256, tokens are ES256
    P256,
    /// Ed25519, tokens are EdDSA
    Ed25519,
}

/// What tokens and keys are for; each includes those before it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// Call applications that demand a token
    App,
    /// See lists and metrics
    Monitoring,
    /// Load, unload, read logs, install a CA
    Manager,
}

impl From<Role> for attestation::operator_token::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::App => Self::App,
            Role::Monitoring => Self::Monitoring,
            Role::Manager => Self::Manager,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_is_typed_wins_over_the_environment() {
        let trust = |typed: &[&str], set: &[(&str, &str)]| {
            let line = ["enclave-os", "list"].iter().chain(typed);
            let global = Args::try_parse_from(line).unwrap().global;
            global.trust(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        let policy = |file: &str, named| Trust::Policy { file: file.into(), named };
        let both = [("ENCLAVE_OS_VERIFY_POLICY", "p"), ("ENCLAVE_OS_CA", "c")];
        assert_eq!(trust(&["--ca", "mine"], &both), Trust::Authority("mine".into()));
        assert_eq!(trust(&["--policy", "mine"], &both), policy("mine", true));
        assert_eq!(trust(&[], &both), policy("p", false));
        assert_eq!(trust(&[], &both[1..]), Trust::Authority("c".into()));
        assert_eq!(trust(&[], &[("ENCLAVE_OS_VERIFY_POLICY", "")]), Trust::Nobody);
        assert!(Args::try_parse_from(["enclave-os", "list", "--ca", "c", "--policy", "p"]).is_err());
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in [
            ["enclave-os", "--server", "h:1", "--json", "list"],
            ["enclave-os", "list", "--json", "--server", "h:1"],
        ] {
            let args = Args::try_parse_from(line).unwrap();
            assert!(args.global.json && args.global.server == "h:1");
        }
    }

    #[test]
    fn every_command_has_help_that_fits_a_terminal() {
        let mut command = Args::command();
        command.build();
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{} has no description", sub.get_name());
        }
    }

    #[test]
    fn egress_hosts_and_no_egress_exclude_each_other() {
        let line = ["enclave-os", "load", "a.wasm", "--egress", "h", "--no-egress"];
        assert!(Args::try_parse_from(line).is_err());
    }
}
