//! With a played PCCS, which serves the collateral of a development PKI.

mod keeper;
mod pccs;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use attestation::collateral::Collateral;
use sgx_emu::quoting::{DevelopmentPki, PlatformFacts, QuotingEnclave};
use sgx_emu::{EnclaveState, SoftwareCpu};
use time::{Duration, OffsetDateTime};

use super::document::Document;
use super::*;
use crate::log::Format;

/// 2026-11-01T00:00:00Z.
fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_793_491_200).unwrap()
}

fn pki(now: OffsetDateTime) -> DevelopmentPki {
    DevelopmentPki::generate(&PlatformFacts::development(), now).unwrap()
}

fn quote(pki: &DevelopmentPki) -> Vec<u8> {
    let cpu = Arc::new(SoftwareCpu::ephemeral());
    let quoting = QuotingEnclave::new(cpu.clone(), pki).unwrap();
    quoting.quote(&cpu.ereport(&EnclaveState::development(), &quoting.target_info(), &[0; 64])).unwrap()
}

fn parts(pki: &DevelopmentPki) -> Collateral {
    Collateral::from_json(&pki.collateral_json()).unwrap()
}

/// What the log of a keeper says.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn log(&self) -> Log {
        Log::to(self.clone(), Format::Text).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Status, headers and body of an answer.
#[derive(Clone)]
struct Played {
    status: u16,
    header: (&'static str, String),
    body: Vec<u8>,
}

type Pages = HashMap<String, Played>;

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The pages of a PCCS that knows the platform.
fn pages(pki: &DevelopmentPki) -> Pages {
    let parts = parts(pki);
    let page = |name, chain: &str, body: Vec<u8>| Played {
        status: 200,
        header: (name, percent_encoded(chain)),
        body,
    };
    let signed = |member: &str, text: &str, signature: &[u8]| {
        let signature = super::document::hex(signature).to_uppercase();
        format!("{{\"{member}\":{text},\"signature\":\"{signature}\"}}").into_bytes()
    };
    let tcb = signed("tcbInfo", &parts.tcb_info, &parts.tcb_info_signature);
    let qe = signed("enclaveIdentity", &parts.qe_identity, &parts.qe_identity_signature);
    HashMap::from([
        (
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der".to_owned(),
            page("SGX-PCK-CRL-Issuer-Chain", &parts.pck_crl_issuer_chain, parts.pck_crl.clone()),
        ),
        (
            format!("/sgx/certification/v4/tcb?fmspc={}", super::document::hex(&pki.facts().fmspc)),
            page("TCB-Info-Issuer-Chain", &parts.tcb_info_issuer_chain, tcb),
        ),
        (
            "/sgx/certification/v4/qe/identity".to_owned(),
            page("SGX-Enclave-Identity-Issuer-Chain", &parts.qe_identity_issuer_chain, qe),
        ),
        // As a PCCS answers: in hex.
        (
            "/sgx/certification/v4/rootcacrl".to_owned(),
            page("Content-Type", "x", super::document::hex(&parts.root_ca_crl).into_bytes()),
        ),
    ])
}

/// Serves `pages` until the test ends; gives the URL.
fn serve(pages: Arc<Mutex<Pages>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            // The rest of the head, so that closing does not cut the answer short.
            lines.take_while(|line| !line.as_ref().unwrap().is_empty()).for_each(drop);
            let path = first.split(' ').nth(1).unwrap();
            let missing = Played { status: 404, header: ("X-None", "x".to_owned()), body: Vec::new() };
            let page = pages.lock().unwrap().get(path).cloned().unwrap_or(missing);
            let (name, value) = &page.header;
            let head = format!(
                "HTTP/1.1 {} Played\r\n{name}: {value}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                page.status,
                page.body.len()
            );
            stream.write_all(&[head.as_bytes(), &page.body].concat()).unwrap();
        }
    });
    url
}
