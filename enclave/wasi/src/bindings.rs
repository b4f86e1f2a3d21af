//! Traits and types made from the WIT texts in `sdk/wit`. Functions that may wait are async.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wasmtime::component::bindgen!({
    path: "../../sdk/wit",
    inline: "
        package enclave-os:host;
        world guest {
            include wasi:cli/imports@0.2.12;
            import wasi:http/types@0.2.12;
            import wasi:http/outgoing-handler@0.2.12;
            import privasys:enclave-os/https@0.1.0;
        }
    ",
    world: "enclave-os:host/guest",
    imports: {
        "wasi:filesystem/types.[method]descriptor.advise": async | trappable,
        "wasi:filesystem/types.[method]descriptor.create-directory-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.link-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.metadata-hash": async | trappable,
        "wasi:filesystem/types.[method]descriptor.metadata-hash-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.open-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.read": async | trappable,
        "wasi:filesystem/types.[method]descriptor.readlink-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.remove-directory-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.rename-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.set-size": async | trappable,
        "wasi:filesystem/types.[method]descriptor.set-times": async | trappable,
        "wasi:filesystem/types.[method]descriptor.set-times-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.stat": async | trappable,
        "wasi:filesystem/types.[method]descriptor.stat-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.symlink-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.sync": async | trappable,
        "wasi:filesystem/types.[method]descriptor.sync-data": async | trappable,
        "wasi:filesystem/types.[method]descriptor.unlink-file-at": async | trappable,
        "wasi:filesystem/types.[method]descriptor.write": async | trappable,
        "wasi:filesystem/types.[method]directory-entry-stream.read-directory-entry": async | trappable,
        "wasi:cli/environment.get-environment": async | trappable,
        "wasi:http/outgoing-handler.handle": async | trappable,
        "wasi:http/types.[method]fields.append": async | trappable,
        "wasi:http/types.[method]fields.entries": async | trappable,
        "wasi:http/types.[method]fields.get": async | trappable,
        "wasi:http/types.[method]fields.set": async | trappable,
        "wasi:http/types.[static]fields.from-list": async | trappable,
        "wasi:http/types.[static]outgoing-body.finish": async | trappable,
        "wasi:http/types.[static]response-outparam.set": async | trappable,
        "wasi:random/random.get-random-bytes": async | trappable,
        "wasi:random/insecure.get-insecure-random-bytes": async | trappable,
        "privasys:enclave-os/https.fetch": async | trappable,
        default: trappable,
    },
    trappable_error_type: {
        "wasi:io/streams.stream-error" => wasmtime_wasi_io::streams::StreamError,
        "wasi:filesystem/types.error-code" => crate::filesystem::FsError,
        "wasi:sockets/network.error-code" => crate::sockets::SocketError,
    },
    with: {
        "wasi:io/poll": wasmtime_wasi_io::bindings::wasi::io::poll,
        "wasi:io/streams": wasmtime_wasi_io::bindings::wasi::io::streams,
        "wasi:io/error": wasmtime_wasi_io::bindings::wasi::io::error,
        "wasi:cli/terminal-input.terminal-input": crate::cli::Terminal,
        "wasi:cli/terminal-output.terminal-output": crate::cli::Terminal,
        "wasi:filesystem/types.descriptor": crate::filesystem::Descriptor,
        "wasi:filesystem/types.directory-entry-stream": crate::filesystem::DirectoryCursor,
        "wasi:http/types.fields": crate::http::Fields,
        "wasi:http/types.future-incoming-response": crate::http::FutureIncomingResponse,
        "wasi:http/types.future-trailers": crate::http::FutureTrailers,
        "wasi:http/types.incoming-body": crate::http::IncomingBody,
        "wasi:http/types.incoming-request": crate::http::IncomingRequest,
        "wasi:http/types.incoming-response": crate::http::IncomingResponse,
        "wasi:http/types.outgoing-body": crate::http::OutgoingBody,
        "wasi:http/types.outgoing-request": crate::http::OutgoingRequest,
        "wasi:http/types.outgoing-response": crate::http::OutgoingResponse,
        "wasi:http/types.request-options": crate::http::RequestOptions,
        "wasi:http/types.response-outparam": crate::http::ResponseOutparam,
        "wasi:sockets/network.network": crate::sockets::Network,
        "wasi:sockets/tcp.tcp-socket": crate::sockets::NoSocket,
        "wasi:sockets/udp.udp-socket": crate::sockets::NoSocket,
        "wasi:sockets/udp.incoming-datagram-stream": crate::sockets::NoSocket,
        "wasi:sockets/udp.outgoing-datagram-stream": crate::sockets::NoSocket,
        "wasi:sockets/ip-name-lookup.resolve-address-stream": crate::sockets::NoSocket,
    },
});
