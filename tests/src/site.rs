//! An HTTPS site on loopback under any name, and the throw-away authority that vouches for it.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{P256, SigningKey};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::operator::pem;

/// An ECDSA P-256 key that rcgen can sign with.
struct Key {
    key: SigningKey<P256>,
    point: Vec<u8>,
}

impl Key {
    fn generate() -> Result<Self> {
        let key = SigningKey::<P256>::generate().map_err(|e| anyhow!("no key: {e:?}"))?;
        let mut buffer = [0; 128];
        let spki = key.to_spki_der(&mut buffer).map_err(|e| anyhow!("no public key: {e:?}"))?;
        // A P-256 SubjectPublicKeyInfo ends with the uncompressed point.
        let point = spki.last_chunk::<65>().context("short public key")?.to_vec();
        Ok(Self { key, point })
    }

    fn pkcs8(&self) -> Result<PrivateKeyDer<'static>> {
        let mut buffer = [0; 256];
        let der = self.key.to_pkcs8_der(&mut buffer).map_err(|e| anyhow!("no private key: {e:?}"))?;
        Ok(PrivatePkcs8KeyDer::from(der.to_vec()).into())
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut buffer = [0; 128];
        let signature = self.key.sign_asn1::<Sha256>(&[message], &mut buffer);
        signature.map(<[u8]>::to_vec).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A certificate authority that lives as long as its process.
pub struct Authority {
    issuer: Issuer<'static, Key>,
    pem: String,
}

impl Authority {
    /// A new self-signed authority.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let key = Key::generate()?;
        let mut params = params(name, &key);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        let pem = pem(certificate.der());
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Its certificate, for policy files and clients.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn issue(&self, name: &str) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let key = Key::generate()?;
        let mut params = params(name, &key);
        params.subject_alt_names = CertificateParams::new(vec![name.to_owned()])?.subject_alt_names;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.der().clone(), key.pkcs8()?))
    }
}

fn params(name: &str, key: &Key) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::hours(1);
    params.not_after = now + time::Duration::days(2);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let digest: Vec<u8> = <sha2::Sha256 as sha2::Digest>::digest(&key.point).to_vec();
    params.serial_number = Some(SerialNumber::from_slice(&digest[..16]));
    params.key_identifier_method = KeyIdMethod::PreSpecified(digest[..20].to_vec());
    params
}

/// A page: content type and body.
pub type Page = (&'static str, String);

/// A web site on loopback. Stops when dropped.
pub struct Site {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    /// Serves `pages` by path under `name`, with a certificate of `authority`, on a free port. The connection ends with
    /// the answer, unless the path is asked for with `?keep`.
    ///
    /// # Errors
    /// If no port or certificate can be had.
    pub fn serve(authority: &Authority, name: &str, pages: HashMap<&'static str, Page>) -> Result<Self> {
        let (certificate, key) = authority.issue(name)?;
        let provider = Arc::new(rustls_graviola::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (requests, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (config, pages) = (Arc::new(config), Arc::new(pages));
        let (stopped, counted, opened) = (stop.clone(), requests.clone(), connections.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                opened.fetch_add(1, Ordering::SeqCst);
                let (config, pages, counted) = (config.clone(), pages.clone(), counted.clone());
                std::thread::spawn(move || {
                    // A client that fails its handshake or goes away is none of the site's business.
                    if let Ok(stream) = stream {
                        drop(answer(stream, config, &pages, &counted));
                    }
                });
            }
        });
        Ok(Self { address, stop, requests, connections, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// How many connections it was asked over.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread out of its accept.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(
    stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
    pages: &HashMap<&'static str, Page>,
    requests: &AtomicU64,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::from("-");
        while !header.trim().is_empty() {
            header.clear();
            if stream.read_line(&mut header)? == 0 {
                break;
            }
        }
        let target = request.split(' ').nth(1).unwrap_or("/");
        let (path, keep) = target.strip_suffix("?keep").map_or((target, false), |path| (path, true));
        let (status, (kind, body)) = match pages.get(path) {
            Some(page) => ("200 OK", page.clone()),
            None => ("404 Not Found", ("text/plain", format!("nothing at {path}\n"))),
        };
        requests.fetch_add(1, Ordering::SeqCst);
        let answering = stream.get_mut();
        let connection = if keep { "keep-alive" } else { "close" };
        write!(
            answering,
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: {connection}\r\n\r\n{body}",
            body.len()
        )?;
        if !keep {
            answering.conn.send_close_notify();
            return answering.flush();
        }
        answering.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_trusts_the_authority_gets_its_page() {
        let authority = Authority::new("throw-away test authority").unwrap();
        let pages = HashMap::from([("/a", ("text/plain", "the page".to_owned()))]);
        let site = Site::serve(&authority, "site.test", pages).unwrap();

        let mut roots = rustls::RootCertStore::empty();
        let der = {
            use rustls_pki_types::pem::PemObject;
            CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()
        };
        roots.add(der).unwrap();
        let provider = Arc::new(rustls_graviola::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "site.test".try_into().unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, TcpStream::connect(site.address()).unwrap());
        stream.write_all(b"GET /a HTTP/1.1\r\nhost: site.test\r\n\r\n").unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut stream, &mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nthe page"), "{text}");
        assert_eq!(site.requests(), 1);
    }
}
