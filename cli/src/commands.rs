//! One file per command.

mod ca;
mod call;
mod compile;
mod dev_pki;
mod list;
mod load;
mod proof;
mod schema;
mod status;
mod unload;

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::session::Session;

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    if let Command::Compile(compile) = &args.command {
        return compile::run(compile, args.global.json);
    }
    if let Command::DevPki(command) = &args.command {
        return dev_pki::run(command, args.global.json);
    }
    let session = Session::resolve(&args.global)?;
    match &args.command {
        Command::Compile(compile) => compile::run(compile, session.json),
        Command::Load(load) => load::run(&session, load),
        Command::Call(call) => call::run(&session, call),
        Command::List => list::run(&session),
        Command::Unload(unload) => unload::run(&session, unload),
        Command::Schema(schema) => schema::run(&session, schema),
        Command::Status => status::run(&session),
        Command::Proof(proof) => proof::run(&session, proof),
        Command::Ca(ca) => ca::run(&session, ca),
        Command::DevPki(command) => dev_pki::run(command, session.json),
    }
}

/// Lower-case hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
