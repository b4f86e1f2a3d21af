//! The body of a request, piece by piece, within time, size and budget.

use bytes::Bytes;
use enclave_platform::clock::Monotonic;
use http::header::{HeaderMap, TRANSFER_ENCODING};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use crate::budget::Share;
use crate::limits;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::timeout::within;

pub(super) struct Body<'a> {
    session: &'a Session,
    incoming: Incoming,
    received: usize,
    limit: usize,
    begun: Monotonic,
    trusted: bool,
}

impl<'a> Body<'a> {
    /// Refuses a body that says it is longer than `limit` before any of it is read.
    pub(super) fn new(session: &'a Session, incoming: Incoming, limit: usize) -> Result<Self, Refusal> {
        if incoming.size_hint().lower() > limit as u64 {
            return Err(too_large(limit));
        }
        let begun = session.handle.monotonic();
        Ok(Body { session, incoming, received: 0, limit, begun, trusted: false })
    }

    /// The body of one who has shown that it may load.
    pub(super) fn trusted(self) -> Self {
        Body { trusted: true, ..self }
    }

    /// A share of the budget for what is read.
    pub(super) fn share(&self) -> Share {
        let mut share = self.session.share(limits::ALLOWANCE);
        if self.trusted {
            share.trust();
        }
        share
    }

    /// The next bytes, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let handle = &self.session.handle;
        loop {
            let time = limits::read_time(self.begun, handle.monotonic(), self.received);
            let frame = within(handle, time, self.incoming.frame())
                .await
                .ok_or_else(|| Refusal::new("timeout", "the rest of the body did not arrive in time"))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| {
                Refusal::new("bad-request", format!("the body ended before it was complete: {error}"))
            })?;
            // Trailers say nothing here.
            let Ok(bytes) = frame.into_data() else { continue };
            self.received = self.received.saturating_add(bytes.len());
            if self.received > self.limit {
                return Err(too_large(self.limit));
            }
            return Ok(Some(bytes));
        }
    }

    /// What the body says its length is, at most the limit.
    pub(super) fn expected(&self) -> usize {
        let hint = self.incoming.size_hint().upper().unwrap_or(0);
        usize::try_from(hint).unwrap_or(usize::MAX).min(self.limit)
    }

    /// The whole body, with the share of the budget that covers it.
    pub(super) async fn read_all(mut self) -> Result<(Vec<u8>, Share), Refusal> {
        let mut share = self.share();
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            extend(&mut all, &bytes, self.expected(), &mut share, 0)?;
        }
        Ok((all, share))
    }
}

/// Appends within the budget. The share then covers the vector and `beside`.
pub(super) fn extend(
    all: &mut Vec<u8>,
    bytes: &[u8],
    expected: usize,
    share: &mut Share,
    beside: usize,
) -> Result<(), Refusal> {
    let needed = all.len().saturating_add(bytes.len());
    if needed > all.capacity() {
        // Doubling, but not beyond what was announced.
        let doubled = all.capacity().saturating_mul(2).max(limits::RECORD);
        let capacity = if needed <= expected { doubled.min(expected) } else { doubled }.max(needed);
        share.cover(capacity.saturating_add(beside))?;
        all.reserve_exact(capacity - all.len());
    }
    all.extend_from_slice(bytes);
    Ok(())
}

/// The only transfer coding that is taken is `chunked`, once (RFC 9112 §6.1): under another one the enclave or an app
/// would take coded bytes for the body. Where the next request begins is not known for certain either.
///
/// # Errors
/// `not-available`; the connection ends after the answer.
pub(super) fn check_coding(session: &Session, headers: &HeaderMap) -> Result<(), Refusal> {
    if only_chunked(headers) {
        return Ok(());
    }
    session.close();
    Err(Refusal::new("not-available", "the only transfer coding that is taken is `chunked`, once"))
}

fn only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    first.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new("too-large", format!("the body is longer than the {limit} bytes that are taken here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_chunked_once_or_not_coded() {
        let coded = |codings: &[&'static str]| {
            let fields = codings.iter().map(|coding| (TRANSFER_ENCODING, coding.parse().unwrap()));
            only_chunked(&fields.collect())
        };
        assert!(coded(&[]) && coded(&["chunked"]) && coded(&["Chunked"]));
        for others in
            [&["gzip, chunked"][..], &["chunked, chunked"], &["chunked", "chunked"], &["gzip"], &["x", "y"]]
        {
            assert!(!coded(others), "{others:?}");
        }
    }
}
