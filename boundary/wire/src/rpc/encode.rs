//! Messages to bytes. Refuses what the other side would.

use super::{
    KvOp, MAX_COLLATERAL, MAX_FAILURE, MAX_MESSAGE, MAX_QUOTE, MAX_RECORD, MAX_REQUEST, MAX_RESPONSE,
    MAX_TARGET, RECORD_OVERHEAD, REPORT, Request, Response, RpcError, TARGET_INFO, at_most, exactly, tag,
};

impl Request {
    /// The request as bytes.
    ///
    /// # Errors
    /// [`RpcError`] for a request that the host would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, RpcError> {
        let mut out = Vec::new();
        match self {
            Self::KvGet { key } => {
                out.push(tag::KV_GET);
                out.extend(key);
            }
            Self::KvScan { after, max_bytes } => {
                out.push(tag::KV_SCAN);
                out.extend(max_bytes.to_le_bytes());
                out.extend(after.iter().flatten());
            }
            Self::KvBatch { ops } => encode_batch(ops, &mut out)?,
            Self::Log(line) => {
                at_most("log target", line.target.len(), MAX_TARGET)?;
                at_most("log message", line.message.len(), MAX_MESSAGE)?;
                out.extend([tag::LOG, line.level as u8, line.target.len() as u8]);
                out.extend(line.target.as_bytes());
                out.extend(line.message.as_bytes());
            }
            Self::Quote { report } => {
                exactly("report", report.len(), REPORT)?;
                out.push(tag::QUOTE);
                out.extend(report);
            }
            Self::TargetInfo => out.push(tag::TARGET_INFO),
            Self::Collateral => out.push(tag::COLLATERAL),
        }
        at_most("request", out.len(), MAX_REQUEST)?;
        Ok(out)
    }
}

fn encode_batch(ops: &[KvOp], out: &mut Vec<u8>) -> Result<(), RpcError> {
    let value_len = |op: &KvOp| if let KvOp::Put { value, .. } = op { value.len() } else { 0 };
    out.reserve(1 + ops.iter().map(|op| RECORD_OVERHEAD + value_len(op)).sum::<usize>());
    out.push(tag::KV_BATCH);
    for op in ops {
        match op {
            KvOp::Put { key, value } => {
                at_most("record", value.len(), MAX_RECORD)?;
                out.push(tag::PUT);
                out.extend(key);
                out.extend((value.len() as u32).to_le_bytes());
                out.extend(value);
            }
            KvOp::Delete { key } => {
                out.push(tag::DELETE);
                out.extend(key);
            }
        }
    }
    Ok(())
}

impl Response {
    /// The response as bytes.
    ///
    /// # Errors
    /// [`RpcError`] for a response that the enclave would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, RpcError> {
        let mut out = Vec::new();
        match self {
            Self::KvValue(None) => out.extend([tag::VALUE, 0]),
            Self::KvValue(Some(value)) => {
                at_most("record", value.len(), MAX_RECORD)?;
                out.reserve_exact(2 + value.len());
                out.extend([tag::VALUE, 1]);
                out.extend(value);
            }
            Self::KvPage { records, more } => {
                out.reserve_exact(2 + records.iter().map(|(_, v)| RECORD_OVERHEAD + v.len()).sum::<usize>());
                out.extend([tag::PAGE, u8::from(*more)]);
                for (key, value) in records {
                    at_most("record", value.len(), MAX_RECORD)?;
                    out.extend(key);
                    out.extend((value.len() as u32).to_le_bytes());
                    out.extend(value);
                }
                if !records.is_sorted_by(|(a, _), (b, _)| a < b) {
                    return Err(RpcError::Order);
                }
            }
            Self::Done => out.push(tag::DONE),
            Self::Quote(quote) => {
                at_most("quote", quote.len(), MAX_QUOTE)?;
                out.push(tag::QUOTED);
                out.extend(quote);
            }
            Self::TargetInfo(target) => {
                exactly("target info", target.len(), TARGET_INFO)?;
                out.push(tag::TARGET);
                out.extend(target);
            }
            Self::Collateral(collateral) => {
                at_most("collateral", collateral.len(), MAX_COLLATERAL)?;
                out.push(tag::COLLATERAL_IS);
                out.extend(collateral);
            }
            Self::Failed { code, message } => {
                at_most("failure message", message.len(), MAX_FAILURE)?;
                out.extend([tag::FAILED, *code as u8]);
                out.extend(message.as_bytes());
            }
        }
        at_most("response", out.len(), MAX_RESPONSE)?;
        Ok(out)
    }
}
