//! The framed JSON protocol.

use std::io::{self, Read, Write};
use std::sync::Arc;

use boundary_wire::client::{
    AppInfo, AppSchema, Call, Command, CommandInput, Envelope, Exited, LENGTH_PREFIX, Load, MAX_FRAME,
    Params, Reply, Request, Schema, Secret, Unload, decode_reply, encode_request,
};
use serde_json::Value;

use crate::operator::{Need, Operator};
use crate::{ClientError, Connection, OperatorKey, Peer};

/// Framed JSON over one connection. Requests may be sent ahead; answers come in their order.
#[derive(Debug)]
pub struct Framed {
    connection: Connection,
    /// Most bytes of an answer.
    limit: usize,
    wrapped: bool,
    auth: Option<Secret>,
    operator: Option<Operator>,
}

impl Framed {
    /// Speaks frames over an open connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection, limit: MAX_FRAME, wrapped: false, auth: None, operator: None }
    }

    /// Puts every command inside `{"Data":[…]}`, the longer form that every client understands.
    pub fn wrapped(mut self, wrapped: bool) -> Self {
        self.wrapped = wrapped;
        self
    }

    /// Sends this operator token beside every command.
    pub fn auth(mut self, token: Option<Secret>) -> Self {
        self.auth = token;
        self
    }

    /// Sends beside every command a token of this key, for that command and no more, and gets a nonce for it first
    /// where one is needed. A token given with [`Framed::auth`] goes before. Not while answers are outstanding.
    ///
    /// # Errors
    /// [`ClientError::NoAudience`].
    pub fn operator(mut self, key: Arc<OperatorKey>) -> Result<Self, ClientError> {
        let audience = self.peer().audience()?;
        self.operator = Some(Operator { key, audience });
        Ok(self)
    }

    /// `challenge`: a one-time nonce of this connection.
    pub fn challenge(&mut self) -> Result<String, ClientError> {
        match self.request(&Request::Envelope(Command::Challenge.into()))? {
            Reply::Challenge { nonce } => Ok(nonce),
            other => Err(unexpected("challenge", &other)),
        }
    }

    fn credential(&mut self, command: &Command) -> Result<Option<Secret>, ClientError> {
        if self.auth.is_some() {
            return Ok(self.auth.clone());
        }
        let (Some(operator), Some(need)) = (self.operator.clone(), Need::of(command)) else {
            return Ok(None);
        };
        let nonce = if need.wants_nonce() { Some(self.challenge()?) } else { None };
        operator.token(need, nonce).map(Some)
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Who answered.
    pub fn peer(&self) -> &Peer {
        self.connection.peer()
    }

    /// The connection underneath.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Sends a request without waiting for its answer.
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let frame = encode_request(request, self.wrapped).ok_or(ClientError::RequestTooLarge)?;
        self.connection.write_all(&frame)?;
        Ok(self.connection.flush()?)
    }

    /// Sends a frame with this body, whatever it says.
    pub fn send_frame(&mut self, body: &[u8]) -> Result<(), ClientError> {
        let length = u32::try_from(body.len()).ok().filter(|length| *length as usize <= MAX_FRAME);
        let length = length.ok_or(ClientError::RequestTooLarge)?;
        self.connection.write_all(&[&length.to_be_bytes(), body].concat())?;
        Ok(self.connection.flush()?)
    }

    /// The next answer.
    pub fn receive(&mut self) -> Result<Reply, ClientError> {
        let body = self.receive_frame()?;
        decode_reply(&body).map_err(|e| ClientError::Protocol(e.to_string()))
    }

    /// The JSON of the next frame, as it came.
    pub fn receive_frame(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut length = [0; LENGTH_PREFIX];
        self.connection.read_exact(&mut length).map_err(closed)?;
        let length = u32::from_be_bytes(length);
        if length as usize > self.limit {
            return Err(ClientError::AnswerTooLarge { length: length.into(), limit: self.limit as u64 });
        }
        // Grows as bytes come, not as they are announced.
        let mut body = Vec::new();
        (&mut self.connection).take(length.into()).read_to_end(&mut body).map_err(closed)?;
        if body.len() < length as usize { Err(ClientError::Closed) } else { Ok(body) }
    }

    /// A request and its answer; a refusal is an error.
    pub fn request(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.send(request)?;
        match self.receive()? {
            Reply::Error(error) => Err(ClientError::Refused(error)),
            reply => Ok(reply),
        }
    }

    /// A command and its answer.
    pub fn command(&mut self, command: Command) -> Result<Reply, ClientError> {
        let auth = self.credential(&command)?;
        self.request(&Request::Envelope(Envelope { auth, command }))
    }

    /// `"Ping"`.
    pub fn ping(&mut self) -> Result<(), ClientError> {
        match self.request(&Request::Ping)? {
            Reply::Pong => Ok(()),
            other => Err(unexpected("Pong", &other)),
        }
    }

    /// `"Healthz"`.
    pub fn healthz(&mut self) -> Result<(), ClientError> {
        match self.request(&Request::Healthz)? {
            Reply::Healthz => Ok(()),
            other => Err(unexpected("Healthz", &other)),
        }
    }

    /// `wasm_load`.
    pub fn load(&mut self, load: Load) -> Result<AppInfo, ClientError> {
        match self.command(Command::Load(Box::new(load)))? {
            Reply::Loaded { app } => Ok(app),
            other => Err(unexpected("loaded", &other)),
        }
    }

    /// `wasm_call`: the results, each `{"type":T,"value":V}`.
    pub fn call(&mut self, app: &str, function: &str, params: Params) -> Result<Vec<Value>, ClientError> {
        let call = Call::new(app, function, params);
        match self.command(Command::Call(call))? {
            Reply::Ok { returns } => Ok(returns),
            other => Err(unexpected("ok", &other)),
        }
    }

    /// `wasm_call` of a program: runs `wasi:cli/run` and gives its output and exit code.
    pub fn run(&mut self, app: &str, command: CommandInput) -> Result<Exited, ClientError> {
        match self.command(Command::Call(Call::run(app, command)))? {
            Reply::Exited(exited) => Ok(exited),
            other => Err(unexpected("exited", &other)),
        }
    }

    /// `wasm_list`.
    pub fn list(&mut self) -> Result<Vec<AppInfo>, ClientError> {
        match self.command(Command::List)? {
            Reply::Apps { apps } => Ok(apps),
            other => Err(unexpected("apps", &other)),
        }
    }

    /// `wasm_unload`; `false` if there is no such application.
    pub fn unload(&mut self, name: &str) -> Result<bool, ClientError> {
        match self.command(Command::Unload(Unload { name: name.to_owned() }))? {
            Reply::Unloaded { .. } => Ok(true),
            Reply::NotFound { .. } => Ok(false),
            other => Err(unexpected("unloaded", &other)),
        }
    }

    /// `wasm_schema`.
    pub fn schema(&mut self, app: &str) -> Result<AppSchema, ClientError> {
        match self.command(Command::Schema(Schema { app: app.to_owned() }))? {
            Reply::Schema { schema, .. } => serde_json::from_value(schema)
                .map_err(|e| ClientError::Protocol(format!("the schema of `{app}`: {e}"))),
            other => Err(unexpected("schema", &other)),
        }
    }
}

fn closed(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ClientError::Closed,
        _ => ClientError::Io(error),
    }
}

pub(crate) fn unexpected(wanted: &str, reply: &Reply) -> ClientError {
    let text = boundary_wire::client::encode_text(reply);
    let text: String = String::from_utf8_lossy(&text).chars().take(120).collect();
    ClientError::Protocol(format!("expected `{wanted}`, it says {text}"))
}
