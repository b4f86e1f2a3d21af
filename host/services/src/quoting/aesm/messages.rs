//! The messages of AESM that quotes take: proto2, numbered as in Intel's `messages.proto`.

use prost::Message;

/// One of its fields is set.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, optional, tag = "15")]
    pub(super) init_quote: Option<InitQuoteRequest>,
    #[prost(message, optional, tag = "16")]
    pub(super) quote_size: Option<QuoteSizeRequest>,
    #[prost(message, optional, tag = "17")]
    pub(super) quote: Option<QuoteRequest>,
    #[prost(message, optional, tag = "21")]
    pub(super) key_count: Option<KeyCountRequest>,
    #[prost(message, optional, tag = "22")]
    pub(super) keys: Option<KeysRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InitQuoteRequest {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) key: Option<Vec<u8>>,
    /// Whether the public key's id is asked for, and not its size.
    #[prost(bool, required, tag = "3")]
    pub(super) with_id: bool,
    #[prost(uint64, optional, tag = "4")]
    pub(super) room: Option<u64>,
    #[prost(uint32, optional, tag = "9")]
    pub(super) timeout_us: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct QuoteSizeRequest {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) key: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "9")]
    pub(super) timeout_us: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct QuoteRequest {
    #[prost(bytes = "vec", required, tag = "1")]
    pub(super) report: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) key: Option<Vec<u8>>,
    #[prost(uint32, required, tag = "4")]
    pub(super) room: u32,
    #[prost(uint32, optional, tag = "9")]
    pub(super) timeout_us: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyCountRequest {
    #[prost(uint32, optional, tag = "9")]
    pub(super) timeout_us: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeysRequest {
    #[prost(uint32, required, tag = "1")]
    pub(super) room: u32,
    #[prost(uint32, optional, tag = "9")]
    pub(super) timeout_us: Option<u32>,
}

/// The field of the request's number is set, or 20 where the service does not know the request.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "15")]
    pub(super) init_quote: Option<InitQuoteResponse>,
    #[prost(message, optional, tag = "16")]
    pub(super) quote_size: Option<NumberResponse>,
    #[prost(message, optional, tag = "17")]
    pub(super) quote: Option<BytesResponse>,
    #[prost(message, optional, tag = "20")]
    pub(super) unsupported: Option<NumberResponse>,
    #[prost(message, optional, tag = "21")]
    pub(super) key_count: Option<NumberResponse>,
    #[prost(message, optional, tag = "22")]
    pub(super) keys: Option<BytesResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InitQuoteResponse {
    #[prost(uint32, required, tag = "1")]
    pub(super) error: u32,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) target_info: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) id_size: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(super) id: Option<Vec<u8>>,
}

/// An answer that is a number.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NumberResponse {
    #[prost(uint32, required, tag = "1")]
    pub(super) error: u32,
    #[prost(uint32, optional, tag = "2")]
    pub(super) number: Option<u32>,
}

/// An answer that is a byte string.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BytesResponse {
    #[prost(uint32, required, tag = "1")]
    pub(super) error: u32,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) bytes: Option<Vec<u8>>,
}
