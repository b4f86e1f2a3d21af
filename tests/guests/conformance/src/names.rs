//! `wasi:filesystem`: paths, and everything that makes, finds or takes away a name.

use crate::wasi::filesystem::preopens::get_directories;
use crate::wasi::filesystem::types::{Descriptor, DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};
use crate::{Log, get, names_in, open, open_directory, put, scratch};

pub fn preopens(log: &mut Log) {
    let directories = get_directories();
    log.say("preopened", directories.iter().map(|(_, name)| name).collect::<Vec<_>>());
    let (root, _) = &directories[0];
    log.say("type", root.get_type());
    log.say("flags", root.get_flags());
    log.say("twice the same", root.is_same_object(&get_directories()[0].0));
}

/// Every combination of flags on a file, a directory and a free name.
pub fn opening(log: &mut Log) {
    let here = scratch("open");
    let descriptor_flags = [
        DescriptorFlags::empty(),
        DescriptorFlags::READ,
        DescriptorFlags::WRITE,
        DescriptorFlags::READ | DescriptorFlags::WRITE,
        DescriptorFlags::MUTATE_DIRECTORY,
        DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY,
    ];
    for target in ["file", "directory", "free", "free/", "file/", "directory/", "directory/."] {
        for bits in 0..16 {
            let how = OpenFlags::from_bits_truncate(bits);
            for flags in descriptor_flags {
                put(&here, "file", b"text");
                if open(&here, "directory", OpenFlags::DIRECTORY, DescriptorFlags::READ).is_err() {
                    here.create_directory_at("directory").expect("a directory");
                }
                let opened = open(&here, target, how, flags);
                let opened = opened.map(|opened| (opened.get_type(), opened.get_flags()));
                log.say(format!("{target} {how:?} {flags:?}"), opened);
                log.say("  then", names_in(&here));
                log.say("  and", get(&here, "file"));
                for left in ["free", "directory"] {
                    // Whichever it is, it goes: the next line begins with the same names.
                    let _ = here.unlink_file_at(left);
                    let _ = here.remove_directory_at(left);
                }
            }
        }
    }
    put(&here, "file", b"text");
    for flags in [
        DescriptorFlags::FILE_INTEGRITY_SYNC,
        DescriptorFlags::DATA_INTEGRITY_SYNC,
        DescriptorFlags::REQUESTED_WRITE_SYNC,
    ] {
        let opened = open(&here, "file", OpenFlags::empty(), DescriptorFlags::READ | flags);
        log.say(format!("file {flags:?}"), opened.map(|opened| opened.get_flags()));
    }
    let file = open(&here, "file", OpenFlags::empty(), DescriptorFlags::READ).expect("a file");
    log.say("below a file", open(&file, "x", OpenFlags::empty(), DescriptorFlags::READ).map(drop));
}

/// Every operation that takes a path, with every kind of path.
pub fn paths(log: &mut Log) {
    let outer = scratch("paths");
    let long_name = "n".repeat(255);
    let too_long_name = "n".repeat(256);
    let long_path = "d/../".repeat(800) + "file";
    let too_long_path = "d/../".repeat(900) + "file";
    let paths = [
        "",
        ".",
        "./",
        "..",
        "../",
        "/",
        "//",
        "/file",
        "/paths/here/file",
        "./file",
        "file/",
        "file//",
        "file/.",
        "file/..",
        "file/x",
        "./d",
        "d/",
        "d//",
        "d/.",
        "d/..",
        "d/../",
        "d/../file",
        "d/../..",
        "d/../../here/file",
        "../here/file",
        "./.././here",
        "none",
        "none/",
        "none/x",
        "none/..",
        "none/../file",
        "d/none",
        "d/none/x",
        "d//inner",
        "d/./inner",
        "d///inner//",
        "a\0b",
        "\0",
        "a\\b",
        "...",
        " ",
        "ünïcödé",
        &long_name,
        &too_long_name,
        &long_path,
        &too_long_path,
    ];
    let shown =
        |path: &str| if path.len() > 100 { format!("{} bytes", path.len()) } else { format!("{path:?}") };
    type Operation = (&'static str, fn(&Descriptor, &str) -> String);
    let operations: &[Operation] = &[
        ("stat-at", |here, path| {
            format!("{:?}", here.stat_at(PathFlags::empty(), path).map(|stat| (stat.type_, stat.size > 4096)))
        }),
        ("stat-at, links followed", |here, path| {
            format!("{:?}", here.stat_at(PathFlags::SYMLINK_FOLLOW, path).map(|stat| stat.type_))
        }),
        ("metadata-hash-at", |here, path| {
            format!("{:?}", here.metadata_hash_at(PathFlags::empty(), path).map(drop))
        }),
        ("open-at", |here, path| {
            format!(
                "{:?}",
                open(here, path, OpenFlags::empty(), DescriptorFlags::READ).map(|it| it.get_type())
            )
        }),
        ("open-at, made", |here, path| {
            format!(
                "{:?}",
                open(here, path, OpenFlags::CREATE, DescriptorFlags::WRITE).map(|it| it.get_type())
            )
        }),
        ("open-at, links followed", |here, path| {
            let opened =
                here.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::DIRECTORY, DescriptorFlags::READ);
            format!("{:?}", opened.map(|it| it.get_type()))
        }),
        ("create-directory-at", |here, path| format!("{:?}", here.create_directory_at(path))),
        ("unlink-file-at", |here, path| format!("{:?}", here.unlink_file_at(path))),
        ("remove-directory-at", |here, path| format!("{:?}", here.remove_directory_at(path))),
        ("rename-at from", |here, path| format!("{:?}", here.rename_at(path, here, "moved"))),
        ("rename-at, a file to", |here, path| format!("{:?}", here.rename_at("file", here, path))),
        ("rename-at, a directory to", |here, path| format!("{:?}", here.rename_at("d", here, path))),
        ("set-times-at", |here, path| {
            let same = NewTimestamp::NoChange;
            format!("{:?}", here.set_times_at(PathFlags::empty(), path, same, same))
        }),
        ("readlink-at", |here, path| format!("{:?}", here.readlink_at(path).map(drop))),
    ];
    for (name, operation) in operations {
        for path in paths {
            let here = plant(&outer);
            log.say(format!("{name} {}", shown(path)), operation(&here, path));
            let names = names_in(&here).map(|names| names.iter().map(|name| shown(name)).collect::<Vec<_>>());
            log.say("  then", names);
            drop(here);
            raze(&outer, "here");
        }
    }
}

