//! Handshakes with a stock TLS client.

use super::*;
use rustls::client::Resumption;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, NamedGroup, ProtocolVersion, RootCertStore, ServerConnection};
use rustls_pki_types::ServerName;

fn client(identities: &Identities, alpn: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(identities.select(None).chain[1].clone()).unwrap();
    let clock = Arc::new(At(unix_now()));
    let mut config = ClientConfig::builder_with_details(crate::tls::provider(), clock)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(8);
    config
}

#[derive(Debug)]
struct At(UnixTime);

impl rustls::time_provider::TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

fn handshake(
    identity: &crate::Identity,
    config: &Arc<ClientConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let mut server = ServerConnection::new(Arc::clone(&identity.config))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name)?;
    let mut bytes = Vec::new();
    while client.wants_write() || server.wants_write() {
        client.write_tls(&mut bytes).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
        bytes.clear();
    }
    Ok((client, server))
}

#[test]
fn tls_1_3_with_post_quantum_keys_and_never_resumed() {
    let Fixture { identities, .. } = development();
    let identity = identities.select(None);
    let config = Arc::new(client(&identities, &[]));
    for _ in 0..2 {
        let (client, _) = handshake(&identity, &config, "127.0.0.1").unwrap();
        assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let group = client.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(client.tls13_tickets_received(), 0);
        assert_eq!(client.alpn_protocol(), None);
    }
}

#[test]
fn every_alpn_name_is_served() {
    let Fixture { identities, .. } = development();
    let identity = identities.select(None);
    for name in crate::ALPN_PROTOCOLS {
        let (client, _) =
            handshake(&identity, &Arc::new(client(&identities, &["unknown", name])), "localhost").unwrap();
        assert_eq!(client.alpn_protocol(), Some(name.as_bytes()));
    }
    let unknown = Arc::new(client(&identities, &["unknown"]));
    assert!(handshake(&identity, &unknown, "localhost").is_err());
}

#[test]
fn an_apps_identity_stands_for_its_name_only() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("notes", 2)]).unwrap();
    let identity = identities.select(Some("notes.example.com"));
    let config = Arc::new(client(&identities, &["h2"]));
    handshake(&identity, &config, "notes.example.com").unwrap();
    assert!(handshake(&identity, &config, "localhost").is_err());
}

#[test]
fn a_refused_handshake_ends_with_its_alert() {
    use crate::{Alert, refusing};
    use rustls::{AlertDescription, Error};
    let Fixture { identities, .. } = development();
    let clock = Arc::new(Clock::new(TestPlatform::new() as Arc<dyn Platform>));
    for (alert, wanted) in [
        (Alert::NoApplicationProtocol, AlertDescription::NoApplicationProtocol),
        (Alert::HandshakeFailure, AlertDescription::HandshakeFailure),
    ] {
        let name = ServerName::try_from("localhost").unwrap();
        let config = Arc::new(client(&identities, &["h2", "enclave-os-nonce/"]));
        let mut client = ClientConnection::new(config, name).unwrap();
        let mut server = ServerConnection::new(refusing(alert, &clock).unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets().unwrap_err();
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut &bytes[..]).unwrap();
        let refused = client.process_new_packets().unwrap_err();
        assert_eq!(refused, Error::AlertReceived(wanted));
        assert!(client.peer_certificates().is_none());
    }
}

#[test]
fn a_challenge_selects_a_normal_protocol() {
    let Fixture { identities, .. } = development();
    let challenged = identities.challenged(Some("localhost"), [9; 32]).unwrap();
    let quote = futures_lite::future::block_on(identities.quoting.quote(challenged.report_data())).unwrap();
    let identity = identities.answer(challenged, quote).unwrap();
    let nonce = format!("{}CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk", crate::NONCE_PROTOCOL);
    let config = Arc::new(client(&identities, &[&nonce, "http/1.1"]));
    let (client_side, server_side) = handshake(&identity, &config, "localhost").unwrap();
    assert_eq!(client_side.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(client_side.peer_certificates().unwrap(), &identity.chain[..]);
    let label = attestation::report_data::EXPORTER_LABEL;
    let of_client = client_side.export_keying_material([0; 32], label, Some(&[9; 32])).unwrap();
    let of_server = server_side.export_keying_material([0; 32], label, Some(&[9; 32])).unwrap();
    assert_eq!(of_client, of_server);
    let alone = Arc::new(client(&identities, &[&nonce]));
    assert!(handshake(&identity, &alone, "localhost").is_err(), "a nonce beside no normal protocol");
}
