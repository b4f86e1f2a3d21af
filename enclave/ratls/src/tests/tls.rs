//! Handshakes with a stock TLS client.

use super::*;
use rustls::client::Resumption;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, NamedGroup, ProtocolVersion, RootCertStore, ServerConnection};
use rustls_pki_types::ServerName;

fn client(identities: &Identities, alpn: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(identities.select(None).unwrap().chain[1].clone()).unwrap();
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
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets()?;
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets()?;
        bytes.clear();
    }
    Ok((client, server))
}

#[test]
fn tls_1_3_with_post_quantum_keys_and_never_resumed() {
    let Fixture { identities, .. } = development();
    let identity = identities.select(None).unwrap();
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
    let identity = identities.select(None).unwrap();
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
    let identity = identities.select(Some("notes.example.com")).unwrap();
    let config = Arc::new(client(&identities, &["h2"]));
    handshake(&identity, &config, "notes.example.com").unwrap();
    assert!(handshake(&identity, &config, "localhost").is_err());
}
