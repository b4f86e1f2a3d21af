//! `enclave-os unload`.

use std::io::{BufRead, IsTerminal, Write};

use enclave_os_client::Reply;

use crate::args::Unload;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Session;

pub(crate) fn run(session: &Session, args: &Unload) -> Result<(), Failure> {
    let ask = !args.yes && !session.json && std::io::stdin().is_terminal();
    if ask && !confirmed(&args.name) {
        return Err(Failure::usage("not unloaded"));
    }
    session.warn();
    if !session.framed()?.unload(&args.name)? {
        let message = format!("no application is called `{}`", args.name);
        return Err(
            Failure::new(Exit::Refused, "not_found", message).hint("`enclave-os list` shows what is loaded")
        );
    }
    if session.json {
        output::json(&Reply::Unloaded { name: args.name.clone() });
        return Ok(());
    }
    output::done("unloaded", &args.name);
    Ok(())
}

fn confirmed(name: &str) -> bool {
    let mut answer = String::new();
    let mut stderr = std::io::stderr();
    let asked =
        write!(stderr, "Unload {name} and erase its data for good? [y/N] ").and_then(|()| stderr.flush());
    asked.is_ok()
        && std::io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim(), "y" | "Y" | "yes")
}
