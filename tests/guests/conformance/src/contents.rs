//! `wasi:filesystem`: what files hold.

use crate::wasi::filesystem::types::{Advice, DescriptorFlags, OpenFlags};
use crate::{Log, file, get, open, put, scratch, text};

pub fn contents(log: &mut Log) {
    let here = scratch("contents");
    let it = file(&here, "file");
    log.say("read an empty file", it.read(10, 0));
    log.say("read nothing of it", it.read(0, 0));
    log.say("write nothing", it.write(b"", 0));
    log.say("write nothing far behind the end", it.write(b"", 1000));
    log.say("size", it.stat().map(|stat| stat.size));
    log.say("write", it.write(b"0123456789", 0));
    log.say("read all", it.read(100, 0));
    log.say("read to the end", it.read(10, 0));
    log.say("read a part", it.read(3, 4));
    log.say("read nothing", it.read(0, 4));
    log.say("read at the end", it.read(5, 10));
    log.say("read nothing at the end", it.read(0, 10));
    log.say("read behind the end", it.read(5, 11));
    log.say("read over the end", it.read(5, 8));
    log.say("overwrite", it.write(b"abc", 2));
    log.say("then", it.read(100, 0).map(|(bytes, _)| text(&bytes)));
    log.say("write over the end", it.write(b"XYZ", 9));
    log.say("write behind the end", it.write(b"!", 16));
    log.say("then", it.read(100, 0).map(|(bytes, _)| text(&bytes)));
    for offset in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1] {
        log.say(format!("read at {offset}"), it.read(1, offset));
        log.say(format!("write at {offset}"), it.write(b"x", offset));
        log.say(format!("write nothing at {offset}"), it.write(b"", offset));
    }
    // More than any host moves at once.
    let block: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let mut written = 0;
    while written < block.len() {
        written += it.write(&block[written..], written as u64).expect("bytes are taken") as usize;
    }
    let mut read = Vec::new();
    loop {
        let (part, end) = it.read(1 << 20, read.len() as u64).expect("bytes are given");
        read.extend(part);
        if end {
            break;
        }
    }
    log.say("a large file", (read.len(), read == block));

    let reader = open(&here, "file", OpenFlags::empty(), DescriptorFlags::READ).expect("a file");
    log.say("write through a reader", reader.write(b"x", 0));
    log.say("a writing stream of it", reader.write_via_stream(0).map(drop));
    log.say("an appending stream of it", reader.append_via_stream().map(drop));
    log.say("its size", reader.set_size(3));
    let writer = open(&here, "file", OpenFlags::empty(), DescriptorFlags::WRITE).expect("a file");
    log.say("read through a writer", writer.read(1, 0).map(drop));
    log.say("write through it", writer.write(b"w", 0));
    for advice in [
        Advice::Normal,
        Advice::Sequential,
        Advice::Random,
        Advice::WillNeed,
        Advice::DontNeed,
        Advice::NoReuse,
    ] {
        log.say(format!("{advice:?}"), (it.advise(0, 100, advice), it.advise(1 << 40, 0, advice)));
    }
    log.say("advise of more than there can be", it.advise(u64::MAX, u64::MAX, Advice::WillNeed));
    log.say("text of another file", get(&here, "none"));
}

pub fn size(log: &mut Log) {
    let here = scratch("size");
    put(&here, "file", b"0123456789");
    let it = file(&here, "file");
    let shown = |log: &mut Log| log.say("  holds", it.read(100, 0).map(|(bytes, _)| text(&bytes)));
    for size in [4, 4, 8, 0, 3, 12] {
        log.say(format!("set-size {size}"), it.set_size(size));
        log.say("  size", it.stat().map(|stat| stat.size));
        shown(log);
    }
    log.say("write into the hole", it.write(b"ab", 6));
    shown(log);
    log.say("cut and grow", (it.set_size(7), it.set_size(10)));
    shown(log);
    log.say("a large hole", it.set_size(300_000));
    log.say("write at its end", it.write(b"end", 299_997));
    let (bytes, end) = it.read(100, 299_990).expect("bytes");
    log.say("read", (text(&bytes), end));
    log.say("cut in the middle of it", it.set_size(65_537));
    log.say("and grow again", it.set_size(300_000));
    log.say("zeros", it.read(100, 299_950).map(|(bytes, _)| bytes.iter().all(|byte| *byte == 0)));
    for size in [u64::MAX, 1 << 63] {
        log.say(format!("set-size {size}"), it.set_size(size));
    }
    log.say("size", it.stat().map(|stat| stat.size));
}

