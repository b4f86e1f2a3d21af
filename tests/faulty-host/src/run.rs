//! One run: clients work, the host lies, and what comes of it is judged.

use std::time::Duration;

use serde_json::json;

use crate::client::Outcome;
use crate::clock::Claim;
use crate::host::{Machine, Stuck};
use crate::scene::{APP, CLIENTS, Request, Scene, base64, name};
use crate::schedule::{Lie, Point, Schedule};
use crate::witness::CANARY;

/// The limit of a call, as it is loaded.
pub const CALL_TIME: Duration = Duration::from_secs(5);
/// Keys that they write: each client its own.
const KEYS: usize = 2;

/// What must not be, with what led to it.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// The enclave does not go on, or panicked.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// An answer that is wrong.
    #[error("{asked} was answered {answer}, and that is wrong")]
    WrongAnswer {
        /// What was asked.
        asked: String,
        /// The answer.
        answer: String,
    },
    /// No answer, though the host did nothing to the connection.
    #[error("{asked} was not answered: {what}")]
    NoAnswer {
        /// What was asked.
        asked: String,
        /// What came instead.
        what: String,
    },
    /// An error that says nothing.
    #[error("{asked} was refused without saying why: {answer}")]
    Untyped {
        /// What was asked.
        asked: String,
        /// The answer.
        answer: String,
    },
    /// An end without a reason, or with one that is not true.
    #[error("the enclave ended, and says: {0:?}")]
    BadEnd(Vec<Result<(), String>>),
    /// The store does not open any more, or gives no answer, though nothing in it was changed.
    #[error("a store that nobody ruined is lost: {0}")]
    Lost(String),
    /// The host saw a secret.
    #[error("the host saw the canary {0}")]
    Plaintext(String),
    /// The test's own.
    #[error("the test itself: {0}")]
    Test(String),
}

impl From<rustls::Error> for Violation {
    fn from(error: rustls::Error) -> Violation {
        Violation::Test(error.to_string())
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests with the right answer.
    pub answered: u32,
    /// Requests with an error that says why.
    pub refused: u32,
    /// Requests whose connection the host broke.
    pub broken: u32,
    /// Why the enclave did not start, or ended.
    pub reasons: Vec<String>,
    /// Lies that were told.
    pub told: usize,
}

/// A machine with the app loaded, for runs to begin with.
///
/// # Errors
/// [`Violation`]: nobody lies, so everything must go well.
pub fn prepare(artifact: &[u8]) -> Result<Machine, Violation> {
    let mut run = Scene::new(Machine::new(), &Schedule::honest(0), &[])?;
    run.host.start()?;
    let bytes = base64(artifact);
    let load = json!({"wasm_load": {
        "name": APP, "bytes_base64": bytes, "log_policy": "none", "timeout_ms": CALL_TIME.as_millis() as u64,
        "env": {"PLAIN": CANARY}, "secrets": {"SECRET": format!("secret {CANARY}")},
    }});
    let loaded = run.ask_one(0, "the load", &load)?;
    if !matches!(&loaded, Outcome::Answer(answer) if answer["status"] == "loaded") {
        return Err(Violation::Test(format!("the app was not loaded: {loaded:?}")));
    }
    run.stop_in_order()?;
    run.no_plaintext()?;
    Ok(run.host.machine().clone())
}

/// Clients work on `machine` while the host lies by `schedule`; then the host tells the truth, and what was
/// acknowledged must be there. `second` is another app, to be loaded and unloaded.
///
/// # Errors
/// [`Violation`].
pub fn run(machine: &Machine, second: &[u8], schedule: &Schedule) -> Result<Report, Violation> {
    let mut run = Scene::new(machine.clone(), schedule, second)?;
    let result = run.all();
    run.no_plaintext()?;
    result?;
    run.report.told = run.host.told().len();
    Ok(run.report)
}

impl Scene {
    fn all(&mut self) -> Result<(), Violation> {
        self.host.start()?;
        for _ in 0..8 + self.rng.below(10) {
            match self.rng.below(12) {
                // Whoever keeps a host starts an enclave again that has ended.
                _ if self.host.is_over() => self.restart()?,
                0 => self.restart()?,
                1 => {
                    self.host.kill()?;
                    self.forget();
                    self.host.start()?;
                }
                2 => self.judge_ready()?,
                _ => {
                    let requests = (0..CLIENTS).map(|client| self.draw(client)).collect();
                    self.ask(requests)?;
                }
            }
        }
        // The rest is told truthfully: nothing that a client was promised is lost by what came before.
        self.host.repent();
        self.restart()?;
        let refused = self.report.refused;
        for key in 0..KEYS {
            self.ask((0..CLIENTS).map(|_| Some(Request::Get(key))).collect())?;
        }
        let failed = self.report.refused > refused || self.host.is_over();
        if failed && !self.host.told().iter().any(|fault| fault.lie.may_ruin_the_store()) {
            return Err(Violation::Lost(self.report.reasons.last().cloned().unwrap_or_default()));
        }
        self.end()
    }

