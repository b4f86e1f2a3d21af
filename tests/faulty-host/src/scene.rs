//! Clients of one host, and what they ask.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, Outcome};
use crate::host::{Host, Machine, Step};
use crate::model::Model;
use crate::rng::Rng;
use crate::run::{Report, Violation};
use crate::schedule::Schedule;
use crate::witness::CANARY;

/// How long clients wait: longer than anything inside may take.
const PATIENCE: Duration = Duration::from_secs(400);
/// Behind a wait this long, the enclave may be closing what idled meanwhile: a new request goes on a new connection.
const IDLE: Duration = Duration::from_secs(200);
/// The app that is called.
pub const APP: &str = "store";
/// Connections that clients have.
pub(crate) const CLIENTS: usize = 2;

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Writes a value under a key of its own.
    Put(usize, String),
    /// Reads it.
    Get(usize),
    /// Has the app connect to somebody.
    Fetch,
    /// Asks for nothing.
    Ping,
    /// Lists the apps.
    List,
    /// Loads a second app, or replaces it.
    Load,
    /// Unloads it.
    Unload,
}

/// Clients and the host they are at.
pub struct Scene {
    /// The host.
    pub host: Host,
    pub(crate) rng: Rng,
    pub(crate) model: Model,
    pub(crate) clients: Vec<Option<Client>>,
    pub(crate) second: String,
    pub(crate) values: u32,
    pub(crate) report: Report,
}

impl Scene {
    /// Clients of a host on `machine`, whose enclave is not started yet.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn new(machine: Machine, schedule: &Schedule, second: &[u8]) -> Result<Scene, Violation> {
        Ok(Scene {
            host: Host::new(machine, schedule)?,
            rng: Rng::new(schedule.seed ^ 0xc11e),
            model: Model::default(),
            clients: (0..CLIENTS).map(|_| None).collect(),
            second: base64(second),
            values: 0,
            report: Report::default(),
        })
    }

    pub(crate) fn frame(&self, client: usize, request: &Request) -> Value {
        let call = |function: &str, params: Value| json!({"wasm_call": {"app": APP, "function": function, "params": params}});
        match request {
            Request::Put(key, value) => call("kv-store", json!([name(client, *key), value])),
            Request::Get(key) => call("kv-read", json!([name(client, *key)])),
            Request::Fetch => call("fetch-headlines", json!([])),
            Request::Ping => json!("Ping"),
            Request::List => json!({"wasm_list": {}}),
            Request::Load => {
                json!({"wasm_load": {"name": format!("second-{client}"), "bytes_base64": self.second,
                "log_policy": "none", "secrets": {"SECRET": CANARY}}})
            }
            Request::Unload => json!({"wasm_unload": {"name": format!("second-{client}")}}),
        }
    }

    pub(crate) fn connected(&mut self, client: usize) -> Result<&mut Client, Violation> {
        let slot =
            self.clients.get_mut(client).ok_or_else(|| Violation::Test("no such client".to_owned()))?;
        // One that idled too long while another waited was closed in order.
        if let Some(client) = slot {
            client.poll(&mut self.host);
        }
        if slot.as_ref().is_none_or(Client::is_over) {
            *slot = Some(Client::connect(&mut self.host)?);
        }
        slot.as_mut().ok_or_else(|| Violation::Test("no client".to_owned()))
    }

    /// One request of one client, and what becomes of it, whatever that is.
    ///
    /// # Errors
    /// [`Violation`] if the enclave does not go on.
    pub fn try_one(&mut self, client: usize, request: &Request) -> Result<Outcome, Violation> {
        let frame = self.frame(client, request);
        self.ask_one(client, "a request", &frame)
    }

    /// One request of one client, whose outcome is judged.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn one(&mut self, client: usize, request: Request) -> Result<(), Violation> {
        let mut requests: Vec<Option<Request>> = (0..CLIENTS).map(|_| None).collect();
        if let Some(slot) = requests.get_mut(client) {
            *slot = Some(request);
        }
        self.ask(requests)
    }

    /// What becomes of the requests of these clients. One that gets no answer gives its connection up.
    pub(crate) fn wait(&mut self, waiting: &[usize]) -> Result<Vec<Outcome>, Violation> {
        let began = self.host.now();
        let until = began + nanos(PATIENCE);
        self.host.begin();
        let mut outcomes: Vec<Option<Outcome>> = waiting.iter().map(|_| None).collect();
        let mut late = false;
        loop {
            for (client, outcome) in waiting.iter().zip(&mut outcomes) {
                if let (None, Some(Some(client))) = (&outcome, self.clients.get_mut(*client)) {
                    *outcome = client.poll(&mut self.host);
                }
            }
            if late || outcomes.iter().all(Option::is_some) {
                break;
            }
            // An enclave that is away answers nobody.
            late = self.host.is_over() || self.host.step(until)? == Step::Late;
        }
        if self.host.now() - began > nanos(IDLE) {
            let idle = |client: &usize| !waiting.contains(client);
            let waited = outcomes
                .iter()
                .zip(waiting)
                .filter(|(outcome, _)| matches!(outcome, Some(Outcome::Answer(_))));
            let answered: Vec<usize> = waited.map(|(_, client)| *client).collect();
            for client in (0..self.clients.len()).filter(|client| idle(client) || answered.contains(client)) {
                if let Some(Some(client)) = self.clients.get_mut(client).map(Option::take) {
                    self.host.leave(client.id());
                }
            }
        }
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Late)).collect())
    }

    pub(crate) fn ask_one(&mut self, client: usize, what: &str, frame: &Value) -> Result<Outcome, Violation> {
        self.connected(client)?.send_frame(frame);
        self.wait(&[client])?.pop().ok_or_else(|| Violation::Test(format!("{what}: no outcome")))
    }

    /// `ready`, over HTTP, of a new connection.
    ///
    /// # Errors
    /// [`Violation`] if the enclave does not go on.
    pub fn ready(&mut self) -> Result<Outcome, Violation> {
        let mut client = Client::connect_http(&mut self.host)?;
        client.send_get("/.enclave/v1/ready");
        let slot = self.clients.len();
        self.clients.push(Some(client));
        let outcome = self.wait(&[slot])?.pop();
        outcome.ok_or_else(|| Violation::Test("no outcome".to_owned()))
    }

    /// Ends the enclave, starts it again and waits until it serves, or does not.
    ///
    /// # Errors
    /// [`Violation`] if it does not go on.
    pub fn again(&mut self) -> Result<Vec<Result<(), String>>, Violation> {
        let ended = self.host.stop()?;
        self.forget();
        self.host.start()?;
        self.host.wait_until_it_serves()?;
        Ok(ended)
    }

    pub(crate) fn forget(&mut self) {
        self.clients.iter_mut().for_each(|client| *client = None);
    }
}

/// Each client has keys of its own, and each is a secret.
pub(crate) fn name(client: usize, key: usize) -> String {
    format!("{CANARY}-{client}-{key}")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
