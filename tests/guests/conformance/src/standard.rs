//! Files through the Rust standard library.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, UNIX_EPOCH};

use crate::Log;

/// An error as its kind and its number in the C library.
fn words<T>(result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{:?} {:?}", error.kind(), error.raw_os_error()))
}

fn list(path: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for entry in words(fs::read_dir(path))? {
        let entry = words(entry)?;
        let kind = words(entry.file_type())?;
        names.push(format!(
            "{} {}",
            entry.file_name().display(),
            if kind.is_dir() { "directory" } else { "file" }
        ));
    }
    names.sort();
    Ok(names)
}

pub fn files(log: &mut Log) {
    log.say("create_dir_all", words(fs::create_dir_all("/standard/a/b")));
    log.say("set_current_dir", words(std::env::set_current_dir("/standard")));
    log.say("create_dir_all again", words(fs::create_dir_all("a/b")));
    log.say("create_dir", words(fs::create_dir("a")));
    log.say("write", words(fs::write("a/file", "0123456789")));
    log.say("read_to_string", words(fs::read_to_string("a/file")));
    log.say("read, absolute", words(fs::read_to_string("/standard/a/file")));
    log.say("read, by a way", words(fs::read_to_string("a/b/../file")));
    log.say("read nothing", words(fs::read("none")));
    log.say("read a directory", words(fs::read("a")));
    log.say("write a directory", words(fs::write("a", "")));
    log.say("write below a file", words(fs::write("a/file/x", "")));
    log.say("above the root", words(fs::metadata("/../etc/passwd").map(drop)));

    let mut file = OpenOptions::new().read(true).write(true).open("a/file").expect("a file");
    log.say("seek", words(file.seek(SeekFrom::Start(4))));
    log.say("write there", words(file.write(b"xx")));
    log.say("position", words(file.stream_position()));
    log.say("seek from the end", words(file.seek(SeekFrom::End(-2))));
    let mut end = String::new();
    log.say("read to the end", (words(file.read_to_string(&mut end)), end));
    log.say("seek before the start", words(file.seek(SeekFrom::Current(-100))));
    log.say("set_len", words(file.set_len(3)));
    log.say("sync", (words(file.sync_all()), words(file.sync_data())));
    let modified = UNIX_EPOCH + Duration::new(1_000_000, 500);
    log.say("set_modified", words(file.set_modified(modified)));
    log.say("modified", words(file.metadata().and_then(|all| all.modified())).map(|time| time == modified));
    log.say("try_clone", words(file.try_clone().map(drop)));

    let mut appender = OpenOptions::new().append(true).open("a/file").expect("a file");
    log.say(
        "append",
        (words(appender.write(b"+")), words(appender.seek(SeekFrom::Start(0))), words(appender.write(b"+"))),
    );
    log.say("text", words(fs::read_to_string("a/file")));
    log.say("create_new", words(OpenOptions::new().write(true).create_new(true).open("a/file").map(drop)));
    log.say("write a reader", words(File::open("a/file").and_then(|mut file| file.write(b"x"))));
    log.say("read a writer", words(File::create("a/created").and_then(|mut file| file.read(&mut [0; 4]))));
    log.say("copy", words(fs::copy("a/file", "a/copy")));
    log.say("rename", words(fs::rename("a/copy", "a/b/moved")));
    log.say("rename a directory into itself", words(fs::rename("a", "a/b/c")));
    log.say("rename a file over a directory", words(fs::rename("a/file", "a/b")));
    log.say("rename a directory over a file", words(fs::rename("a/b", "a/file")));
    log.say("exists", words(fs::exists("a/b/moved")));
    log.say("exists not", words(fs::exists("a/copy")));
    log.say("read_dir", list("a"));
    log.say("read_dir of a file", list("a/file"));
    log.say(
        "metadata",
        words(fs::metadata("a/file"))
            .map(|all| (all.len(), all.is_file(), all.is_dir(), all.permissions().readonly())),
    );
    log.say("symlink_metadata", words(fs::symlink_metadata("a")).map(|all| all.is_dir()));
    log.say("remove_dir, full", words(fs::remove_dir("a")));
    log.say("remove_dir, a file", words(fs::remove_dir("a/file")));
    log.say("remove_file, a directory", words(fs::remove_file("a/b")));
    log.say("remove_file", words(fs::remove_file("a/file")));
    log.say("remove_file again", words(fs::remove_file("a/file")));
    log.say("remove_dir_all", words(fs::remove_dir_all("a")));
    log.say("left", list("/standard"));

    let many: Vec<String> = (0..300).map(|n| format!("/standard/{n}")).collect();
    log.say("many", many.iter().all(|name| fs::write(name, name).is_ok()));
    log.say("all there", list("/standard").map(|names| names.len()));
    log.say(
        "all as they were",
        many.iter().all(|name| fs::read(name).is_ok_and(|text| text == name.as_bytes())),
    );
    log.say("removed", words(fs::remove_dir_all("/standard")));
}
