//! `wasi:filesystem`: what is known of a file beside its bytes, and operations on the wrong kind of thing.

use crate::wasi::clocks::wall_clock::{self, Datetime};
use crate::wasi::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DescriptorStat, ErrorCode, MetadataHashValue, NewTimestamp,
    OpenFlags, PathFlags,
};
use crate::{Log, file, get, open, open_directory, put, scratch};

pub fn stat(log: &mut Log) {
    let here = scratch("stat");
    put(&here, "file", b"0123456789");
    here.create_directory_at("d").expect("a directory");
    let it = file(&here, "file");
    let all = it.stat().expect("a stat");
    log.say("a file", (all.type_, all.size, all.link_count));
    let now = wall_clock::now().seconds;
    let recent = |time: Option<Datetime>| {
        time.map(|time| time.seconds.abs_diff(now) < 3600 && time.nanoseconds < 1_000_000_000)
    };
    log.say(
        "its times",
        (
            recent(all.data_access_timestamp),
            recent(all.data_modification_timestamp),
            recent(all.status_change_timestamp),
        ),
    );
    let same = |other: Result<DescriptorStat, ErrorCode>| {
        other.map(|other| format!("{other:?}") == format!("{all:?}"))
    };
    log.say("by its path", same(here.stat_at(PathFlags::empty(), "file")));
    log.say("by its path, links followed", same(here.stat_at(PathFlags::SYMLINK_FOLLOW, "file")));
    log.say("by a way", same(here.stat_at(PathFlags::empty(), "d/../file")));
    log.say(
        "a directory",
        here.stat_at(PathFlags::empty(), "d").map(|stat| (stat.type_, stat.link_count > 0)),
    );
    log.say("by its handle", open_directory(&here, "d").stat().map(|stat| stat.type_));
    log.say("nothing", here.stat_at(PathFlags::empty(), "none").map(drop));
    log.say("written later", it.write(b"x", 10));
    log.say("then", here.stat_at(PathFlags::empty(), "file").map(|stat| stat.size));
}

fn at(seconds: u64, nanoseconds: u32) -> NewTimestamp {
    NewTimestamp::Timestamp(Datetime { seconds, nanoseconds })
}

pub fn times(log: &mut Log) {
    let here = scratch("times");
    put(&here, "file", b"text");
    here.create_directory_at("d").expect("a directory");
    let it = file(&here, "file");
    let shown = |stat: Result<DescriptorStat, ErrorCode>| {
        stat.map(|stat| (stat.data_access_timestamp, stat.data_modification_timestamp))
    };
    let (keep, now) = (NewTimestamp::NoChange, NewTimestamp::Now);
    log.say("both", it.set_times(at(1_000_000_000, 123_456_789), at(1_234_567_890, 0)));
    log.say("then", shown(it.stat()));
    log.say("the first only", it.set_times(at(5, 7), keep));
    log.say("then", shown(it.stat()));
    log.say(
        "the second only, by path",
        here.set_times_at(PathFlags::empty(), "file", keep, at(9, 999_999_999)),
    );
    log.say("then", shown(it.stat()));
    log.say("none", here.set_times_at(PathFlags::SYMLINK_FOLLOW, "file", keep, keep));
    log.say("then", shown(it.stat()));
    log.say("of 1970", it.set_times(at(0, 0), at(0, 1)));
    log.say("then", shown(it.stat()));
    log.say("far ahead", it.set_times(at(1 << 33, 5), keep));
    log.say("then", shown(it.stat()));
    let seconds = wall_clock::now().seconds;
    log.say("now", it.set_times(now, now));
    let stat = it.stat().expect("a stat");
    let recent = |time: Option<Datetime>| time.is_some_and(|time| time.seconds.abs_diff(seconds) < 3600);
    log.say("then", (recent(stat.data_access_timestamp), recent(stat.data_modification_timestamp)));
    let before = it.set_times(at(50, 0), at(60, 0));
    log.say("set, then written", (before, it.write(b"more", 0)));
    let stat = it.stat().expect("a stat");
    log.say("then", (stat.data_access_timestamp, recent(stat.data_modification_timestamp)));
    log.say("too many nanoseconds", it.set_times(at(70, 1_500_000_000), at(80, u32::MAX)));
    log.say("then", shown(it.stat()));
    log.say("beyond all time", it.set_times(at(u64::MAX, 0), keep));
    log.say("beyond it by its nanoseconds", it.set_times(keep, at(u64::MAX, u32::MAX)));
    log.say("then", shown(it.stat()));
    log.say("a directory", here.set_times_at(PathFlags::empty(), "d", at(100, 1), at(200, 2)));
    log.say("then", shown(here.stat_at(PathFlags::empty(), "d")));
    log.say("by its handle", open_directory(&here, "d").set_times(at(300, 3), keep));
    log.say("then", shown(here.stat_at(PathFlags::empty(), "d")));
    let reader = open(&here, "file", OpenFlags::empty(), DescriptorFlags::READ).expect("a file");
    log.say("through a reader", reader.set_times(at(11, 0), at(12, 0)));
    log.say("then", shown(reader.stat()));
    put(&here, "renamed", b"r");
    log.say("before a rename", here.set_times_at(PathFlags::empty(), "renamed", at(21, 0), at(22, 0)));
    log.say("rename", here.rename_at("renamed", &here, "renamed-2"));
    log.say("then", shown(here.stat_at(PathFlags::empty(), "renamed-2")));
    log.say("of a directory", here.set_times_at(PathFlags::empty(), "d", at(31, 0), at(32, 0)));
    put(&here, "d/new", b"n");
    let stat = here.stat_at(PathFlags::empty(), "d").expect("a stat");
    log.say("a new name changes it", recent(stat.data_modification_timestamp));
}

