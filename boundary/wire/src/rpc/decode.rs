//! Bytes to messages. Total: every length is compared with what is there before anything is allocated.

use super::{
    FailureCode, Key, KvOp, LogLevel, LogLine, MAX_COLLATERAL, MAX_FAILURE, MAX_MESSAGE, MAX_QUOTE,
    MAX_RECORD, MAX_REQUEST, MAX_RESPONSE, MAX_TARGET, REPORT, Request, Response, RpcError, TARGET_INFO,
    at_most, exactly, tag,
};
use crate::codec::{Reader, Shape};

impl From<Shape> for RpcError {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Truncated => Self::Truncated,
            Shape::Trailing => Self::Trailing,
        }
    }
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// [`RpcError`] for everything that is not exactly one request within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, RpcError> {
        at_most("request", bytes.len(), MAX_REQUEST)?;
        let mut reader = Reader::new(bytes);
        let request = match reader.u8()? {
            tag::KV_GET => Self::KvGet { key: reader.array()? },
            tag::KV_SCAN => {
                let max_bytes = reader.u32()?;
                let after = if reader.is_empty() { None } else { Some(reader.array()?) };
                Self::KvScan { after, max_bytes }
            }
            tag::KV_BATCH => Self::KvBatch { ops: decode_ops(&mut reader)? },
            tag::LOG => {
                let level = reader.u8()?;
                let level =
                    LogLevel::from_code(level).ok_or(RpcError::Value { field: "log level", value: level })?;
                let target_len = usize::from(reader.u8()?);
                at_most("log target", target_len, MAX_TARGET)?;
                let target = text("log target", reader.take(target_len)?, MAX_TARGET)?;
                let message = text("log message", reader.rest(), MAX_MESSAGE)?;
                Self::Log(LogLine { level, target, message })
            }
            tag::QUOTE => {
                let report = reader.rest();
                exactly("report", report.len(), REPORT)?;
                Self::Quote { report: report.to_vec() }
            }
            tag::TARGET_INFO => Self::TargetInfo,
            tag::COLLATERAL => Self::Collateral,
            other => return Err(RpcError::Type(other)),
        };
        reader.finish()?;
        Ok(request)
    }
}

fn decode_ops(reader: &mut Reader<'_>) -> Result<Vec<KvOp>, RpcError> {
    let mut ops = Vec::new();
    while !reader.is_empty() {
        ops.push(match reader.u8()? {
            tag::PUT => KvOp::Put { key: reader.array()?, value: record(reader)? },
            tag::DELETE => KvOp::Delete { key: reader.array()? },
            value => return Err(RpcError::Value { field: "operation", value }),
        });
    }
    Ok(ops)
}

/// A length and that many bytes.
fn record(reader: &mut Reader<'_>) -> Result<Vec<u8>, RpcError> {
    let len = reader.u32()? as usize;
    at_most("record", len, MAX_RECORD)?;
    Ok(reader.take(len)?.to_vec())
}

fn text(field: &'static str, bytes: &[u8], max: usize) -> Result<String, RpcError> {
    at_most(field, bytes.len(), max)?;
    str::from_utf8(bytes).map(str::to_owned).map_err(|_| RpcError::Utf8(field))
}

impl Response {
    /// Reads a response.
    ///
    /// # Errors
    /// [`RpcError`] for everything that is not exactly one response within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, RpcError> {
        at_most("response", bytes.len(), MAX_RESPONSE)?;
        let mut reader = Reader::new(bytes);
        let response = match reader.u8()? {
            tag::VALUE => match reader.u8()? {
                0 => Self::KvValue(None),
                1 => {
                    let value = reader.rest();
                    at_most("record", value.len(), MAX_RECORD)?;
                    Self::KvValue(Some(value.to_vec()))
                }
                value => return Err(RpcError::Value { field: "presence", value }),
            },
            tag::PAGE => {
                let more = match reader.u8()? {
                    0 => false,
                    1 => true,
                    value => return Err(RpcError::Value { field: "more", value }),
                };
                Self::KvPage { records: decode_page(&mut reader)?, more }
            }
            tag::DONE => Self::Done,
            tag::QUOTED => {
                let quote = reader.rest();
                at_most("quote", quote.len(), MAX_QUOTE)?;
                Self::Quote(quote.to_vec())
            }
            tag::TARGET => {
                let target = reader.rest();
                exactly("target info", target.len(), TARGET_INFO)?;
                Self::TargetInfo(target.to_vec())
            }
            tag::COLLATERAL_IS => {
                let collateral = reader.rest();
                at_most("collateral", collateral.len(), MAX_COLLATERAL)?;
                Self::Collateral(collateral.to_vec())
            }
            tag::FAILED => {
                let value = reader.u8()?;
                let code =
                    FailureCode::from_code(value).ok_or(RpcError::Value { field: "failure code", value })?;
                Self::Failed { code, message: text("failure message", reader.rest(), MAX_FAILURE)? }
            }
            other => return Err(RpcError::Type(other)),
        };
        reader.finish()?;
        Ok(response)
    }
}

fn decode_page(reader: &mut Reader<'_>) -> Result<Vec<(Key, Vec<u8>)>, RpcError> {
    let mut records: Vec<(Key, Vec<u8>)> = Vec::new();
    while !reader.is_empty() {
        let key: Key = reader.array()?;
        if records.last().is_some_and(|(last, _)| *last >= key) {
            return Err(RpcError::Order);
        }
        records.push((key, record(reader)?));
    }
    Ok(records)
}
