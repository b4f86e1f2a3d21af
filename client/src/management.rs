//! The management paths under `/.enclave/v1`, typed.

use std::collections::BTreeMap;

use attestation::evidence::EvidenceDocument;
use attestation::manifest::{Manifest, Proof};
use boundary_wire::client::{
    Access, AppInfo, DataPolicy, ErrorReply, LogPolicy, Reply, Secret, decode_reply,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::operator::Need;
use crate::{Body, ClientError, Http, Response};

pub(crate) const BASE: &str = "/.enclave/v1";

/// What a server says of itself when it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Ready {
    /// `ready`, or `degraded`: some threads of the enclave are not run by their host (`absent` in `more`).
    pub status: String,
    /// `sgx`, `emulated` or `native`.
    pub platform: String,
    /// The triple that artifacts are compiled for.
    pub target: String,
    /// The engine's major version.
    pub engine_version: String,
    /// Everything else it says.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// What goes beside the artifact: the optional fields of `wasm_load`.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Server name of the application's own certificate.
    pub hostname: Option<String>,
    /// Where its HTTP handler answers.
    pub route_prefix: Option<String>,
    /// The caller's own key, 64 hex digits.
    pub encryption_key: Option<Secret>,
    /// Fuel of one call.
    pub max_fuel: Option<u64>,
    /// Linear memory of one call.
    pub max_memory_bytes: Option<u64>,
    /// Bytes that all its calls together may keep in the store.
    pub max_store_bytes: Option<u64>,
    /// Keys that all its calls together may keep in buckets.
    pub max_store_keys: Option<u64>,
    /// Wall-clock time of one call.
    pub timeout_ms: Option<u64>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Environment variables that are measured by salted hash only.
    pub secrets: BTreeMap<String, Secret>,
    /// Hosts it may reach; `None` any, empty none.
    pub egress: Option<Vec<String>>,
    /// Its version.
    pub version: Option<String>,
    /// Who may keep its data.
    pub data_policy: Option<DataPolicy>,
    /// Where its log goes.
    pub log_policy: Option<LogPolicy>,
    /// Who may call it.
    pub access: Option<Access>,
    /// Fuel of one HTTP request.
    pub http_max_fuel: Option<u64>,
    /// Wall-clock time in which nothing of an HTTP request or its answer moves.
    pub http_idle_timeout_ms: Option<u64>,
    /// Wall-clock time of one HTTP request with its answer.
    pub http_timeout_ms: Option<u64>,
    /// Bytes of the body of an HTTP request.
    pub http_max_request_bytes: Option<u64>,
    /// Bytes of the body of the answer to one.
    pub http_max_response_bytes: Option<u64>,
}

impl Http {
    /// `ready`: what the server runs on and takes.
    pub fn ready(&mut self) -> Result<Ready, ClientError> {
        self.json("GET", &format!("{BASE}/ready"), Body::Empty)
    }

