//! `wasi:sockets@0.2`: linked, because every standard component imports it, and denied.
//!
//! No socket can be made and no name resolved: all ways out are `privasys:enclave-os/https` (DESIGN §4). So
//! no value of a socket type exists ([`NoSocket`] has none), and whatever a method would do to one is
//! unreachable by construction.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi_io::poll::DynPollable;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::WasiCtx;
use crate::bindings::wasi::sockets::{
    instance_network, ip_name_lookup, network, tcp, tcp_create_socket, udp, udp_create_socket,
};
use network::{ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress};

/// The one network there is. Nothing can be done with it.
pub struct Network(());

/// The type of every socket: it has no values.
pub enum NoSocket {}

/// What a socket function answers: a code for the guest, or a trap.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Sockets are denied.
    #[error("sockets are denied inside the enclave, use privasys:enclave-os/https")]
    Denied,
    /// The guest named a resource that does not exist.
    #[error(transparent)]
    Trap(#[from] wasmtime::component::ResourceTableError),
}

type SocketResult<T> = std::result::Result<T, SocketError>;

impl WasiCtx {
    /// The socket behind a handle: there is none.
    fn socket<T>(&self, handle: &Resource<NoSocket>) -> SocketResult<T> {
        match *self.table.get(handle)? {}
    }
}

impl network::Host for WasiCtx {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        match error {
            SocketError::Denied => Ok(ErrorCode::AccessDenied),
            SocketError::Trap(trap) => Err(trap.into()),
        }
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime_wasi_io::streams::Error>,
    ) -> Result<Option<ErrorCode>> {
        self.table.get(&error)?;
        Ok(None)
    }
}

impl network::HostNetwork for WasiCtx {
    fn drop(&mut self, network: Resource<Network>) -> Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl instance_network::Host for WasiCtx {
    fn instance_network(&mut self) -> Result<Resource<Network>> {
        Ok(self.table.push(Network(()))?)
    }
}

impl ip_name_lookup::Host for WasiCtx {
    async fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<NoSocket>> {
        self.turn.take_in(name.len()).await;
        self.table.get(&network)?;
        Err(SocketError::Denied)
    }
}

impl ip_name_lookup::HostResolveAddressStream for WasiCtx {
    fn resolve_next_address(&mut self, this: Resource<NoSocket>) -> SocketResult<Option<IpAddress>> {
        self.socket(&this)
    }

    fn subscribe(&mut self, this: Resource<NoSocket>) -> Result<Resource<DynPollable>> {
        match *self.table.get(&this)? {}
    }

    fn drop(&mut self, this: Resource<NoSocket>) -> Result<()> {
        match self.table.delete(this)? {}
    }
}

impl tcp_create_socket::Host for WasiCtx {
    fn create_tcp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<NoSocket>> {
        Err(SocketError::Denied)
    }
}

impl udp_create_socket::Host for WasiCtx {
    fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<NoSocket>> {
        Err(SocketError::Denied)
    }
}

/// Methods of a resource that has no values.
macro_rules! unreachable_methods {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(fn $name(&mut self, this: Resource<NoSocket> $(, _: $argument)*) -> SocketResult<$result> {
            self.socket(&this)
        })*
    };
}

impl tcp::Host for WasiCtx {}

impl tcp::HostTcpSocket for WasiCtx {
    unreachable_methods! {
        start_bind(Resource<Network>, IpSocketAddress) -> ();
        finish_bind() -> ();
        start_connect(Resource<Network>, IpSocketAddress) -> ();
        finish_connect() -> (Resource<DynInputStream>, Resource<DynOutputStream>);
        start_listen() -> ();
        finish_listen() -> ();
        accept() -> (Resource<NoSocket>, Resource<DynInputStream>, Resource<DynOutputStream>);
        local_address() -> IpSocketAddress;
        remote_address() -> IpSocketAddress;
        set_listen_backlog_size(u64) -> ();
        keep_alive_enabled() -> bool;
        set_keep_alive_enabled(bool) -> ();
        keep_alive_idle_time() -> u64;
        set_keep_alive_idle_time(u64) -> ();
        keep_alive_interval() -> u64;
        set_keep_alive_interval(u64) -> ();
        keep_alive_count() -> u32;
        set_keep_alive_count(u32) -> ();
        hop_limit() -> u8;
        set_hop_limit(u8) -> ();
        receive_buffer_size() -> u64;
        set_receive_buffer_size(u64) -> ();
        send_buffer_size() -> u64;
        set_send_buffer_size(u64) -> ();
        shutdown(tcp::ShutdownType) -> ();
    }

    fn is_listening(&mut self, this: Resource<NoSocket>) -> Result<bool> {
        match *self.table.get(&this)? {}
    }

    fn address_family(&mut self, this: Resource<NoSocket>) -> Result<IpAddressFamily> {
        match *self.table.get(&this)? {}
    }

    fn subscribe(&mut self, this: Resource<NoSocket>) -> Result<Resource<DynPollable>> {
        match *self.table.get(&this)? {}
    }

    fn drop(&mut self, this: Resource<NoSocket>) -> Result<()> {
        match self.table.delete(this)? {}
    }
}

impl udp::Host for WasiCtx {}

impl udp::HostUdpSocket for WasiCtx {
    unreachable_methods! {
        start_bind(Resource<Network>, IpSocketAddress) -> ();
        finish_bind() -> ();
        stream(Option<IpSocketAddress>) -> (Resource<NoSocket>, Resource<NoSocket>);
        local_address() -> IpSocketAddress;
        remote_address() -> IpSocketAddress;
        unicast_hop_limit() -> u8;
        set_unicast_hop_limit(u8) -> ();
        receive_buffer_size() -> u64;
        set_receive_buffer_size(u64) -> ();
        send_buffer_size() -> u64;
        set_send_buffer_size(u64) -> ();
    }

    fn address_family(&mut self, this: Resource<NoSocket>) -> Result<IpAddressFamily> {
        match *self.table.get(&this)? {}
    }

    fn subscribe(&mut self, this: Resource<NoSocket>) -> Result<Resource<DynPollable>> {
        match *self.table.get(&this)? {}
    }

    fn drop(&mut self, this: Resource<NoSocket>) -> Result<()> {
        match self.table.delete(this)? {}
    }
}

impl udp::HostIncomingDatagramStream for WasiCtx {
    unreachable_methods! {
        receive(u64) -> Vec<udp::IncomingDatagram>;
    }

    fn subscribe(&mut self, this: Resource<NoSocket>) -> Result<Resource<DynPollable>> {
        match *self.table.get(&this)? {}
    }

    fn drop(&mut self, this: Resource<NoSocket>) -> Result<()> {
        match self.table.delete(this)? {}
    }
}

impl udp::HostOutgoingDatagramStream for WasiCtx {
    unreachable_methods! {
        check_send() -> u64;
        send(Vec<udp::OutgoingDatagram>) -> u64;
    }

    fn subscribe(&mut self, this: Resource<NoSocket>) -> Result<Resource<DynPollable>> {
        match *self.table.get(&this)? {}
    }

    fn drop(&mut self, this: Resource<NoSocket>) -> Result<()> {
        match self.table.delete(this)? {}
    }
}
