//! One file per command.

mod ca;
mod call;
mod compile;
mod dev_pki;
mod inspect;
mod key;
mod list;
mod load;
mod pin;
mod proof;
mod run;
mod schema;
mod shell;
mod status;
mod token;
mod unload;
mod verdict;
mod verify;

use attestation::hex::encode as hex;

use crate::args::{Args, Command, Shell, Verify};
use crate::failure::Failure;
use crate::session::Session;

pub(crate) fn run(mut args: Args) -> Result<(), Failure> {
    // Those two may name the server like a file.
    if let Command::Verify(Verify { address: Some(address), .. })
    | Command::Shell(Shell { address: Some(address) }) = &args.command
    {
        args.global.server.clone_from(address);
    }
    match alone(&args) {
        Some(done) => done,
        None => on(&Session::resolve(&args.global)?, &args),
    }
}

/// A command that talks to nobody.
fn alone(args: &Args) -> Option<Result<(), Failure>> {
    let json = args.global.json;
    Some(match &args.command {
        Command::Inspect(inspect) => inspect::run(inspect, json),
        Command::Compile(compile) => compile::run(compile, json),
        Command::DevPki(command) => dev_pki::run(command, json),
        Command::Key(command) => key::run(command, args.global.key.as_deref(), json),
        _ => return None,
    })
}

/// A command with its server; one that needs none has its own way.
fn on(session: &Session, args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Verify(verify) => verify::run(session, verify),
        Command::Shell(_) => shell::run(session),
        Command::Load(load) => load::run(session, load),
        Command::Call(call) => call::run(session, call),
        Command::Run(run) => run::run(session, run),
        Command::List => list::run(session),
        Command::Unload(unload) => unload::run(session, unload),
        Command::Schema(schema) => schema::run(session, schema),
        Command::Status => status::run(session),
        Command::Proof(proof) => proof::run(session, proof),
        Command::Ca(ca) => ca::run(session, ca),
        Command::Token(token) => token::run(session, token),
        Command::Inspect(_) | Command::Compile(_) | Command::DevPki(_) | Command::Key(_) => {
            alone(args).unwrap_or(Ok(()))
        }
    }
}
