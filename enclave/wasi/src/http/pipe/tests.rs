use super::*;
use futures_lite::future::{block_on, poll_once};
use http_body_util::BodyExt;

fn body(announced: Option<u64>, most: u64) -> (Writer, Reader) {
    pipe(Bounds { announced, most, of: Of::Response }, room(&Quota::new()).unwrap())
}

fn frame(reader: &mut Reader) -> Option<Option<Result<Frame<Bytes>, Aborted>>> {
    block_on(poll_once(reader.frame()))
}

#[test]
fn a_writer_waits_for_its_reader() {
    let (writer, mut reader) = body(None, u64::MAX);
    let mut stream = writer.stream();
    // Before anybody takes it there is room for a body; then for no more than a reader keeps up with.
    assert_eq!(stream.check_write().unwrap(), ROOM_BEFORE);
    stream.write(Bytes::from(vec![0; ROOM])).unwrap();
    reader.start(None);
    assert_eq!(stream.check_write().unwrap(), 0);
    assert!(block_on(poll_once(stream.ready())).is_none());
    assert!(frame(&mut reader).unwrap().unwrap().is_ok());
    assert_eq!(stream.check_write().unwrap(), ROOM);
    assert!(block_on(poll_once(stream.ready())).is_some());
    assert!(frame(&mut reader).is_none(), "it waits for more");
    let much = Bytes::from(vec![0; ROOM_BEFORE + 1]);
    assert!(matches!(stream.write(much), Err(StreamError::Trap(_))), "whatever the guest regards");
}

#[test]
fn a_body_ends_in_order_or_visibly_not() {
    let (writer, mut reader) = body(None, u64::MAX);
    writer.stream().write(Bytes::from_static(b"abc")).unwrap();
    let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
    writer.finish(Some(trailers)).unwrap();
    assert!(!reader.is_end_stream());
    assert_eq!(frame(&mut reader).unwrap().unwrap().unwrap().into_data().unwrap(), "abc");
    assert!(frame(&mut reader).unwrap().unwrap().unwrap().is_trailers());
    assert!(frame(&mut reader).unwrap().is_none());

    let (writer, mut reader) = body(None, u64::MAX);
    writer.stream().write(Bytes::from_static(b"abc")).unwrap();
    drop(writer);
    assert!(matches!(frame(&mut reader), Some(Some(Err(Aborted)))), "what was left open");
}

#[test]
fn a_body_is_as_long_as_was_said_and_no_longer_than_it_may_be() {
    for (announced, most, written, fits) in
        [(Some(3), 9, 3, true), (Some(3), 9, 2, false), (Some(3), 9, 4, false), (None, 3, 4, false)]
    {
        let (writer, reader) = body(announced, most);
        let wrote = writer.stream().write(Bytes::from(vec![0; written])).is_ok();
        assert_eq!(wrote, written as u64 <= announced.unwrap_or(most));
        assert_eq!(writer.finish(None).is_ok(), fits, "{announced:?} {written}");
        assert_eq!(reader.is_end_stream() || reader.size_hint().exact() == Some(3), fits);
    }
}

#[test]
fn what_nobody_reads_is_not_written() {
    let (writer, reader) = body(None, u64::MAX);
    let mut stream = writer.stream();
    reader.start(None);
    stream.write(Bytes::from(vec![0; ROOM])).unwrap();
    drop(reader);
    assert!(block_on(poll_once(stream.ready())).is_some());
    assert!(matches!(stream.check_write(), Err(StreamError::Closed)));
    assert!(matches!(stream.write(Bytes::from_static(b"x")), Err(StreamError::Closed)));
}

#[test]
fn small_pieces_are_put_together() {
    let (writer, mut reader) = body(None, u64::MAX);
    let mut stream = writer.stream();
    for _ in 0..ROOM {
        stream.write(Bytes::from_static(b"x")).unwrap();
    }
    assert!(writer.0.lock().queue.len() <= ROOM / PIECE, "a byte costs a byte");
    reader.start(None);
    let first = frame(&mut reader).unwrap().unwrap().unwrap().into_data().unwrap();
    assert_eq!(first.len(), PIECE);
}

/// A client that has all that was announced may rely on what the app stored before it finished.
#[test]
fn the_last_byte_of_an_answer_waits_for_its_end() {
    let (writer, mut reader) = body(Some(4), u64::MAX);
    let mut stream = writer.stream();
    stream.write(Bytes::from_static(b"ab")).unwrap();
    stream.write(Bytes::from_static(b"cd")).unwrap();
    reader.start(None);
    let data = |reader: &mut Reader| frame(reader).unwrap().unwrap().unwrap().into_data().unwrap();
    assert_eq!(data(&mut reader), "abc");
    assert!(frame(&mut reader).is_none() && !reader.is_complete());
    writer.finish(None).unwrap();
    assert_eq!(data(&mut reader), "d");
    assert!(reader.is_complete() && frame(&mut reader).unwrap().is_none());

    let (writer, mut reader) = body(Some(1), u64::MAX);
    writer.stream().write(Bytes::from_static(b"x")).unwrap();
    reader.start(None);
    assert!(frame(&mut reader).is_none());
    drop(writer);
    assert!(matches!(frame(&mut reader), Some(Some(Err(Aborted)))), "and a failure shows");
}
