//! A relay on loopback that counts what passes: who sends what, when.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;

/// TLS record types (RFC 8446 §5.1).
const APPLICATION_DATA: u8 = 23;

/// A relay in front of a server. It lives as long as its process.
pub struct Recorder {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Counts>>>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    /// Bytes of records that the client sent encrypted, without the first: its Finished.
    sent: usize,
    received: usize,
}

impl Recorder {
    /// Relays to `server`.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn before(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let connections = Arc::new(Mutex::new(Vec::new()));
        let counted = connections.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let counted = counted.clone();
                let index = {
                    let mut all = lock(&counted);
                    all.push(Counts::default());
                    all.len() - 1
                };
                std::thread::spawn(move || drop(relay(&client, server, &counted, index)));
            }
        });
        Ok(Self { address, connections })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For each connection, bytes of TLS records that the client sent after its handshake.
    #[must_use]
    pub fn sent_after_handshakes(&self) -> Vec<usize> {
        lock(&self.connections).iter().map(|counts| counts.sent).collect()
    }

    /// For each connection, bytes that the client received.
    #[must_use]
    pub fn received(&self) -> Vec<usize> {
        lock(&self.connections).iter().map(|counts| counts.received).collect()
    }
}

fn lock(counts: &Mutex<Vec<Counts>>) -> MutexGuard<'_, Vec<Counts>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn relay(
    client: &TcpStream,
    server: SocketAddr,
    counts: &Arc<Mutex<Vec<Counts>>>,
    index: usize,
) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [client, &server] {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
    }
    let (from, to, counted) = (server.try_clone()?, client.try_clone()?, counts.clone());
    let back = std::thread::spawn(move || {
        copy(&from, &to, |piece| {
            if let Some(counts) = lock(&counted).get_mut(index) {
                counts.received += piece.len();
            }
        })
    });
    let mut records = Records::default();
    let there = copy(client, &server, |piece| {
        records.take(piece);
        if let Some(counts) = lock(counts).get_mut(index) {
            counts.sent = records.encrypted.saturating_sub(records.finished);
        }
    });
    drop(back.join());
    there
}

fn copy(from: &TcpStream, to: &TcpStream, mut see: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut reader, mut writer) = (from, to);
    let mut piece = [0; 16 * 1024];
    loop {
        let read = reader.read(&mut piece)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        see(bytes);
        writer.write_all(bytes)?;
    }
    // Whoever has gone already needs no end.
    drop(to.shutdown(Shutdown::Write));
    Ok(())
}

/// The records of a client, as their headers tell them.
#[derive(Default)]
struct Records {
    pending: Vec<u8>,
    /// Bytes of encrypted records.
    encrypted: usize,
    /// Those of the first, which holds the client's Finished.
    finished: usize,
}

impl Records {
    fn take(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
        while let [kind, _, _, high, low, ..] = self.pending[..] {
            let length = 5 + usize::from(u16::from_be_bytes([high, low]));
            if self.pending.len() < length {
                break;
            }
            if kind == APPLICATION_DATA {
                self.encrypted += length;
                if self.finished == 0 {
                    self.finished = length;
                }
            }
            self.pending.drain(..length);
        }
    }
}