    /// Uploads an artifact as it is; `progress` is told how many bytes have left.
    pub fn load(
        &mut self,
        name: &str,
        artifact: &[u8],
        options: &LoadOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<AppInfo, ClientError> {
        let target = format!("{BASE}/apps/{}", escape(name));
        let token = self.token(Need::manager(Some(name)))?;
        let options = options.pairs();
        let response = if options.is_empty() {
            let body = Body::Pieces("application/octet-stream", &[artifact], progress);
            self.accepted("PUT", &target, token.as_ref(), body)?
        } else {
            let form = Form::new(&options, artifact);
            let body = Body::Pieces(&form.media, &[&form.head, artifact, &form.tail], progress);
            self.accepted("PUT", &target, token.as_ref(), body)?
        };
        match reply(&response)? {
            Reply::Loaded { app } => Ok(app),
            _ => Err(ClientError::Protocol("the answer to an upload is not `loaded`".into())),
        }
    }

    /// `challenge`: a one-time nonce of this connection.
    pub fn challenge(&mut self) -> Result<String, ClientError> {
        match self.reply("POST", &format!("{BASE}/challenge"), Body::Empty)? {
            Reply::Challenge { nonce } => Ok(nonce),
            _ => Err(ClientError::Protocol("the answer to a challenge has no nonce".into())),
        }
    }

    /// A token for what needs one, if there is a key.
    fn token(&mut self, need: Need<'_>) -> Result<Option<Secret>, ClientError> {
        let Some(operator) = self.operator.clone() else { return Ok(None) };
        let nonce = if need.wants_nonce() { Some(self.challenge()?) } else { None };
        operator.token(need, nonce).map(Some)
    }

    /// The configuration, leaf by leaf.
    pub fn manifest(&mut self) -> Result<Manifest, ClientError> {
        self.json("GET", &format!("{BASE}/manifest"), Body::Empty)
    }

    /// The proof that a leaf is part of the configuration; not yet checked against the certificate.
    pub fn proof(&mut self, leaf: &str) -> Result<Proof, ClientError> {
        self.json("GET", &format!("{BASE}/proofs/{}", escape(leaf)), Body::Empty)
    }

    /// The evidence document, for a verifier that is not here: [`attestation::verify`].
    pub fn evidence(&mut self) -> Result<EvidenceDocument, ClientError> {
        let target = format!("{BASE}/evidence");
        let response = self.accepted("GET", &target, None, Body::Empty)?;
        let text = String::from_utf8(response.body).map_err(|_| ClientError::Protocol("not UTF-8".into()))?;
        EvidenceDocument::from_json(&text).map_err(|e| ClientError::Protocol(format!("GET {target}: {e}")))
    }

    /// `attest`: a quote over this connection; `body` holds the nonce.
    pub(crate) fn attest(&mut self, body: &str) -> Result<Reply, ClientError> {
        self.reply("POST", &format!("{BASE}/attest"), Body::Bytes("application/json", body.as_bytes()))
    }

    /// The certificate signing request of the enclave's CA, PEM.
    pub fn ca_csr(&mut self) -> Result<String, ClientError> {
        let response = self.accepted("GET", &format!("{BASE}/ca/csr"), None, Body::Empty)?;
        String::from_utf8(response.body).map_err(|_| ClientError::Protocol("the request is not PEM".into()))
    }

    /// Installs the certificate chain (PEM) that an operator made of the signing request.
    pub fn ca_install(&mut self, chain_pem: &[u8]) -> Result<(), ClientError> {
        let body = Body::Bytes("application/pem-certificate-chain", chain_pem);
        let token = self.token(Need::manager(None))?;
        self.accepted("POST", &format!("{BASE}/ca/install"), token.as_ref(), body).map(|_| ())
    }

    fn reply(&mut self, method: &str, target: &str, body: Body<'_>) -> Result<Reply, ClientError> {
        reply(&self.accepted(method, target, None, body)?)
    }

    fn json<T: DeserializeOwned>(
        &mut self,
        method: &str,
        target: &str,
        body: Body<'_>,
    ) -> Result<T, ClientError> {
        let response = self.accepted(method, target, None, body)?;
        serde_json::from_slice(&response.body)
            .map_err(|e| ClientError::Protocol(format!("{method} {target}: {e}")))
    }

    /// An answer with status 2xx; anything else is a refusal.
    fn accepted(
        &mut self,
        method: &str,
        target: &str,
        token: Option<&Secret>,
        body: Body<'_>,
    ) -> Result<Response, ClientError> {
        let bearer = token.map(|token| Secret::new(format!("Bearer {}", token.expose())));
        let mut headers = vec![("accept", "application/json, */*")];
        headers.extend(bearer.as_ref().map(|value| ("authorization", value.expose())));
        let response = self.request(method, target, &headers, body)?;
        if response.is_success() { Ok(response) } else { Err(ClientError::Refused(refusal(&response))) }
    }
}

fn reply(response: &Response) -> Result<Reply, ClientError> {
    match decode_reply(&response.body) {
        Ok(Reply::Error(error)) => Err(ClientError::Refused(error)),
        Ok(reply) => Ok(reply),
        Err(error) => Err(ClientError::Protocol(error.to_string())),
    }
}

/// A problem document (RFC 9457) or an error reply of the framed protocol.
fn refusal(response: &Response) -> ErrorReply {
    #[derive(Deserialize)]
    struct Problem {
        code: Option<String>,
        message: Option<String>,
        detail: Option<String>,
        title: Option<String>,
    }
    let status = format!("http-{}", response.status);
    match serde_json::from_slice::<Problem>(&response.body) {
        Ok(problem) => ErrorReply {
            code: problem.code.unwrap_or_else(|| status.clone()),
            message: problem.message.or(problem.detail).or(problem.title).unwrap_or(status),
        },
        Err(_) => {
            let text = String::from_utf8_lossy(&response.body);
            let text: String = text.trim().chars().take(200).collect();
            ErrorReply { message: format!("the server answered {} {text}", response.status), code: status }
        }
    }
}

impl LoadOptions {
    /// Names and values as the server takes them.
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        let text = |value: &Option<String>| value.clone();
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let single = [
            ("hostname", text(&self.hostname)),
            ("route_prefix", text(&self.route_prefix)),
            ("version", text(&self.version)),
            ("max_fuel", number(self.max_fuel)),
            ("max_memory_bytes", number(self.max_memory_bytes)),
            ("max_store_bytes", number(self.max_store_bytes)),
            ("max_store_keys", number(self.max_store_keys)),
            ("timeout_ms", number(self.timeout_ms)),
            ("data_policy", self.data_policy.map(word)),
            ("log_policy", self.log_policy.map(word)),
            ("access", self.access.map(word)),
            ("http_max_fuel", number(self.http_max_fuel)),
            ("http_idle_timeout_ms", number(self.http_idle_timeout_ms)),
            ("http_timeout_ms", number(self.http_timeout_ms)),
            ("http_max_request_bytes", number(self.http_max_request_bytes)),
            ("http_max_response_bytes", number(self.http_max_response_bytes)),
            ("encryption_key", self.encryption_key.as_ref().map(|key| key.expose().to_owned())),
        ];
        pairs.extend(single.into_iter().filter_map(|(name, value)| Some((name, value?))));
        pairs.extend(self.env.iter().map(|(name, value)| ("env", format!("{name}={value}"))));
        pairs.extend(
            self.secrets.iter().map(|(name, value)| ("secret", format!("{name}={}", value.expose()))),
        );
        match self.egress.as_deref() {
            Some([]) => pairs.push(("egress", String::new())),
            Some(hosts) => pairs.extend(hosts.iter().map(|host| ("egress", host.clone()))),
            None => {}
        }
        pairs
    }
}

