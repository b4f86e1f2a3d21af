//! Uses every interface of WASI 0.2 and writes down what it was answered, so that two hosts can be compared.
//!
//! What may differ between two runs (times, random bytes, how much a stream takes at once) is not written down, only
//! what must hold of it.

wit_bindgen::generate!({
    path: "../../../sdk/wit",
    inline: "
        package test:conformance@1.0.0;

        world conformance {
            /// Plays one section: a line for each answer.
            export section: func(name: string) -> list<string>;
            /// Does something that a host must trap on.
            export misuse: func(name: string);

            import wasi:cli/environment@0.2.12;
            import wasi:cli/stdin@0.2.12;
            import wasi:cli/stdout@0.2.12;
            import wasi:cli/stderr@0.2.12;
            import wasi:cli/terminal-stdin@0.2.12;
            import wasi:cli/terminal-stdout@0.2.12;
            import wasi:cli/terminal-stderr@0.2.12;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:clocks/wall-clock@0.2.12;
            import wasi:filesystem/preopens@0.2.12;
            import wasi:filesystem/types@0.2.12;
            import wasi:io/error@0.2.12;
            import wasi:io/poll@0.2.12;
            import wasi:io/streams@0.2.12;
            import wasi:random/random@0.2.12;
            import wasi:random/insecure@0.2.12;
            import wasi:random/insecure-seed@0.2.12;
            import wasi:sockets/instance-network@0.2.12;
            import wasi:sockets/ip-name-lookup@0.2.12;
            import wasi:sockets/network@0.2.12;
            import wasi:sockets/tcp-create-socket@0.2.12;
            import wasi:sockets/udp-create-socket@0.2.12;
        }
    ",
    world: "test:conformance/conformance",
    generate_all,
});

mod contents;
mod metadata;
mod misuse;
mod names;
mod standard;
mod streams;
mod world;

use std::fmt::Debug;

use wasi::filesystem::preopens::get_directories;
use wasi::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

/// What a section was answered so far.
#[derive(Default)]
struct Log(Vec<String>);

impl Log {
    fn say(&mut self, what: impl AsRef<str>, answer: impl Debug) {
        self.0.push(format!("{}: {answer:?}", what.as_ref()));
    }
}

/// A fresh directory for a section, below the root.
fn scratch(name: &str) -> Descriptor {
    let root = root();
    root.create_directory_at(name).expect("the section was played before");
    open_directory(&root, name)
}

fn root() -> Descriptor {
    get_directories().swap_remove(0).0
}

fn open_directory(base: &Descriptor, path: &str) -> Descriptor {
    let how = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
    base.open_at(PathFlags::empty(), path, OpenFlags::DIRECTORY, how).expect("a directory")
}

fn open(
    base: &Descriptor,
    path: &str,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, ErrorCode> {
    base.open_at(PathFlags::empty(), path, how, flags)
}

/// A file opened to read and write, made if there is none.
fn file(base: &Descriptor, path: &str) -> Descriptor {
    open(base, path, OpenFlags::CREATE, DescriptorFlags::READ | DescriptorFlags::WRITE).expect("a file")
}

/// Makes a file of these bytes.
fn put(base: &Descriptor, path: &str, bytes: &[u8]) {
    let file = file(base, path);
    file.set_size(0).expect("an empty file");
    assert_eq!(file.write(bytes, 0), Ok(bytes.len() as u64));
}

/// What the file holds, or why it cannot be read.
fn get(base: &Descriptor, path: &str) -> Result<String, ErrorCode> {
    let file = open(base, path, OpenFlags::empty(), DescriptorFlags::READ)?;
    Ok(text(&file.read(1 << 16, 0)?.0))
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The names in a directory, sorted, with a slash behind those of directories.
fn names_in(directory: &Descriptor) -> Result<Vec<String>, ErrorCode> {
    let entries = directory.read_directory()?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry()? {
        let slash = if entry.type_ == wasi::filesystem::types::DescriptorType::Directory { "/" } else { "" };
        names.push(format!("{}{slash}", entry.name));
    }
    names.sort();
    Ok(names)
}

struct Conformance;

impl Guest for Conformance {
    fn section(name: String) -> Vec<String> {
        let mut log = Log::default();
        let play: fn(&mut Log) = match name.as_str() {
            "filesystem-preopens" => names::preopens,
            "filesystem-open" => names::opening,
            "filesystem-paths" => names::paths,
            "filesystem-rename" => names::renaming,
            "filesystem-remove" => names::removing,
            "filesystem-readdir" => names::listing,
            "filesystem-links" => names::links,
            "filesystem-contents" => contents::contents,
            "filesystem-size" => contents::size,
            "filesystem-append" => contents::append,
            "filesystem-two-handles" => contents::two_handles,
            "filesystem-unlinked" => contents::unlinked,
            "filesystem-sync" => contents::sync,
            "filesystem-stat" => metadata::stat,
            "filesystem-times" => metadata::times,
            "filesystem-identity" => metadata::identity,
            "filesystem-wrong-type" => metadata::wrong_type,
            "filesystem-standard-library" => standard::files,
            "io-input-streams" => streams::input,
            "io-output-streams" => streams::output,
            "io-splice" => streams::splice,
            "io-closed" => streams::closed,
            "io-poll" => streams::poll,
            "clocks" => world::clocks,
            "random" => world::random,
            "cli" => world::cli,
            "sockets" => world::sockets,
            other => panic!("there is no section {other}"),
        };
        play(&mut log);
        log.0
    }

    fn misuse(name: String) {
        misuse::commit(&name);
    }
}

export!(Conformance);