    fn draw(&mut self, client: usize) -> Option<Request> {
        let key = self.rng.below(KEYS);
        Some(match self.rng.below(16) {
            0..=4 => {
                self.values += 1;
                let length = *self.rng.pick(&[0, 10, 3000, 70_000]);
                let padding = "x".repeat(length);
                Request::Put(key, format!("{CANARY} {} of {client} {padding}", self.values))
            }
            5..=9 => Request::Get(key),
            10 => Request::Fetch,
            11 => Request::List,
            12 => Request::Load,
            13 => Request::Unload,
            14 => Request::Ping,
            _ => return None,
        })
    }

    /// One request of each client at the same time.
    pub(crate) fn ask(&mut self, requests: Vec<Option<Request>>) -> Result<(), Violation> {
        let mut asked = Vec::new();
        for (client, request) in requests.into_iter().enumerate() {
            let Some(request) = request else { continue };
            if let Request::Put(key, value) = &request {
                self.model.write(&name(client, *key), value);
            }
            let frame = self.frame(client, &request);
            self.connected(client)?.send_frame(&frame);
            asked.push((client, request));
        }
        let waiting: Vec<usize> = asked.iter().map(|(client, _)| *client).collect();
        let outcomes = self.wait(&waiting)?;
        for ((client, request), outcome) in asked.into_iter().zip(outcomes) {
            self.judge(client, &request, &outcome)?;
        }
        Ok(())
    }

    fn judge(&mut self, client: usize, request: &Request, outcome: &Outcome) -> Result<(), Violation> {
        let asked = format!("{} of client {client}", beginning(&format!("{request:?}")));
        let answer = match outcome {
            Outcome::Answer(answer) => answer,
            Outcome::Broken(what) => return self.unanswered(client, asked, what),
            Outcome::Late => return self.unanswered(client, asked, "nothing came"),
        };
        let text = || beginning(&answer.to_string());
        let wrong = || Violation::WrongAnswer { asked: asked.clone(), answer: text() };
        if answer["status"] == "error" {
            let said = |member: &str| answer[member].as_str().is_some_and(|said| !said.is_empty());
            if !said("code") || !said("message") || answer["code"] == "internal" {
                return Err(Violation::Untyped { asked, answer: text() });
            }
            return self.refused(asked, &text());
        }
        let returned = answer["returns"][0]["value"].as_str();
        let failed =
            returned.is_some_and(|said| said.starts_with("error: ") && !said.contains("key not found"));
        let right = match request {
            _ if failed && *request != Request::Fetch => return self.refused(asked, &text()),
            Request::Put(key, value) => {
                let key = name(client, *key);
                self.model.acknowledged(&key, value);
                returned == Some(&format!("stored: {key}"))
            }
            Request::Get(key) => {
                let key = name(client, *key);
                let read = returned.filter(|said| !said.starts_with("error: key not found"));
                returned.is_some() && self.model.allows(&key, read, self.host.rolled_back())
            }
            // Nobody is there who could prove that he is who was asked for.
            Request::Fetch => failed,
            Request::Ping => *answer == json!("Pong"),
            // An earlier store has the apps of then.
            Request::List if self.host.rolled_back() => answer["apps"].is_array(),
            Request::List => {
                answer["apps"].as_array().is_some_and(|apps| apps.iter().any(|app| app["name"] == APP))
            }
            Request::Load => answer["status"] == "loaded",
            Request::Unload => answer["status"] == "unloaded" || answer["status"] == "not_found",
        };
        self.report.answered += 1;
        if right { Ok(()) } else { Err(wrong()) }
    }

