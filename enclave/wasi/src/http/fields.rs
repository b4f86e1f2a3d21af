//! The resource `fields`: headers and trailers.

use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use wasmtime::component::Resource;
use wasmtime::{Result, format_err};

use super::quota::{Exhausted, Held, Quota};
use crate::WasiCtx;
use crate::bindings::wasi::http::types::{HeaderError, HostFields};

/// What the fields that a guest makes may take together, each counted with what it costs beside its bytes.
const MAX_SIZE: usize = 128 << 10;
/// What one field costs beside its name and value (as RFC 9113 §6.5.2 counts it).
const FIELD_COST: usize = 32;
/// Bytes of fields, and fields, that are one unit of work ([`Turn`](crate::turn::Turn)).
const BYTES_PER_UNIT: usize = 16 << 10;
const FIELDS_PER_UNIT: usize = 256;

/// Fields that belong to a connection or to the enclave: a guest neither sees nor sets them (RFC 9110 §7.6.1).
const FORBIDDEN: [HeaderName; 9] = [
    CONNECTION,
    HOST,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The type of `fields`. Copies share their memory until one of them is changed.
#[derive(Debug)]
pub struct Fields {
    map: Arc<HeaderMap>,
    size: Held,
    mutable: bool,
}

/// Why fields were not changed.
enum Refused {
    Guest(HeaderError),
    TooLarge,
    Exhausted(Exhausted),
}

impl Refused {
    /// WASI has no code for fields that are too large: they end the call.
    fn into_result<T>(self) -> Result<Result<T, HeaderError>> {
        match self {
            Refused::Guest(error) => Ok(Err(error)),
            Refused::Exhausted(exhausted) => Err(exhausted.into()),
            Refused::TooLarge => {
                Err(format_err!("fields: more than {MAX_SIZE} bytes of headers or trailers"))
            }
        }
    }
}

impl From<HeaderError> for Refused {
    fn from(error: HeaderError) -> Self {
        Refused::Guest(error)
    }
}

impl From<Exhausted> for Refused {
    fn from(exhausted: Exhausted) -> Self {
        Refused::Exhausted(exhausted)
    }
}

impl Fields {
    fn new(quota: &Quota) -> Result<Self, Exhausted> {
        Ok(Fields { map: Arc::default(), size: quota.take(FIELD_COST)?, mutable: true })
    }

    /// The same once more, and as free to be changed.
    pub(super) fn copy(&self) -> Result<Self, Exhausted> {
        Ok(Fields { map: Arc::clone(&self.map), size: self.size.again()?, mutable: self.mutable })
    }

    /// What came from outside: without the fields that are not for guests, and not to be changed.
    pub(super) fn received(mut map: HeaderMap, quota: &Quota) -> Result<Self, Exhausted> {
        // What the connection's own field names belongs to the connection as well.
        let nominated = map.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let nominated: Vec<_> = nominated
            .flat_map(|names| names.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .collect();
        for name in nominated.iter().chain(&FORBIDDEN) {
            map.remove(name);
        }
        let size: usize = map.iter().map(|(name, value)| cost(name, value)).sum();
        let size = quota.take(FIELD_COST + size)?;
        Ok(Fields { map: Arc::new(map), size, mutable: false })
    }

    /// The same, not to be changed any more.
    pub(super) fn freeze(self) -> Self {
        Fields { mutable: false, ..self }
    }

    pub(super) fn into_map(self) -> HeaderMap {
        Arc::unwrap_or_clone(self.map)
    }

    /// `Content-Length`, which [`Fields`] lets nobody set to anything but digits.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.map.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    fn changeable(&mut self) -> Result<&mut HeaderMap, Refused> {
        if self.mutable { Ok(Arc::make_mut(&mut self.map)) } else { Err(HeaderError::Immutable.into()) }
    }

    fn append(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        let name = settable(name)?;
        let value = valid(&name, value)?;
        let size = self.size.bytes() + cost(&name, &value);
        self.changeable()?;
        self.resize(size)?;
        self.changeable()?.try_append(name, value).map_err(|_| Refused::TooLarge)?;
        Ok(())
    }

    fn set(&mut self, name: &str, values: &[Vec<u8>]) -> Result<(), Refused> {
        let name = settable(name)?;
        let values = values.iter().map(|value| valid(&name, value)).collect::<Result<Vec<_>, _>>()?;
        let new: usize = values.iter().map(|value| cost(&name, value)).sum();
        let old: usize = self.map.get_all(&name).iter().map(|value| cost(&name, value)).sum();
        let size = (self.size.bytes() + new).saturating_sub(old);
        self.changeable()?;
        self.resize(size)?;
        let map = self.changeable()?;
        map.remove(&name);
        for value in values {
            map.try_append(name.clone(), value).map_err(|_| Refused::TooLarge)?;
        }
        Ok(())
    }

    fn resize(&mut self, size: usize) -> Result<(), Refused> {
        if size > MAX_SIZE {
            return Err(Refused::TooLarge);
        }
        Ok(self.size.resize(size)?)
    }

    /// Units of work that going through them is.
    fn units(&self) -> u32 {
        1 + u32::try_from(self.size.bytes() / BYTES_PER_UNIT).unwrap_or(u32::MAX)
    }
}

fn cost(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + FIELD_COST
}

fn settable(name: &str) -> Result<HeaderName, HeaderError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::InvalidSyntax)?;
    if FORBIDDEN.contains(&name) { Err(HeaderError::Forbidden) } else { Ok(name) }
}