/// A directory `here` with a file and a directory in it.
fn plant(outer: &Descriptor) -> Descriptor {
    outer.create_directory_at("here").expect("a directory");
    let here = open_directory(outer, "here");
    put(&here, "file", b"text");
    here.create_directory_at("d").expect("a directory");
    put(&here, "d/inner", b"inside");
    here
}

/// Takes a directory away with all in it.
fn raze(base: &Descriptor, name: &str) {
    if let Ok(directory) = open(base, name, OpenFlags::DIRECTORY, DescriptorFlags::READ) {
        for inner in names_in(&directory).expect("names") {
            match inner.strip_suffix('/') {
                Some(inner) => raze(&directory, inner),
                None => directory.unlink_file_at(&inner).expect("a file that goes"),
            }
        }
    }
    base.remove_directory_at(name).expect("an empty directory");
}

/// Files and directories to every kind of target.
pub fn renaming(log: &mut Log) {
    let outer = scratch("rename");
    let sources = ["file", "empty", "full", "full/inner", "none", "file/", "empty/", "."];
    let targets = [
        "file",
        "other",
        "empty",
        "vacant",
        "full",
        "crowded",
        "free",
        "free/",
        "none/free",
        "file/free",
        "full/free",
        "empty/free",
        "full/inner",
        "crowded/inner",
        "other/",
        "vacant/",
        "empty/.",
        ".",
        "..",
    ];
    for source in sources {
        for target in targets {
            outer.create_directory_at("here").expect("a directory");
            let here = open_directory(&outer, "here");
            for directory in ["empty", "vacant", "full", "crowded"] {
                here.create_directory_at(directory).expect("a directory");
            }
            for file in ["file", "other", "full/inner", "crowded/inner"] {
                put(&here, file, file.as_bytes());
            }
            log.say(format!("{source} to {target}"), here.rename_at(source, &here, target));
            for directory in [".", "empty", "vacant", "full", "crowded", "free", "empty/free"] {
                if let Ok(opened) = open(&here, directory, OpenFlags::DIRECTORY, DescriptorFlags::READ) {
                    log.say(format!("  in {directory}"), names_in(&opened));
                }
            }
            for file in ["file", "other", "free", "full/inner"] {
                log.say(format!("  {file}"), get(&here, file));
            }
            drop(here);
            raze(&outer, "here");
        }
    }
    // Between two directories, and with the target open.
    outer.create_directory_at("a").expect("a directory");
    outer.create_directory_at("b").expect("a directory");
    let (a, b) = (open_directory(&outer, "a"), open_directory(&outer, "b"));
    put(&a, "file", b"new");
    put(&b, "file", b"old");
    let held = open(&b, "file", OpenFlags::empty(), DescriptorFlags::READ).expect("a file");
    log.say("over an open file", a.rename_at("file", &b, "file"));
    log.say("the handle", held.read(10, 0));
    log.say("the name", get(&b, "file"));
    log.say("a", names_in(&a));
    log.say("to above", a.rename_at("../b/file", &b, "x"));
    log.say("a file as a directory", held.rename_at("x", &b, "y"));
    log.say("into a file", b.rename_at("file", &held, "y"));
}

