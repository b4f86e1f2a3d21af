//! `enclave-os run`: a program, its standard streams here.

use std::io::Read;
use std::path::Path;

use enclave_os_client::{ClientError, CommandInput, Reply};

use crate::args::Run;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Session;

pub(crate) fn run(session: &Session, args: &Run) -> Result<(), Failure> {
    session.warn();
    let stdin = args.stdin.as_deref().map(input).transpose()?.unwrap_or_default();
    let input = CommandInput { args: args.arguments.clone(), stdin };
    let mut exited = session.framed()?.run(&args.app, input)?;
    let error = exited.error.take();
    let (code, truncated) = (exited.exit_code, exited.truncated);
    if session.json {
        exited.error.clone_from(&error);
        output::json(&Reply::Exited(exited));
    } else {
        output::streams(&exited.stdout, &exited.stderr);
    }
    if truncated {
        output::warning("the program printed more than one run may; the rest is lost");
    }
    match (error, code) {
        (Some(error), _) => {
            let failure = Failure::from(ClientError::Refused(error));
            Err(if session.json { failure.told() } else { failure })
        }
        // What is lost may be what somebody waits for.
        (None, Some(0)) if truncated => Err(Failure::new(
            Exit::Refused,
            "truncated",
            "the program printed more than one run may: it was cut off",
        )
        .told()),
        (None, Some(0)) => Ok(()),
        (None, Some(code)) => {
            Err(Failure::new(Exit::Program(code), "exit", format!("the program exited with code {code}"))
                .told())
        }
        (None, None) => Err(Failure::new(
            Exit::Connection,
            "protocol",
            "the answer has neither an exit code nor an error",
        )),
    }
}

/// All of a file, or of this program's own input.
fn input(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_end(&mut bytes).map(drop),
        false => std::fs::read(path).map(|read| bytes = read),
    };
    read.map_err(|error| Failure::file(path, "read", &error))?;
    Ok(bytes)
}
