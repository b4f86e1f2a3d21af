//! Turns the functions of the host against it, on request.

wit_bindgen::generate!({
    path: "../../../sdk/wit",
    inline: "
        package test:hostile@1.0.0;

        world hostile {
            /// A list of that many numbers.
            export numbers: func(count: u32) -> list<u32>;
            /// That many MiB of one character.
            export text: func(mib: u32, character: char) -> string;
            /// Lists in lists in lists, each of that many.
            export nested: func(width: u32) -> list<list<list<list<list<u8>>>>>;
            /// Reads with this length in every way there is: what each gave.
            export read: func(length: u64) -> list<u64>;
            /// Asks a stream to write that many zeros.
            export write-zeroes: func(length: u64);
            /// Writes that much in one call: how much was taken.
            export write-at-once: func(mib: u32) -> u64;
            /// Makes handles until there are no more.
            export hoard: func() -> u32;
            /// Waits for nothing.
            export poll-nothing: func();
            /// Waits for one handle, named that often.
            export poll-often: func(times: u32) -> u32;
            /// Waits until the end of time.
            export wait-for-ever: func();
            /// Ends itself with that code.
            export exit-with: func(code: u8);
            /// Prints that many empty lines.
            export lines: func(count: u32);
            /// Calls one function of the host without end.
            export churn: func(function: string);
            /// Writes files of 1 MiB until there is an error, and says which, and how many there are.
            export fill: func(prefix: string) -> tuple<string, u32>;
            /// Takes files of that prefix away.
            export clear: func(prefix: string) -> u32;

            import wasi:cli/environment@0.2.12;
            import wasi:cli/exit@0.2.12;
            import wasi:cli/stderr@0.2.12;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:filesystem/preopens@0.2.12;
            import wasi:filesystem/types@0.2.12;
            import privasys:enclave-os/https@0.1.0;
            import wasi:http/types@0.2.12;
            import wasi:io/poll@0.2.12;
            import wasi:io/streams@0.2.12;
            import wasi:random/random@0.2.12;
            import wasi:sockets/instance-network@0.2.12;
            import wasi:sockets/ip-name-lookup@0.2.12;
        }
    ",
    world: "test:hostile/hostile",
    generate_all,
});

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;

use privasys::enclave_os::https;
use wasi::cli::{environment, exit, stderr};
use wasi::clocks::monotonic_clock;
use wasi::filesystem::preopens;
use wasi::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasi::http::types::{Fields, OutgoingRequest};
use wasi::io::poll;
use wasi::random::random;
use wasi::sockets::instance_network::instance_network;
use wasi::sockets::ip_name_lookup::resolve_addresses;

struct Hostile;

/// A file of 100,000 bytes, or of as many as it had.
fn file(name: &str) -> Descriptor {
    let (root, _) = preopens::get_directories().remove(0);
    let (open, flags) = (OpenFlags::CREATE, DescriptorFlags::READ | DescriptorFlags::WRITE);
    let file = root.open_at(PathFlags::empty(), name, open, flags).expect("a file");
    file.set_size(100_000).expect("room");
    file
}

impl Guest for Hostile {
    fn numbers(count: u32) -> Vec<u32> {
        (0..count).collect()
    }

    fn text(mib: u32, character: char) -> String {
        String::from(character).repeat((mib as usize) << 20)
    }

    fn nested(width: u32) -> Vec<Vec<Vec<Vec<Vec<u8>>>>> {
        let width = width as usize;
        vec![vec![vec![vec![Vec::new(); width]; width]; width]; width]
    }