pub fn append(log: &mut Log) {
    let here = scratch("append");
    put(&here, "file", b"start");
    let it = file(&here, "file");
    let one = it.append_via_stream().expect("a stream");
    let two = it.append_via_stream().expect("a stream");
    log.say("one", one.blocking_write_and_flush(b" one"));
    log.say("two", two.blocking_write_and_flush(b" two"));
    log.say("one again", one.blocking_write_and_flush(b" three"));
    log.say("written elsewhere", it.write(b"S", 0));
    log.say("cut", it.set_size(9));
    log.say("appended behind the cut", two.blocking_write_and_flush(b" four"));
    log.say("zeros", one.blocking_write_zeroes_and_flush(2));
    log.say("text", get(&here, "file"));
}

pub fn two_handles(log: &mut Log) {
    let here = scratch("two-handles");
    let (one, two) = (file(&here, "file"), file(&here, "file"));
    log.say("the same", one.is_same_object(&two));
    log.say("written through one", one.write(b"one", 0));
    log.say("seen through the other", two.read(10, 0));
    let (reader, writer) =
        (two.read_via_stream(0).expect("a stream"), one.write_via_stream(3).expect("a stream"));
    log.say("a reading stream", reader.blocking_read(2));
    log.say("written by a stream", writer.blocking_write_and_flush(b"two"));
    log.say("read on", (reader.blocking_read(100), reader.blocking_read(100)));
    log.say("written behind a closed stream", one.write(b"!", 6));
    log.say("it stays closed", reader.blocking_read(100));
    log.say("cut through one", one.set_size(2));
    log.say("seen through the other", (two.read(10, 0), two.stat().map(|stat| stat.size)));
    drop(one);
    log.say("one is closed", two.write(b"x", 0));
    log.say("text", get(&here, "file"));
    let truncated = open(&here, "file", OpenFlags::TRUNCATE, DescriptorFlags::WRITE).expect("a file");
    log.say("truncated by a third", (two.read(10, 0), truncated.stat().map(|stat| stat.size)));
}

/// A file lives as long as somebody has it open.
pub fn unlinked(log: &mut Log) {
    let here = scratch("unlinked");
    let it = file(&here, "file");
    log.say("write", it.write(b"text", 0));
    let links = |file: &crate::wasi::filesystem::types::Descriptor| {
        file.stat().map(|stat| (stat.link_count, stat.size, stat.type_))
    };
    log.say("links", links(&it));
    log.say("unlink", here.unlink_file_at("file"));
    log.say("links", links(&it));
    log.say("read", it.read(10, 0));
    log.say("write", it.write(b"more", 4));
    log.say("size", it.set_size(6));
    log.say("read", it.read(10, 0));
    log.say("hash", it.metadata_hash().map(drop));
    log.say("sync", (it.sync(), it.sync_data()));
    log.say("the name is free", get(&here, "file"));
    put(&here, "file", b"another");
    let another = file(&here, "file");
    log.say("another of that name", (it.is_same_object(&another), it.read(10, 0), get(&here, "file")));
    let stream = it.read_via_stream(1).expect("a stream");
    log.say("a stream of it", stream.blocking_read(3));
}

pub fn sync(log: &mut Log) {
    let here = scratch("sync");
    let it = file(&here, "file");
    let stream = it.write_via_stream(0).expect("a stream");
    log.say("write", stream.blocking_write_and_flush(b"text"));
    log.say("sync", it.sync());
    log.say("sync-data", it.sync_data());
    log.say("a directory", (here.sync(), here.sync_data()));
    let reader = open(&here, "file", OpenFlags::empty(), DescriptorFlags::READ).expect("a file");
    log.say("through a reader", (reader.sync(), reader.sync_data()));
    log.say("text", get(&here, "file"));
}
