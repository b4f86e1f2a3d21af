//! `multipart/form-data` (RFC 7578) read while it arrives: nothing but the content of the current part is kept.

/// What the reader tells of the next bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A new part with this field name.
    Part(String),
    /// Bytes of the current part.
    Bytes(Vec<u8>),
    /// No part follows.
    End,
}

/// Why a body is not `multipart/form-data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MultipartError {
    #[error("the multipart content type needs a boundary of 1 to 70 characters")]
    Boundary,
    #[error("a part's headers are longer than 4096 bytes or are not text")]
    Headers,
    #[error("a part has no `content-disposition: form-data; name=\"…\"`")]
    NoName,
    #[error("the body does not follow the multipart format: a boundary line is missing or damaged")]
    Format,
    #[error("the body ends before its last boundary")]
    Ends,
}

const MAX_PART_HEADERS: usize = 4096;

#[derive(Debug)]
pub(crate) struct Multipart {
    /// `\r\n--boundary`.
    delimiter: Vec<u8>,
    buffer: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    AfterDelimiter,
    Headers,
    Content,
    End,
}

impl Multipart {
    /// A reader for a body of this `content-type`.
    pub(crate) fn new(content_type: &str) -> Result<Multipart, MultipartError> {
        let boundary = parameter(content_type, "boundary").ok_or(MultipartError::Boundary)?;
        if !(1..=70).contains(&boundary.len()) {
            return Err(MultipartError::Boundary);
        }
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // The first delimiter may stand at the very start, without the line break before it.
        Ok(Multipart { delimiter, buffer: b"\r\n".to_vec(), state: State::Preamble })
    }

    /// Takes bytes of the body.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What can be told now; `None` until more is fed.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, MultipartError> {
        loop {
            match self.state {
                State::Preamble => match find(&self.buffer, &self.delimiter) {
                    Some(at) => {
                        self.drop_front(at + self.delimiter.len());
                        self.state = State::AfterDelimiter;
                    }
                    None => {
                        let keep = self.delimiter.len() - 1;
                        self.drop_front(self.buffer.len().saturating_sub(keep));
                        return Ok(None);
                    }
                },
                State::AfterDelimiter => {
                    if self.buffer.starts_with(b"--") {
                        self.state = State::End;
                        return Ok(Some(Event::End));
                    }
                    let padding = self.buffer.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
                    match self.buffer.get(padding..padding + 2) {
                        Some(b"\r\n") => {
                            self.drop_front(padding);
                            self.state = State::Headers;
                        }
                        Some(_) => return Err(MultipartError::Format),
                        None if padding > 64 => return Err(MultipartError::Format),
                        None => return Ok(None),
                    }
                }
                State::Headers => {
                    let Some(at) = find(&self.buffer, b"\r\n\r\n") else {
                        if self.buffer.len() > MAX_PART_HEADERS {
                            return Err(MultipartError::Headers);
                        }
                        return Ok(None);
                    };
                    if at > MAX_PART_HEADERS {
                        return Err(MultipartError::Headers);
                    }
                    let head = self.buffer.get(..at).unwrap_or_default();
                    let name = field_name(std::str::from_utf8(head).map_err(|_| MultipartError::Headers)?)?;
                    self.drop_front(at + 4);
                    self.state = State::Content;
                    return Ok(Some(Event::Part(name)));
                }
                State::Content => {
                    if let Some(at) = find(&self.buffer, &self.delimiter) {
                        if at > 0 {
                            return Ok(Some(Event::Bytes(self.take_front(at))));
                        }
                        self.drop_front(self.delimiter.len());
                        self.state = State::AfterDelimiter;
                        continue;
                    }
                    let safe = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
                    if safe == 0 {
                        return Ok(None);
                    }
                    return Ok(Some(Event::Bytes(self.take_front(safe))));
                }
                State::End => {
                    self.buffer.clear();
                    return Ok(None);
                }
            }
        }
    }

    /// To be asked when the body has ended.
    pub(crate) fn finish(&self) -> Result<(), MultipartError> {
        if self.state == State::End { Ok(()) } else { Err(MultipartError::Ends) }
    }

    /// Bytes that are kept until more comes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    fn drop_front(&mut self, bytes: usize) {
        self.buffer.drain(..bytes.min(self.buffer.len()));
    }

    fn take_front(&mut self, bytes: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(bytes.min(self.buffer.len()));
        std::mem::replace(&mut self.buffer, rest)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn field_name(head: &str) -> Result<String, MultipartError> {
    let value = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
        .map(|(_, value)| value)
        .ok_or(MultipartError::NoName)?;
    let is_form = value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("form-data"));
    parameter(value, "name").filter(|_| is_form).ok_or(MultipartError::NoName)
}

