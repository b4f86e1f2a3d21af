//! Connections that the enclave dials.

use std::collections::VecDeque;
use std::net::SocketAddr;

use boundary_wire::frame::{ConnId, DialFailure};

use super::connection::{Connection, Phase};
use super::{Station, StationError, Violation};
use crate::clock;
use crate::network::{self, Resolved};

/// Time for one address to answer.
const DIAL_NS: u64 = 5_000_000_000;

impl Station {
    pub(super) fn dial(&mut self, conn: ConnId, host: &str, port: u16) -> Result<(), StationError> {
        if conn <= self.last_dialed {
            return Err(Violation::Reused { id: conn }.into());
        }
        self.last_dialed = conn;
        self.insert(Connection::resolving(conn));
        let doorbell = self.poller.doorbell();
        let known = self.services.resolver.resolve(conn, host, port, &self.resolved.0, doorbell);
        if let Some(addresses) = known {
            self.on_resolved(Resolved { conn, addresses });
        }
        Ok(())
    }

    pub(super) fn on_resolved(&mut self, Resolved { conn, addresses }: Resolved) {
        match addresses {
            Ok(addresses) => self.try_addresses(conn.0, addresses.into(), DialFailure::NameNotFound),
            Err(failure) => self.dialed(conn.0, Err(failure)),
        }
    }

    /// Tries one address after the other.
    pub(super) fn try_addresses(
        &mut self,
        id: u64,
        mut addresses: VecDeque<SocketAddr>,
        mut failure: DialFailure,
    ) {
        while let Some(address) = addresses.pop_front() {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            let tried = network::connect(address).and_then(|socket| {
                self.poller.watch(&socket, id)?;
                Ok(socket)
            });
            match tried {
                Ok(socket) => {
                    connection.socket = Some(socket);
                    connection.phase = Phase::Connecting { to: address, others: addresses };
                    self.dials.push_back((clock::monotonic_ns().saturating_add(DIAL_NS), id, address));
                    return;
                }
                Err(error) => failure = network::dial_failure(&error),
            }
        }
        self.dialed(id, Err(failure));
    }

    /// A socket that was connecting has news.
    pub(super) fn on_connected(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(socket) = &connection.socket else { return };
        match network::connected(socket) {
            Ok(()) => {
                connection.phase = Phase::Open;
                self.dialed(id, Ok(()));
            }
            Err(error) => self.next_address(id, network::dial_failure(&error)),
        }
    }

    pub(super) fn next_address(&mut self, id: u64, failure: DialFailure) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Phase::Connecting { others, .. } = &mut connection.phase {
            let others = std::mem::take(others);
            connection.socket = None;
            self.try_addresses(id, others, failure);
        }
    }

    pub(super) fn dialed(&mut self, id: u64, result: Result<(), DialFailure>) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.owed.dialed = Some(result);
            self.queue_owed(id);
        }
    }
}
