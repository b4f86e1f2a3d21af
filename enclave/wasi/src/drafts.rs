//! Traits and types made from the WIT texts of proposals in `sdk/wit`: whoever imports one of them names its exact
//! version, so each version is linked for itself.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wasmtime::component::bindgen!({
    path: "../../sdk/wit",
    inline: "
        package enclave-os:host;
        world drafts {
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
            import wasi:config/store@0.2.0-rc.1;
            import wasi:config/runtime@0.2.0-draft;
            import wasi:logging/logging@0.1.0-draft;
        }
    ",
    world: "enclave-os:host/drafts",
    imports: { default: async | trappable },
    trappable_error_type: {
        "wasi:keyvalue/store@0.2.0-draft.error" => crate::keyvalue::KvError,
        "wasi:keyvalue/store@0.2.0-draft2.error" => crate::keyvalue::KvError,
    },
    with: {
        "wasi:keyvalue/store@0.2.0-draft.bucket": crate::keyvalue::Bucket,
        "wasi:keyvalue/store@0.2.0-draft2.bucket": crate::keyvalue::Bucket,
        "wasi:keyvalue/atomics@0.2.0-draft2.cas": crate::keyvalue::Cas,
    },
});

pub use wasi::config0_2_0_draft::runtime as config_runtime;
pub use wasi::config0_2_0_rc_1::store as config_store;
pub use wasi::keyvalue0_2_0_draft as first;
pub use wasi::keyvalue0_2_0_draft2 as second;
pub use wasi::logging::logging;
