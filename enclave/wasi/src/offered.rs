//! What a component can import, by name: for the message that lists what it imports in vain.

/// An interface and the version it is offered at: `0.2` stands for every `0.2.x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Package and name, without a version.
    pub interface: &'static str,
    /// `0.2`, or the one version there is.
    pub version: &'static str,
}

const fn wasi(interface: &'static str) -> Offered {
    Offered { interface, version: "0.2" }
}

const fn draft(interface: &'static str, version: &'static str) -> Offered {
    Offered { interface, version }
}

/// Everything that [`add_to_linker`](crate::add_to_linker) links, by name.
pub const INTERFACES: &[Offered] = &[
    draft("privasys:enclave-os/https", "0.1.0"),
    wasi("wasi:cli/environment"),
    wasi("wasi:cli/exit"),
    wasi("wasi:cli/stderr"),
    wasi("wasi:cli/stdin"),
    wasi("wasi:cli/stdout"),
    wasi("wasi:cli/terminal-input"),
    wasi("wasi:cli/terminal-output"),
    wasi("wasi:cli/terminal-stderr"),
    wasi("wasi:cli/terminal-stdin"),
    wasi("wasi:cli/terminal-stdout"),
    wasi("wasi:clocks/monotonic-clock"),
    wasi("wasi:clocks/timezone"),
    wasi("wasi:clocks/wall-clock"),
    draft("wasi:config/runtime", "0.2.0-draft"),
    draft("wasi:config/store", "0.2.0-rc.1"),
    wasi("wasi:filesystem/preopens"),
    wasi("wasi:filesystem/types"),
    wasi("wasi:http/outgoing-handler"),
    wasi("wasi:http/types"),
    wasi("wasi:io/error"),
    wasi("wasi:io/poll"),
    wasi("wasi:io/streams"),
    draft("wasi:keyvalue/atomics", "0.2.0-draft"),
    draft("wasi:keyvalue/atomics", "0.2.0-draft2"),
    draft("wasi:keyvalue/batch", "0.2.0-draft"),
    draft("wasi:keyvalue/batch", "0.2.0-draft2"),
    draft("wasi:keyvalue/store", "0.2.0-draft"),
    draft("wasi:keyvalue/store", "0.2.0-draft2"),
    draft("wasi:logging/logging", "0.1.0-draft"),
    wasi("wasi:random/insecure"),
    wasi("wasi:random/insecure-seed"),
    wasi("wasi:random/random"),
    wasi("wasi:sockets/instance-network"),
    wasi("wasi:sockets/ip-name-lookup"),
    wasi("wasi:sockets/network"),
    wasi("wasi:sockets/tcp"),
    wasi("wasi:sockets/tcp-create-socket"),
    wasi("wasi:sockets/udp"),
    wasi("wasi:sockets/udp-create-socket"),
];

/// The packages of [`INTERFACES`] with their versions, as a sentence lists them.
#[must_use]
pub fn packages() -> String {
    let mut packages: Vec<String> = INTERFACES
        .iter()
        .filter_map(|offered| {
            let (package, _) = offered.interface.split_once('/')?;
            Some(format!("{package}@{}", offered.version))
        })
        .collect();
    packages.sort();
    packages.dedup();
    packages.join(", ")
}

#[cfg(test)]
mod tests {
    use super::packages;

    #[test]
    fn each_package_is_listed_once() {
        let listed = packages();
        assert!(listed.starts_with("privasys:enclave-os@0.1.0, wasi:cli@0.2, wasi:clocks@0.2, "), "{listed}");
        assert_eq!(listed.matches("wasi:sockets@0.2").count(), 1, "{listed}");
    }
}