pub fn removing(log: &mut Log) {
    let here = scratch("remove");
    here.create_directory_at("d").expect("a directory");
    put(&here, "d/file", b"x");
    log.say("a full directory", here.remove_directory_at("d"));
    log.say("a directory as a file", here.unlink_file_at("d"));
    log.say("a file as a directory", here.remove_directory_at("d/file"));
    let inside = open_directory(&here, "d");
    log.say("the file", here.unlink_file_at("d/file"));
    log.say("the file again", here.unlink_file_at("d/file"));
    log.say("the directory", here.remove_directory_at("d"));
    log.say("the directory again", here.remove_directory_at("d"));
    // A handle of what is gone.
    log.say("type", inside.get_type());
    log.say("stat", inside.stat().map(|stat| stat.type_));
    log.say("names", names_in(&inside));
    log.say("make a file", open(&inside, "x", OpenFlags::CREATE, DescriptorFlags::WRITE).map(drop));
    log.say("make a directory", inside.create_directory_at("x"));
    log.say("find", inside.stat_at(PathFlags::empty(), "x").map(drop));
    log.say("find itself", inside.stat_at(PathFlags::empty(), ".").map(|stat| stat.type_));
    log.say("the root", crate::root().remove_directory_at("."));
    log.say("the root, by a way", crate::root().remove_directory_at("remove/.."));
}

/// Thousands of entries, and a directory that changes under its reader.
pub fn listing(log: &mut Log) {
    const MANY: usize = 2500;
    let here = scratch("readdir");
    log.say("none", names_in(&here));
    for n in 0..MANY {
        let name = format!("entry-{n:05}");
        if n % 10 == 0 {
            here.create_directory_at(&name).expect("a directory");
        } else {
            open(&here, &name, OpenFlags::CREATE, DescriptorFlags::WRITE).expect("a file");
        }
    }
    let names = names_in(&here).expect("names");
    log.say("many", (names.len(), names.first(), names.last(), names.is_sorted()));
    log.say("directories", names.iter().filter(|name| name.ends_with('/')).count());
    let (one, other) = (here.read_directory().expect("entries"), here.read_directory().expect("entries"));
    let read = |entries: &crate::wasi::filesystem::types::DirectoryEntryStream| {
        entries.read_directory_entry().expect("an entry").map(|entry| entry.name)
    };
    let mut left: std::collections::HashSet<String> = (0..MANY).map(|n| format!("entry-{n:05}")).collect();
    let mut same = true;
    while let Some(name) = read(&one) {
        same &= read(&other).as_ref() == Some(&name);
        left.remove(&name);
    }
    log.say("two readers see the same, and all", (same, read(&other), left.len()));
    log.say("behind the end", (read(&one), read(&one)));
    let entries = here.read_directory().expect("entries");
    let mut removed = 0;
    while let Some(name) = read(&entries) {
        removed += usize::from(here.unlink_file_at(&name).is_ok() || here.remove_directory_at(&name).is_ok());
    }
    log.say("removed while they are read", removed);
    log.say("left", names_in(&here));
    let file = open(&here, "file", OpenFlags::CREATE, DescriptorFlags::READ).expect("a file");
    log.say("of a file", file.read_directory().map(drop));
}

pub fn links(log: &mut Log) {
    let here = scratch("links");
    put(&here, "file", b"text");
    here.create_directory_at("d").expect("a directory");
    log.say("symlink-at", here.symlink_at("file", "symbolic"));
    log.say("symlink-at, absolute", here.symlink_at("/etc/passwd", "absolute"));
    log.say("link-at", here.link_at(PathFlags::empty(), "file", &here, "hard"));
    log.say("link-at, no such file", here.link_at(PathFlags::empty(), "none", &here, "hard2"));
    log.say("link-at, following", here.link_at(PathFlags::SYMLINK_FOLLOW, "file", &here, "hard3"));
    log.say("link-at, a directory", here.link_at(PathFlags::empty(), "d", &here, "hard4"));
    log.say("link-at, over a file", here.link_at(PathFlags::empty(), "file", &here, "d"));
    log.say("readlink-at a file", here.readlink_at("file"));
    log.say("readlink-at a directory", here.readlink_at("d"));
    log.say("readlink-at nothing", here.readlink_at("none"));
    log.say("readlink-at above", here.readlink_at("../x"));
    log.say("names", names_in(&here));
}
