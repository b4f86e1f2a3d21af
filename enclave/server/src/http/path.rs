//! What does a request path mean?
//!
//! Matching is on the segments as they were sent. Percent escapes are resolved only inside a segment
//! that carries a name, after the route is known, so no escape can move a request to another route.

/// A path as its undecoded segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path<'a> {
    segments: Vec<&'a str>,
}

/// A path that no route may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    /// `//` somewhere.
    #[error("the path has an empty segment ('//'); write every separator once")]
    EmptySegment,
    /// `.` or `..`, also as `%2e`.
    #[error("the path has a '.' or '..' segment; send the path already resolved")]
    DotSegment,
    /// Not an absolute path.
    #[error("the request target is not an absolute path")]
    NotAbsolute,
    /// A segment with a broken escape, or one that is not UTF-8.
    #[error("a path segment has a percent escape that is not two hex digits or not UTF-8")]
    Escape,
}

impl<'a> Path<'a> {
    /// Splits `path` (without query). One trailing `/` is allowed and dropped.
    ///
    /// # Errors
    /// [`PathError`] for paths that are refused everywhere.
    pub(super) fn parse(path: &'a str) -> Result<Path<'a>, PathError> {
        let rest = path.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            return if path.len() <= 1 {
                Ok(Path { segments: Vec::new() })
            } else {
                Err(PathError::EmptySegment)
            };
        }
        let segments: Vec<&str> = rest.split('/').collect();
        for segment in &segments {
            if segment.is_empty() {
                return Err(PathError::EmptySegment);
            }
            if is_dots(segment) {
                return Err(PathError::DotSegment);
            }
        }
        Ok(Path { segments })
    }

    /// The segments, undecoded.
    pub(super) fn segments(&self) -> &[&'a str] {
        &self.segments
    }

    /// Whether the path lies at or below `prefix` (a valid route prefix), on a segment border.
    pub(super) fn is_under(&self, prefix: &str) -> bool {
        let mut segments = self.segments.iter();
        prefix.trim_start_matches('/').split('/').all(|wanted| segments.next() == Some(&wanted))
    }
}

/// Resolves the escapes of one segment.
///
/// # Errors
/// [`PathError::Escape`].
pub(super) fn decode(segment: &str) -> Result<String, PathError> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || {
            let byte = bytes.next().ok_or(PathError::Escape)?;
            char::from(byte).to_digit(16).ok_or(PathError::Escape)
        };
        let value = digit()? << 4 | digit()?;
        out.push(u8::try_from(value).map_err(|_| PathError::Escape)?);
    }
    String::from_utf8(out).map_err(|_| PathError::Escape)
}

/// The parameters of a query, in order, with escapes and `+` resolved.
///
/// # Errors
/// [`PathError::Escape`].
pub(super) fn query(query: Option<&str>) -> Result<Vec<(String, String)>, PathError> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        })
        .collect()
}

fn is_dots(segment: &str) -> bool {
    let plain = segment.replace("%2e", ".").replace("%2E", ".");
    plain == "." || plain == ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn segments_are_kept_as_sent() {
        assert_eq!(Path::parse("/a/b%2Fc").unwrap().segments(), ["a", "b%2Fc"]);
        assert_eq!(Path::parse("/").unwrap().segments(), [""; 0]);
        assert_eq!(Path::parse("/a/").unwrap().segments(), ["a"]);
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for dots in ["/.", "/..", "/a/../b", "/a/%2e%2E/b", "/a/.%2e", "/%2e"] {
            assert_eq!(Path::parse(dots), Err(PathError::DotSegment), "{dots}");
        }
        for empty in ["//", "//a", "/a//b", "/a//"] {
            assert_eq!(Path::parse(empty), Err(PathError::EmptySegment), "{empty}");
        }
        for other in ["", "*", "a/b"] {
            assert_eq!(Path::parse(other), Err(PathError::NotAbsolute), "{other}");
        }
    }

    #[test]
    fn prefixes_end_on_segment_borders() {
        let path = Path::parse("/shop/cart/1").unwrap();
        assert!(path.is_under("/shop") && path.is_under("/shop/cart"));
        assert!(!path.is_under("/sho") && !path.is_under("/shop/car") && !path.is_under("/shop/cart/1/2"));
        assert!(!Path::parse("/%73hop").unwrap().is_under("/shop"), "undecoded segments are compared");
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(decode("wasi%3Acli%2Frun%400.2.0%23run").unwrap(), "wasi:cli/run@0.2.0#run");
        assert_eq!(decode("%2525").unwrap(), "%25");
        for bad in ["%", "%2", "%zz", "%ff", "%+1"] {
            assert_eq!(decode(bad), Err(PathError::Escape), "{bad}");
        }
        let pairs = query(Some("a=1&b=x+y%26&c&&a=2")).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "x y&"), ("c", ""), ("a", "2")]);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,60}") {
            if let Ok(path) = Path::parse(&text) {
                prop_assert!(path.segments().iter().all(|s| !s.is_empty() && !s.contains('/')));
            }
            let _ = (decode(&text).is_ok(), query(Some(&text)).is_ok());
        }
    }
}
