//! `enclave-os shell`: verify once, then commands and raw JSON.

use std::io::{BufRead, IsTerminal};

use clap::Parser;
use enclave_os_client::Framed;
use rustyline::error::ReadlineError;
use serde_json::Value;

use crate::args::{Args, Command, Global, Verify};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Session;

const HELP: &str = "\
any command of enclave-os, without its name in front: list, call APP 'f(1)', schema APP, status, …
{…}    a request of the framed protocol, as it is: {\"wasm_list\":{}}
help   this text; `help COMMAND` for one command
quit   ends the shell (so does the end of the input)";

pub(crate) fn run(session: &Session) -> Result<(), Failure> {
    session.warn();
    let bare = Args::parse_from(["enclave-os", "list"]).global;
    let mut shell = Shell { session, bare, raw: Some(session.framed()?), failed: None };
    match session.policy() {
        Some(_) => output::note(&format!("{} passes the policy. `help` says what to type", session.server())),
        None => output::note(&format!("connected to {}. `help` says what to type", session.server())),
    }
    if std::io::stdin().is_terminal() {
        shell.interact()?
    } else {
        shell.script()?
    }
    match shell.failed {
        None => Ok(()),
        Some(exit) => Err(Failure::new(exit, "shell", "a command of this shell failed")),
    }
}

struct Shell<'a> {
    session: &'a Session,
    /// The options of every command as a line without any has them.
    bare: Global,
    /// For raw JSON, one after the other. Opened again after it broke.
    raw: Option<Framed>,
    /// How the last failing command ended; an interactive shell forgets it.
    failed: Option<Exit>,
}

impl Shell<'_> {
    /// Nothing of it is written to a history file: commands may hold what is confidential.
    fn interact(&mut self) -> Result<(), Failure> {
        let terminal =
            |error: &dyn std::fmt::Display| Failure::local("terminal", format!("the terminal: {error}"));
        let mut editor = rustyline::DefaultEditor::new().map_err(|e| terminal(&e))?;
        let prompt = format!("{}> ", self.session.server());
        loop {
            match editor.readline(&prompt) {
                Ok(line) => {
                    if !self.line(&line) {
                        break;
                    }
                    drop(editor.add_history_entry(line));
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(terminal(&error)),
            }
        }
        self.failed = None;
        Ok(())
    }

    fn script(&mut self) -> Result<(), Failure> {
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|e| Failure::local("input", format!("the input: {e}")))?;
            if !self.line(&line) {
                break;
            }
        }
        Ok(())
    }

    /// Whether to go on.
    fn line(&mut self, line: &str) -> bool {
        let line = line.trim();
        match line {
            "" => return true,
            "quit" | "exit" => return false,
            "help" => {
                output::line(HELP);
                return true;
            }
            _ => {}
        }
        let done = if line.starts_with(['{', '"']) { self.raw(line) } else { self.command(line) };
        if let Err(failure) = done {
            self.failed = Some(failure.exit);
            // The exit code is for the shell's own end.
            let _code = failure.report(self.session.json);
        }
        true
    }

    fn raw(&mut self, line: &str) -> Result<(), Failure> {
        let request: Value =
            serde_json::from_str(line).map_err(|e| Failure::usage(format!("this is not JSON: {e}")))?;
        let mut framed = match self.raw.take() {
            Some(framed) => framed,
            None => self.session.framed()?,
        };
        framed.send_frame(request.to_string().as_bytes())?;
        let answer = framed.receive_frame()?;
        self.raw = Some(framed);
        match serde_json::from_slice::<Value>(&answer) {
            Ok(answer) if self.session.json => output::json(&answer),
            Ok(answer) => output::line(&answer.to_string()),
            Err(error) => {
                return Err(Failure::new(
                    Exit::Connection,
                    "protocol",
                    format!("the answer is not JSON: {error}"),
                ));
            }
        }
        Ok(())
    }

    fn command(&mut self, line: &str) -> Result<(), Failure> {
        let words = shlex::split(line).ok_or_else(|| Failure::usage("a quotation mark is not closed"))?;
        let args = match Args::try_parse_from(std::iter::once("enclave-os".to_owned()).chain(words)) {
            Ok(args) => args,
            Err(error) if error.use_stderr() => {
                let message = error.kind().to_string();
                drop(error.print());
                return Err(Failure::usage(message));
            }
            Err(help) => {
                drop(help.print());
                return Ok(());
            }
        };
        match &args.command {
            Command::Shell(_) => return Err(Failure::usage("this is the shell already")),
            Command::Verify(Verify { address: Some(_), .. }) => {
                return Err(Failure::usage("a shell has one server: `verify` alone judges it again"));
            }
            _ => {}
        }
        if args.global.demands() != self.bare.demands() {
            return Err(Failure::usage(
                "the server and the policy are those that the shell was started with",
            ));
        }
        super::on(self.session, &args)
    }
}
