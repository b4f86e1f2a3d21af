//! What single operations may do: paths, renames, sizes, streams.

use super::*;

#[test]
fn paths_stay_below_their_directory() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.make_directory("a").await.unwrap();
        call.make_directory("a/b").await.unwrap();
        call.write_file("a/b/../f", b"x").await.unwrap();
        assert_eq!(call.read_file("./a//f").await.unwrap(), b"x");
        let a = call.run(|tx| tree::existing(tx, FileId::ROOT, "a")).await.unwrap().id;
        let long = "x".repeat(256);
        let path = "a/".repeat(2100);
        let cases = [
            ("..", ErrorCode::NotPermitted),
            ("b/../..", ErrorCode::NotPermitted),
            ("b/../../a/f", ErrorCode::NotPermitted),
            ("/", ErrorCode::NotPermitted),
            ("/f", ErrorCode::NotPermitted),
            ("", ErrorCode::NoEntry),
            ("nul\0", ErrorCode::Invalid),
            (&long, ErrorCode::NameTooLong),
            (&path, ErrorCode::NameTooLong),
            ("f/", ErrorCode::NotDirectory),
            ("f/x", ErrorCode::NotDirectory),
            ("missing/..", ErrorCode::NoEntry),
            ("f/..", ErrorCode::NotDirectory),
        ];
        for (path, expected) in cases {
            assert_eq!(code(call.run(|tx| tree::existing(tx, a, path)).await), expected, "{path:?}");
        }
        for path in ["b/..", "b/.", "./b/../.", "b/"] {
            call.run(|tx| tree::existing(tx, a, path)).await.unwrap();
        }
    });
}

#[test]
fn renaming_never_makes_a_loop_or_overwrites_what_it_must_not() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        for path in ["a", "a/b", "a/b/c", "empty", "full"] {
            call.make_directory(path).await.unwrap();
        }
        call.write_file("full/f", b"1").await.unwrap();
        call.write_file("g", b"2").await.unwrap();
        assert_eq!(code(call.rename("a", "a/b/c/a").await), ErrorCode::Invalid);
        assert_eq!(
            code(call.rename("a", "a").await.and(call.rename("a", "full").await)),
            ErrorCode::NotEmpty
        );
        assert_eq!(code(call.rename("a", "g").await), ErrorCode::NotDirectory);
        assert_eq!(code(call.rename("g", "empty").await), ErrorCode::IsDirectory);
        assert_eq!(code(call.rename("missing", "x").await), ErrorCode::NoEntry);
        call.rename("a/b", "empty").await.unwrap();
        assert_eq!(call.names("empty").await.unwrap(), ["c"]);
        // It knows its new place: a loop through it is still found.
        assert_eq!(code(call.rename("empty", "empty/c/x").await), ErrorCode::Invalid);
        call.rename("g", "full/f").await.unwrap();
        assert_eq!(call.read_file("full/f").await.unwrap(), b"2");
        assert_eq!(call.names(".").await.unwrap(), ["a", "empty", "full"]);
    });
}

#[test]
fn sizes_have_an_end() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let how = tree::Open { create: true, write: true, ..Default::default() };
        let file = call.open_file("f", how).await.unwrap();
        for offset in [MAX_FILE, u64::MAX] {
            assert_eq!(code(call.write_at(file.id, At::Offset(offset), b"x").await), ErrorCode::FileTooLarge);
            let resized = call.run(|tx| chunks::resize(tx, file.id, offset.max(MAX_FILE + 1))).await;
            assert_eq!(code(resized), ErrorCode::FileTooLarge);
        }
        let (read, end) = call.run(|tx| chunks::read(tx, file.id, u64::MAX, u64::MAX)).await.unwrap();
        assert!(read.is_empty() && end);
        // A hole costs nothing and reads as zeros.
        call.run(|tx| chunks::resize(tx, file.id, MAX_FILE)).await.unwrap();
        call.sync().await.unwrap();
        assert_eq!(fake.keys(b'c'), 0);
        call.run(|tx| chunks::resize(tx, file.id, 0)).await.unwrap();
        let mut kept = Vec::new();
        for n in 0..MAX_OPEN {
            match call.open_file("f", tree::Open::default()).await {
                Ok(file) => kept.push(file),
                Err(_) => assert!(n >= MAX_OPEN - 1, "{n} files could be open"),
            }
        }
        assert_eq!(
            code(call.open_file("f", tree::Open::default()).await.map(drop)),
            ErrorCode::InsufficientMemory
        );
        kept.pop();
        call.open_file("f", tree::Open::default()).await.unwrap();
    });
}

#[test]
fn streams_read_and_write_what_operations_do() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let how = tree::Open { create: true, write: true, ..Default::default() };
        let data = pattern(300_000, 9);
        {
            let file = Arc::new(call.open_file("f", how).await.unwrap());
            let mut writer = FileWriter::new(file, At::Offset(0), Ok(()));
            for part in data.chunks(50_000) {
                writer.blocking_write_and_flush(Bytes::copy_from_slice(part)).await.unwrap();
            }
            assert!(matches!(
                writer.write(Bytes::from(vec![0; MAX_TRANSFER + 1])),
                Err(StreamError::Trap(_))
            ));
        }
        call.sync().await.unwrap();
        drop(call);

        // From a cold cache, so that every read and write has to wait.
        let call = fake.restart();
        let file = Arc::new(call.open_file("f", how).await.unwrap());
        let mut reader = FileReader::new(file.clone(), 7, Ok(()));
        let mut read = Vec::new();
        loop {
            match reader.blocking_read(70_000).await {
                Ok(bytes) => read.extend_from_slice(&bytes),
                Err(StreamError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(read, data[7..]);
        drop(fake.restart());

        let call = fake.restart();
        let file = Arc::new(call.open_file("f", how).await.unwrap());
        let mut writer = FileWriter::new(file.clone(), At::End, Ok(()));
        writer.write(Bytes::from_static(b"end")).unwrap();
        assert_eq!(writer.check_write().unwrap(), 0, "the last chunk is not in memory");
        writer.cancel().await;
        drop(writer);
        assert_eq!(call.read_file("f").await.unwrap(), [data.as_slice(), b"end"].concat());
    });
}

#[test]
fn polling_a_reader_over_and_over_gets_there() {
    block_on(async {
        let fake = Fake::new();
        fake.restart().write_file("f", b"data").await.unwrap();
        let call = fake.restart();
        let file = Arc::new(call.open_file("f", tree::Open::default()).await.unwrap());
        let mut reader = FileReader::new(file, 0, Ok(()));
        let mut polls = 0;
        while poll_once(reader.ready()).await.is_none() {
            polls += 1;
            assert!(polls < 100);
        }
        assert_eq!(reader.read(10).unwrap(), b"data".as_slice());
    });
}
