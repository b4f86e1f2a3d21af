//! std::fs, function by function.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

fn hold(what: &str, holds: bool) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::other(format!("does not hold: {what}"))) }
}

fn fails<T>(what: &str, result: io::Result<T>, kind: ErrorKind) -> io::Result<()> {
    match result {
        Ok(_) => Err(io::Error::other(format!("should fail: {what}"))),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(io::Error::other(format!("{what}: {:?}, not {kind:?}", error.kind()))),
    }
}

pub fn exercise() -> io::Result<()> {
    if fs::metadata("probe").is_ok() {
        fs::remove_dir_all("probe")?;
    }
    fs::create_dir_all("probe/a/b")?;
    fs::write("probe/a/file", "0123456789")?;
    hold("read what was written", fs::read_to_string("probe/a/file")? == "0123456789")?;
    hold("absolute paths lead to the same", fs::read("/probe/a/file")?.len() == 10)?;

    let mut file = OpenOptions::new().read(true).write(true).open("probe/a/file")?;
    file.seek(SeekFrom::Start(4))?;
    file.write_all(b"xx")?;
    file.seek(SeekFrom::End(-2))?;
    let mut end = String::new();
    file.read_to_string(&mut end)?;
    hold("seek to the end", end == "89")?;
    file.set_len(6)?;
    file.sync_all()?;
    hold("set_len cuts", fs::read("probe/a/file")? == b"0123xx")?;
    file.set_len(8)?;
    hold("set_len fills with zeros", fs::read("probe/a/file")? == b"0123xx\0\0")?;
    hold("metadata of a handle", file.metadata()?.len() == 8 && file.metadata()?.is_file())?;

    let mut appender = OpenOptions::new().append(true).open("probe/a/file")?;
    appender.write_all(b"+")?;
    drop(appender);
    hold("append", fs::read("probe/a/file")?.ends_with(b"\0+"))?;

    let exclusive = || OpenOptions::new().write(true).create_new(true).open("probe/a/new");
    drop(exclusive()?);
    fails("create_new twice", exclusive(), ErrorKind::AlreadyExists)?;
    fails("open what is not there", File::open("probe/none"), ErrorKind::NotFound)?;
    fails("make a directory twice", fs::create_dir("probe/a"), ErrorKind::AlreadyExists)?;
    // The standard library has no kinds of its own for these on this target.
    hold("a full directory stays", fs::remove_dir("probe/a").is_err())?;
    hold("a file is no directory", fs::read_dir("probe/a/file").is_err())?;
    hold("what was opened to read is not written", File::open("probe/a/file")?.write(b"x").is_err())?;

    fs::rename("probe/a/file", "probe/a/b/moved")?;
    fs::write("probe/a/b/target", "old")?;
    fs::rename("probe/a/b/moved", "probe/a/b/target")?;
    hold("rename replaces", fs::read("probe/a/b/target")?.len() == 9)?;
    fails("the old name is free", fs::metadata("probe/a/file"), ErrorKind::NotFound)?;
    hold("nothing above the root", fs::metadata("../../etc").is_err())?;

    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir("probe/a")? {
        let entry = entry?;
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    hold("read_dir", names == ["b/", "new"])?;

    fs::copy("probe/a/b/target", "probe/a/copy")?;
    hold("copy", fs::read("probe/a/copy")?.len() == 9)?;
    let held = File::open("probe/a/copy")?;
    fs::remove_file("probe/a/copy")?;
    let mut rest = Vec::new();
    (&held).read_to_end(&mut rest)?;
    hold("an open file outlives its name", rest.len() == 9)?;
    let modified = fs::metadata("probe/a/new")?.modified()?;
    hold("modified is set", modified.elapsed().is_ok_and(|age| age.as_secs() < 3600))?;
    hold("no links", fs::hard_link("probe/a/new", "probe/a/link").is_err())?;
    fs::remove_dir_all("probe")?;
    fails("all is gone", fs::metadata("probe"), ErrorKind::NotFound)
}

/// Writes `mib` MiB, reads them back, and returns a checksum over them.
pub fn large(mib: u32) -> io::Result<u64> {
    let mut block = vec![0_u8; 1 << 20];
    let mut written = 0_u64;
    let mut file = File::create("large")?;
    for n in 0..mib {
        for (at, byte) in block.iter_mut().step_by(512).enumerate() {
            *byte = (at as u32 ^ n) as u8;
        }
        written = sum(written, &block);
        file.write_all(&block)?;
    }
    file.sync_data()?;
    drop(file);
    let mut file = File::open("large")?;
    let mut read = 0_u64;
    for _ in 0..mib {
        file.read_exact(&mut block)?;
        read = sum(read, &block);
    }
    hold("the same bytes", read == written && file.read(&mut block)? == 0)?;
    Ok(read)
}

fn sum(sum: u64, block: &[u8]) -> u64 {
    block.iter().step_by(512).fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}
