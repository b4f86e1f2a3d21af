//! Which fields may come behind a body?

use http::header::{self, HeaderName};
use hyper::body::Frame;

use super::apps::FORWARDED_PREFIX;

/// Fields that say how to frame, route, authenticate, keep or read a message are not for trailers (RFC 9110 §6.5.1): a
/// guest would take them for what the enclave lets through in a header, and a client's cache or proxy for what the
/// enclave checks there.
static NOT_IN_TRAILERS: [HeaderName; 25] = [
    header::AGE,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::EXPIRES,
    header::HOST,
    header::LOCATION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VARY,
    header::WARNING,
    header::WWW_AUTHENTICATE,
    FORWARDED_PREFIX,
];

/// The frame, without what is not for trailers.
pub(super) fn proper<T>(frame: Frame<T>) -> Frame<T> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            for name in &NOT_IN_TRAILERS {
                trailers.remove(name);
            }
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn trailers_authenticate_route_and_frame_nothing() {
        let all = NOT_IN_TRAILERS.iter().map(|name| (name.clone(), HeaderValue::from_static("x")));
        let sum = (HeaderName::from_static("x-sum"), HeaderValue::from_static("5"));
        let frame = Frame::<()>::trailers(all.chain([sum]).collect());
        let trailers = proper(frame).into_trailers().unwrap();
        assert_eq!((trailers.len(), trailers["x-sum"].as_bytes()), (1, &b"5"[..]));
        assert!(proper(Frame::data(7)).into_data().is_ok_and(|data| data == 7));
    }
}