    /// An error is right only if the host has lied.
    fn refused(&mut self, asked: String, answer: &str) -> Result<(), Violation> {
        self.report.refused += 1;
        self.report.reasons.push(answer.to_owned());
        let known = ["attestation-stale"].iter().any(|code| answer.contains(code));
        if self.host.told().is_empty() && !known {
            return Err(Violation::WrongAnswer { asked, answer: answer.to_owned() });
        }
        Ok(())
    }

    /// No answer is right only if the host did something to the connection, or the enclave has stopped.
    fn unanswered(&mut self, client: usize, asked: String, what: &str) -> Result<(), Violation> {
        self.report.broken += 1;
        let slot = self.clients.get_mut(client).and_then(Option::take);
        let touched = slot.as_ref().is_none_or(|client| self.host.was_touched(client.id()));
        if let Some(client) = slot {
            self.host.leave(client.id());
        }
        if touched || self.host.is_over() || self.lied_about_time() {
            return Ok(());
        }
        Err(Violation::NoAnswer { asked, what: what.to_owned() })
    }

    /// A host that moves the clock moves every deadline.
    fn lied_about_time(&self) -> bool {
        let about_time = [Lie::Forward, Lie::Back, Lie::Zero, Lie::Last, Lie::Still];
        self.host.told().iter().any(|fault| fault.point == Point::Visit && about_time.contains(&fault.lie))
    }

    fn judge_ready(&mut self) -> Result<(), Violation> {
        let result = match self.ready()? {
            Outcome::Answer(answer) => {
                let known =
                    ["ready", "degraded", "draining"].iter().any(|status| answer["status"] == *status);
                let honest = !self.host.told().is_empty() || answer["status"] == "ready";
                self.report.answered += 1;
                let asked = "ready".to_owned();
                let answer = answer.to_string();
                if known && honest { Ok(()) } else { Err(Violation::WrongAnswer { asked, answer }) }
            }
            other => self.unanswered(CLIENTS, "ready".to_owned(), &format!("{other:?}")),
        };
        self.clients.truncate(CLIENTS);
        result
    }

    /// Ends the enclave in order and starts it again.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn restart(&mut self) -> Result<(), Violation> {
        let ended = match self.host.stop() {
            // Where time stands still no wait ends: such a host has its power switch.
            Err(Stuck::NotEnding(_)) if matches!(self.host.time().claims().1, Claim::Fixed(_)) => {
                self.host.kill()?;
                Vec::new()
            }
            ended => ended?,
        };
        self.forget();
        self.judge_end(&ended)?;
        self.host.start()?;
        Ok(())
    }

    /// Ends the enclave in order.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn end(&mut self) -> Result<(), Violation> {
        let ended = self.host.stop()?;
        self.judge_end(&ended)
    }

    fn stop_in_order(&mut self) -> Result<(), Violation> {
        let ended = self.host.stop()?;
        if ended.iter().all(Result::is_ok) { Ok(()) } else { Err(Violation::BadEnd(ended)) }
    }

    /// An end is in order, or says why it is not: and then the host has lied.
    fn judge_end(&mut self, ended: &[Result<(), String>]) -> Result<(), Violation> {
        const REASONS: &[&str] = &[
            "the host misbehaved",
            "storage failed",
            "the store failed",
            "the store was not closed in order",
            // What a changed anchor comes to: nothing of it is authentic before the key that it names.
            "this store was sealed by the enclave with MRENCLAVE",
            "this store has format",
            "the store's sealing key",
        ];
        for reason in ended.iter().filter_map(|result| result.as_ref().err()) {
            let says_why = REASONS.iter().any(|known| reason.contains(known));
            if !says_why || self.host.told().is_empty() {
                return Err(Violation::BadEnd(ended.to_vec()));
            }
            self.report.reasons.push(reason.clone());
        }
        Ok(())
    }

    fn no_plaintext(&mut self) -> Result<(), Violation> {
        match self.host.witness().found() {
            Some(found) => Err(Violation::Plaintext(found.to_owned())),
            None => Ok(()),
        }
    }
}

/// As much of a text as a person wants to see.
fn beginning(text: &str) -> String {
    text.chars().take(300).collect()
}