/// `multipart/form-data` (RFC 7578): the options, then the artifact. Options never stand in a URL, which
/// is short and gets logged.
struct Form {
    media: String,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Form {
    fn new(options: &[(&'static str, String)], artifact: &[u8]) -> Self {
        let mut boundary = "enclave-os-form".to_owned();
        let occurs = |boundary: &str| {
            let wanted = boundary.as_bytes();
            artifact.windows(wanted.len()).any(|window| window == wanted)
                || options.iter().any(|(_, value)| value.contains(boundary))
        };
        while occurs(&boundary) {
            boundary.push_str("-x");
        }
        let mut head = String::new();
        for (name, value) in options {
            head.push_str(&format!(
                "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            ));
        }
        head.push_str(&format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"component\"; filename=\"app.cwasm\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        ));
        Self {
            media: format!("multipart/form-data; boundary={boundary}"),
            head: head.into_bytes(),
            tail: format!("\r\n--{boundary}--\r\n").into_bytes(),
        }
    }
}

/// The wire's word for a setting.
fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_names_and_values() {
        let options = LoadOptions {
            hostname: Some("app.example".into()),
            max_fuel: Some(7),
            env: BTreeMap::from([("A".into(), "x=y &z".into())]),
            secrets: BTreeMap::from([("T".into(), Secret::new("s/1"))]),
            egress: Some(vec![]),
            data_policy: Some(DataPolicy::CodeHash),
            ..LoadOptions::default()
        };
        let pairs = options.pairs();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("hostname", "app.example"),
                ("max_fuel", "7"),
                ("data_policy", "code-hash"),
                ("env", "A=x=y &z"),
                ("secret", "T=s/1"),
                ("egress", ""),
            ]
        );
        assert!(LoadOptions::default().pairs().is_empty());
    }

    #[test]
    fn the_boundary_of_a_form_is_nowhere_else() {
        let form = Form::new(&[("env", "A=enclave-os-form".into())], b"..enclave-os-form-x..");
        assert_eq!(form.media, "multipart/form-data; boundary=enclave-os-form-x-x");
        let head = String::from_utf8(form.head).unwrap();
        assert!(
            head.starts_with(
                "--enclave-os-form-x-x\r\ncontent-disposition: form-data; name=\"env\"\r\n\r\nA="
            )
        );
        assert!(head.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_refusal_keeps_the_servers_code() {
        let response = |body: &str| Response { status: 403, headers: vec![], body: body.into() };
        let refused = refusal(&response(r#"{"type":"about:blank","code":"loading-closed","detail":"d"}"#));
        assert_eq!((refused.code.as_str(), refused.message.as_str()), ("loading-closed", "d"));
        assert_eq!(refusal(&response("<html>")).code, "http-403");
    }
}