fn valid(name: &HeaderName, value: &[u8]) -> Result<HeaderValue, HeaderError> {
    if *name == CONTENT_LENGTH {
        // `1*DIGIT` (RFC 9110 §8.6): no sign, which a parser of numbers would take.
        let digits = value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| digits);
        let length: u64 = text.and_then(|text| text.parse().ok()).ok_or(HeaderError::InvalidSyntax)?;
        return Ok(length.into());
    }
    HeaderValue::from_bytes(value).map_err(|_| HeaderError::InvalidSyntax)
}

impl HostFields for WasiCtx {
    fn new(&mut self) -> Result<Resource<Fields>> {
        let fields = Fields::new(&self.http.quota)?;
        Ok(self.table.push(fields)?)
    }

    async fn from_list(
        &mut self,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Result<Result<Resource<Fields>, HeaderError>> {
        let bytes = entries.iter().map(|(name, value)| name.len() + value.len());
        if bytes.fold(0, usize::saturating_add) > MAX_SIZE || entries.len() > MAX_SIZE / FIELD_COST {
            return Refused::TooLarge.into_result();
        }
        let mut fields = Fields::new(&self.http.quota)?;
        self.turn.spend(1 + u32::try_from(entries.len() / FIELDS_PER_UNIT)?).await;
        for (name, value) in entries {
            if let Err(refused) = fields.append(&name, &value) {
                return refused.into_result();
            }
        }
        Ok(Ok(self.table.push(fields)?))
    }

    async fn get(&mut self, fields: Resource<Fields>, name: String) -> Result<Vec<Vec<u8>>> {
        self.turn.take_in(name.len()).await;
        self.turn.spend(self.table.get(&fields)?.units()).await;
        let fields = self.table.get(&fields)?;
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { return Ok(Vec::new()) };
        Ok(fields.map.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    async fn has(&mut self, fields: Resource<Fields>, name: String) -> Result<bool> {
        self.turn.take_in(name.len()).await;
        let fields = self.table.get(&fields)?;
        Ok(HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| fields.map.contains_key(name)))
    }

    async fn set(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        values: Vec<Vec<u8>>,
    ) -> Result<Result<(), HeaderError>> {
        let bytes = values.iter().map(Vec::len).fold(name.len(), usize::saturating_add);
        if bytes > MAX_SIZE || values.len() > MAX_SIZE / FIELD_COST {
            return Refused::TooLarge.into_result();
        }
        self.turn.spend(self.table.get(&fields)?.units()).await;
        let fields = self.table.get_mut(&fields)?;
        fields.set(&name, &values).map_or_else(Refused::into_result, |()| Ok(Ok(())))
    }

    async fn delete(&mut self, fields: Resource<Fields>, name: String) -> Result<Result<(), HeaderError>> {
        self.turn.take_in(name.len()).await;
        // Going through them, or copying them first if they are shared.
        self.turn.spend(self.table.get(&fields)?.units()).await;
        let fields = self.table.get_mut(&fields)?;
        fields.set(&name, &[]).map_or_else(Refused::into_result, |()| Ok(Ok(())))
    }

    async fn append(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        value: Vec<u8>,
    ) -> Result<Result<(), HeaderError>> {
        if name.len() + value.len() > MAX_SIZE {
            return Refused::TooLarge.into_result();
        }
        // The first change of a copy is what copies.
        self.turn.spend(self.table.get(&fields)?.units()).await;
        let fields = self.table.get_mut(&fields)?;
        fields.append(&name, &value).map_or_else(Refused::into_result, |()| Ok(Ok(())))
    }

    async fn entries(&mut self, fields: Resource<Fields>) -> Result<Vec<(String, Vec<u8>)>> {
        self.turn.spend(self.table.get(&fields)?.units()).await;
        let fields = self.table.get(&fields)?;
        let entry = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), value.as_bytes().to_vec())
        };
        Ok(fields.map.iter().map(entry).collect())
    }

    fn clone(&mut self, fields: Resource<Fields>) -> Result<Resource<Fields>> {
        let copy = Fields { mutable: true, ..self.table.get(&fields)?.copy()? };
        Ok(self.table.push(copy)?)
    }

    fn drop(&mut self, fields: Resource<Fields>) -> Result<()> {
        self.table.delete(fields)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<(), Refused>) -> &'static str {
        match result {
            Ok(()) => "ok",
            Err(Refused::TooLarge | Refused::Exhausted(_)) => "too large",
            Err(Refused::Guest(HeaderError::InvalidSyntax)) => "syntax",
            Err(Refused::Guest(HeaderError::Forbidden)) => "forbidden",
            Err(Refused::Guest(HeaderError::Immutable)) => "immutable",
        }
    }

    #[test]
    fn names_and_values_are_checked_and_framing_is_not_for_guests() {
        let mut fields = Fields::new(&Quota::new()).unwrap();
        assert_eq!(code(fields.append("X-One", b"1")), "ok");
        assert_eq!(fields.map.get("x-one").unwrap(), "1");
        for name in ["", "a b", "a:b", "ä"] {
            assert_eq!(code(fields.append(name, b"1")), "syntax", "{name:?}");
        }
        assert_eq!(code(fields.append("x", b"a\r\nset-cookie: b")), "syntax");
        for name in ["Connection", "transfer-encoding", "HOST", "upgrade", "keep-alive", "proxy-connection"] {
            assert_eq!(code(fields.append(name, b"x")), "forbidden", "{name}");
            assert_eq!(code(fields.set(name, &[])), "forbidden", "{name}");
        }
        for length in ["", "+5", "-1", " 5", "5, 5", "99999999999999999999"] {
            assert_eq!(code(fields.append("content-length", length.as_bytes())), "syntax", "{length:?}");
        }
        assert_eq!(code(fields.append("content-length", b"007")), "ok");
        assert_eq!(fields.content_length(), Some(7));
    }

    #[test]
    fn what_was_received_is_not_changed_and_shows_no_framing() {
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("a.example"));
        map.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        map.insert(CONNECTION, HeaderValue::from_static("close, X-Hop"));
        map.insert("x-hop", HeaderValue::from_static("1"));
        map.insert("x", HeaderValue::from_static("1"));
        let mut fields = Fields::received(map, &Quota::new()).unwrap();
        assert_eq!(fields.map.len(), 1);
        assert_eq!(code(fields.append("y", b"1")), "immutable");
        assert_eq!(code(fields.set("x", &[])), "immutable");
        let mut copy = Fields { mutable: true, ..fields.copy().unwrap() };
        assert_eq!(code(copy.set("x", &[b"2".to_vec(), b"3".to_vec()])), "ok");
        assert_eq!((copy.map.len(), fields.map.get("x").unwrap().as_bytes()), (2, &b"1"[..]));
    }

    #[test]
    fn fields_are_bounded_and_what_is_removed_counts_no_more() {
        let mut fields = Fields::new(&Quota::new()).unwrap();
        let mut taken = 0;
        while code(fields.append("x", b"")) == "ok" {
            taken += 1;
        }
        assert!((100..MAX_SIZE / FIELD_COST).contains(&taken), "{taken}");
        assert_eq!(code(fields.set("x", &[])), "ok");
        assert_eq!((fields.size.bytes(), fields.map.len()), (FIELD_COST, 0));
        assert_eq!(code(fields.set("y", &[vec![b'y'; MAX_SIZE]])), "too large");
        assert_eq!(code(fields.append("y", b"y")), "ok");
    }
}