/// A parameter of a header value: token or quoted string.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim();
        let after = after.trim_start();
        let (text, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut text = String::new();
                let mut chars = quoted.char_indices();
                let end = loop {
                    match chars.next()? {
                        (at, '"') => break at + 1,
                        (_, '\\') => text.push(chars.next()?.1),
                        (_, c) => text.push(c),
                    }
                };
                (text, quoted.get(end..)?)
            }
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after.get(..end)?.trim().to_owned(), after.get(end..)?)
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = next.trim_start().strip_prefix(';')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/form-data; charset=utf-8; boundary=\"xyz\"";

    fn read(body: &[u8], piece: usize) -> Result<Vec<(String, Vec<u8>)>, MultipartError> {
        let mut reader = Multipart::new(TYPE)?;
        let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
        for bytes in body.chunks(piece) {
            reader.feed(bytes);
            while let Some(event) = reader.next()? {
                match event {
                    Event::Part(name) => parts.push((name, Vec::new())),
                    Event::Bytes(bytes) => parts.last_mut().unwrap().1.extend(bytes),
                    Event::End => {}
                }
            }
        }
        reader.finish()?;
        Ok(parts)
    }

    fn body(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, bytes) in parts {
            out.extend_from_slice(
                format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a;b\"\r\n\r\n")
                    .as_bytes(),
            );
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"--xyz--\r\n");
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn parts_survive_any_split(
            contents in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"\r\n-xyzA"[..]), 0..40), 0..4),
            piece in 1usize..20,
        ) {
            let contents: Vec<Vec<u8>> =
                contents.into_iter().filter(|c| find(c, b"\r\n--xyz").is_none() && !c.starts_with(b"--xyz")).collect();
            let parts: Vec<(&str, &[u8])> = contents.iter().map(|c| ("field", c.as_slice())).collect();
            let read = read(&body(&parts), piece).unwrap();
            prop_assert_eq!(read.len(), parts.len());
            for ((_, got), (_, sent)) in read.iter().zip(&parts) {
                prop_assert_eq!(got.as_slice(), *sent);
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..50) {
            drop(read(&bytes, piece));
        }
    }

    #[test]
    fn an_empty_part_is_a_part() {
        assert_eq!(read(&body(&[("egress", b"")]), 7).unwrap(), [("egress".to_owned(), Vec::new())]);
    }

    #[test]
    fn damaged_bodies_are_named() {
        assert_eq!(
            read(b"--xyz\r\nContent-Disposition: form-data; name=a\r\n\r\nabc", 5),
            Err(MultipartError::Ends)
        );
        assert_eq!(read(b"", 1), Err(MultipartError::Ends));
        assert_eq!(read(b"--xyz??", 3), Err(MultipartError::Format));
        assert_eq!(read(b"--xyz\r\nA: b\r\n\r\nabc", 5), Err(MultipartError::NoName));
        let long = [b"--xyz\r\n".as_slice(), &[b'a'; 8192]].concat();
        assert_eq!(read(&long, 1024), Err(MultipartError::Headers));
        assert_eq!(Multipart::new("multipart/form-data").unwrap_err(), MultipartError::Boundary);
    }
}