    fn read(length: u64) -> Vec<u64> {
        let (from, to) = (file("from"), file("to"));
        let (bytes, _) = from.read(length, 0).expect("bytes");
        let (input, output) = (from.read_via_stream(0).unwrap(), to.write_via_stream(0).unwrap());
        vec![
            bytes.len() as u64,
            input.blocking_read(length).unwrap().len() as u64,
            input.blocking_skip(length).unwrap(),
            output.blocking_splice(&from.read_via_stream(0).unwrap(), length).unwrap(),
            input.read(length).map_or(0, |bytes| bytes.len() as u64),
            input.skip(length).unwrap_or(0),
            output.splice(&from.read_via_stream(0).unwrap(), length).unwrap(),
        ]
    }

    fn write_zeroes(length: u64) {
        let output = file("zeroes").write_via_stream(0).unwrap();
        output.write_zeroes(length).unwrap();
    }

    fn write_at_once(mib: u32) -> u64 {
        file("large").write(&vec![7; (mib as usize) << 20], 0).expect("room")
    }

    fn hoard() -> u32 {
        let mut hoard = Vec::new();
        loop {
            hoard.push(monotonic_clock::subscribe_duration(u64::MAX));
            black_box(&hoard);
        }
    }

    fn poll_nothing() {
        poll::poll(&[]);
    }

    fn poll_often(times: u32) -> u32 {
        let now = monotonic_clock::subscribe_duration(0);
        let all: Vec<_> = (0..times).map(|_| &now).collect();
        poll::poll(&all).len() as u32
    }

    fn wait_for_ever() {
        let (first, second) =
            (monotonic_clock::subscribe_duration(u64::MAX), monotonic_clock::subscribe_instant(u64::MAX));
        poll::poll(&[&first, &second]);
    }

    fn exit_with(code: u8) {
        exit::exit_with_code(code);
    }

    fn lines(count: u32) {
        let output = stderr::get_stderr();
        let block = [b'\n'; 4096];
        let mut left = count as usize;
        while left > 0 {
            let part = left.min(block.len());
            output.blocking_write_and_flush(&block[..part]).unwrap();
            left -= part;
        }
    }

    fn churn(function: String) {
        let name = function.as_str();
        let large = file("churned");
        let ready = monotonic_clock::subscribe_duration(0);
        let many = vec![&ready; 4096];
        let long = "x".repeat(4 << 20);
        let (fields, request) = (Fields::new(), OutgoingRequest::new(Fields::new()));
        let network = instance_network();
        loop {
            match name {
                "random" => drop(random::get_random_bytes(64 << 10)),
                "set-size" => {
                    large.set_size(1 << 30).unwrap();
                    large.set_size(0).unwrap();
                }
                "poll" => drop(poll::poll(&many)),
                "read" => drop(large.read(u64::MAX, 0)),
                "environment" => drop(environment::get_environment()),
                "has-field" => assert!(!fields.has(&long)),
                "delete-field" => assert!(fields.delete(&long).is_err()),
                "set-path" => assert!(request.set_path_with_query(Some(&long)).is_err()),
                "resolve" => assert!(resolve_addresses(&network, &long).is_err()),
                "fetch" => {
                    let (url, headers) = (long.clone(), Vec::new());
                    let request = https::Request { method: https::Method::Get, url, headers, body: None };
                    assert!(https::fetch(&request).is_err());
                }
                other => panic!("{other}"),
            }
        }
    }

    fn fill(prefix: String) -> (String, u32) {
        let block = vec![7; 1 << 20];
        let mut written = 0;
        loop {
            let result = File::create(format!("{prefix}{written}")).and_then(|mut file| {
                file.write_all(&block)?;
                file.sync_data()
            });
            match result {
                Ok(()) => written += 1,
                Err(error) => {
                    fs::remove_file(format!("{prefix}{written}")).expect("it was made");
                    return (format!("{:?}", error.kind()), written);
                }
            }
        }
    }

    fn clear(prefix: String) -> u32 {
        let mut cleared = 0;
        for entry in fs::read_dir("/").expect("a directory").flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_file(entry.path()).expect("it was there");
                cleared += 1;
            }
        }
        cleared
    }
}

export!(Hostile);
