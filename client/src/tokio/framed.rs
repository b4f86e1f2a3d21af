//! The framed JSON protocol without blocking.

use std::io;
use std::sync::Arc;

use boundary_wire::client::{
    AppInfo, Call, Command, CommandInput, Envelope, Exited, LENGTH_PREFIX, Params, Reply, Request, Secret,
    decode_reply, encode_request,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::framed::unexpected;
use crate::operator::{Need, Operator};
use crate::{ClientError, OperatorKey, Peer};

/// Framed JSON over one connection, a request at a time.
#[derive(Debug)]
pub struct Framed {
    stream: TlsStream<TcpStream>,
    /// Most bytes of an answer.
    limit: usize,
    auth: Option<Secret>,
    operator: Option<Operator>,
}

impl Framed {
    pub(crate) fn new(stream: TlsStream<TcpStream>, limit: usize) -> Self {
        Self { stream, limit, auth: None, operator: None }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Sends this operator token beside every command.
    pub fn set_auth(&mut self, token: Option<Secret>) {
        self.auth = token;
    }

    /// See [`crate::Framed::operator`].
    ///
    /// # Errors
    /// [`ClientError::NoAudience`].
    pub fn set_operator(&mut self, key: Arc<OperatorKey>) -> Result<(), ClientError> {
        let chain = self.stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        let audience = Peer::new(chain).audience()?;
        self.operator = Some(Operator { key, audience });
        Ok(())
    }

    async fn credential(&mut self, command: &Command) -> Result<Option<Secret>, ClientError> {
        if self.auth.is_some() {
            return Ok(self.auth.clone());
        }
        let (Some(operator), Some(need)) = (self.operator.clone(), Need::of(command)) else {
            return Ok(None);
        };
        let nonce = match need.wants_nonce() {
            false => None,
            true => match self.request(&Request::Envelope(Command::Challenge.into())).await? {
                Reply::Challenge { nonce } => Some(nonce),
                other => return Err(unexpected("challenge", &other)),
            },
        };
        operator.token(need, nonce).map(Some)
    }

    /// A request and its answer; a refusal is an error.
    ///
    /// A future that is dropped halfway leaves the connection in the middle of a frame: drop the connection too.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn request(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let frame = encode_request(request, false).ok_or(ClientError::RequestTooLarge)?;
        self.stream.write_all(&frame).await?;
        self.stream.flush().await?;
        match decode_reply(&self.frame().await?) {
            Ok(Reply::Error(error)) => Err(ClientError::Refused(error)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(ClientError::Protocol(error.to_string())),
        }
    }

    /// A command and its answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn command(&mut self, command: Command) -> Result<Reply, ClientError> {
        let auth = self.credential(&command).await?;
        self.request(&Request::Envelope(Envelope { auth, command })).await
    }

    /// `wasm_call`: the results, each `{"type":T,"value":V}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call(
        &mut self,
        app: &str,
        function: &str,
        params: Params,
    ) -> Result<Vec<Value>, ClientError> {
        let call = Call::new(app, function, params);
        match self.command(Command::Call(call)).await? {
            Reply::Ok { returns } => Ok(returns),
            other => Err(unexpected("ok", &other)),
        }
    }

    /// `wasm_call` of a program: runs `wasi:cli/run` and gives its output and exit code.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn run(&mut self, app: &str, command: CommandInput) -> Result<Exited, ClientError> {
        match self.command(Command::Call(Call::run(app, command))).await? {
            Reply::Exited(exited) => Ok(exited),
            other => Err(unexpected("exited", &other)),
        }
    }

    /// `wasm_list`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list(&mut self) -> Result<Vec<AppInfo>, ClientError> {
        match self.command(Command::List).await? {
            Reply::Apps { apps } => Ok(apps),
            other => Err(unexpected("apps", &other)),
        }
    }

    async fn frame(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut length = [0; LENGTH_PREFIX];
        self.stream.read_exact(&mut length).await.map_err(closed)?;
        let length = u32::from_be_bytes(length);
        if length as usize > self.limit {
            return Err(ClientError::AnswerTooLarge { length: length.into(), limit: self.limit as u64 });
        }
        // Grows as bytes come, not as they are announced.
        let mut body = Vec::new();
        let read = (&mut self.stream).take(length.into()).read_to_end(&mut body).await.map_err(closed)?;
        if read < length as usize { Err(ClientError::Closed) } else { Ok(body) }
    }
}

fn closed(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ClientError::Closed,
        _ => ClientError::Io(error),
    }
}