pub fn identity(log: &mut Log) {
    let here = scratch("identity");
    put(&here, "one", b"same");
    put(&here, "two", b"same");
    here.create_directory_at("d").expect("a directory");
    let (one, again, two) = (file(&here, "one"), file(&here, "one"), file(&here, "two"));
    let directory = open_directory(&here, "d");
    log.say("itself", one.is_same_object(&one));
    log.say("opened twice", one.is_same_object(&again));
    log.say("another", one.is_same_object(&two));
    log.say(
        "a directory",
        (one.is_same_object(&directory), directory.is_same_object(&open_directory(&here, "d"))),
    );
    log.say("by a way", directory.is_same_object(&open_directory(&here, "d/../d/.")));

    let key = |hash: MetadataHashValue| (hash.upper, hash.lower);
    let hash = |file: &Descriptor| key(file.metadata_hash().expect("a hash"));
    let hash_at = |path: &str| key(here.metadata_hash_at(PathFlags::empty(), path).expect("a hash"));
    log.say("hash of itself", hash(&one) == hash(&one));
    log.say("hash, opened twice", hash(&one) == hash(&again));
    log.say("hash by path", hash(&one) == hash_at("one"));
    let followed = here.metadata_hash_at(PathFlags::SYMLINK_FOLLOW, "one").map(key);
    log.say("hash by path, links followed", followed == Ok(hash(&one)));
    log.say("hash of another", hash(&one) == hash(&two));
    log.say("hash of a directory", (hash(&directory) == hash_at("d"), hash(&directory) == hash(&here)));
    let before = hash(&one);
    log.say("rename", here.rename_at("one", &here, "renamed"));
    log.say("hash after a rename", before == hash_at("renamed"));
    log.say("the same after a rename", one.is_same_object(&file(&here, "renamed")));
    let before = hash(&one);
    log.say("write", one.write(b"more than before", 0));
    log.say("hash after a write", before == hash(&one));
    let before = hash(&one);
    log.say("times", one.set_times(at(1, 1), at(2, 2)));
    log.say("hash after new times", before == hash(&one));
    log.say("replaced", here.rename_at("two", &here, "renamed"));
    log.say("the same after a replacement", one.is_same_object(&file(&here, "renamed")));
    log.say("of nothing", here.metadata_hash_at(PathFlags::empty(), "none").map(drop));
}

/// What is for files on a directory, and the other way round.
pub fn wrong_type(log: &mut Log) {
    let here = scratch("wrong-type");
    put(&here, "file", b"text");
    let (it, other) = (file(&here, "file"), file(&here, "file"));
    let none = PathFlags::empty();
    let keep = NewTimestamp::NoChange;
    log.say("file: create-directory-at", it.create_directory_at("x"));
    log.say("file: stat-at", it.stat_at(none, "x").map(drop));
    log.say("file: stat-at .", it.stat_at(none, ".").map(drop));
    log.say("file: open-at", it.open_at(none, "x", OpenFlags::CREATE, DescriptorFlags::WRITE).map(drop));
    log.say("file: set-times-at", it.set_times_at(none, "x", keep, keep));
    log.say("file: readlink-at", it.readlink_at("x"));
    log.say("file: remove-directory-at", it.remove_directory_at("x"));
    log.say("file: unlink-file-at", it.unlink_file_at("x"));
    log.say("file: rename-at", it.rename_at("x", &other, "y"));
    log.say("file: symlink-at", it.symlink_at("x", "y"));
    log.say("file: link-at", it.link_at(none, "x", &other, "y"));
    log.say("file: metadata-hash-at", it.metadata_hash_at(none, "x").map(drop));
    log.say("file: read-directory", it.read_directory().map(drop));
    log.say("directory: read", here.read(1, 0));
    log.say("directory: write", here.write(b"x", 0));
    log.say("directory: write nothing", here.write(b"", 0));
    log.say("directory: set-size", here.set_size(0));
    log.say("directory: advise", here.advise(0, 0, Advice::Normal));
    log.say("directory: read-via-stream", here.read_via_stream(0).map(drop));
    log.say("directory: write-via-stream", here.write_via_stream(0).map(drop));
    log.say("directory: append-via-stream", here.append_via_stream().map(drop));
    log.say("directory: sync", (here.sync(), here.sync_data()));
    log.say("directory: set-times", here.set_times(keep, keep));
    log.say("directory: types", (here.get_type(), it.get_type()));
    log.say("the file", get(&here, "file"));
}
