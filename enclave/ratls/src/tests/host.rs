//! A host's quoting service, honest or not.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Answer, News, QuotingService, ServiceError};

#[derive(Default)]
pub(crate) struct FakeHost {
    lies: Mutex<Option<Lies>>,
    asked: AtomicUsize,
    targets: AtomicUsize,
    pub(crate) collateral: Mutex<Vec<u8>>,
    /// What it was told.
    pub(crate) told: Mutex<Vec<String>>,
}

/// What the host does in place of quoting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lies {
    Silent,
    /// None for interoperable evidence, whose report data ends in zeros.
    NotInteroperable,
    Protocol,
    ShortTarget,
    Empty,
    TooLong,
    Truncated,
    Longer,
    OldVersion,
    OtherKeyType,
    OtherEnclave,
    OtherReportData,
    Replayed,
}

impl FakeHost {
    pub(crate) fn set(&self, lies: impl Into<Option<Lies>>) {
        *self.lies.lock().unwrap() = lies.into();
    }

    /// How many quotes were asked for.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// How often its TARGETINFO was asked for.
    pub(crate) fn targets(&self) -> usize {
        self.targets.load(Ordering::Relaxed)
    }

    fn lies(&self) -> Option<Lies> {
        *self.lies.lock().unwrap()
    }
}

/// As the quoting enclave lays it out, with zeros for signatures and keys.
fn quote(report: &[u8; 432]) -> Vec<u8> {
    let mut quote = vec![0; 48];
    quote[..4].copy_from_slice(&[3, 0, 2, 0]);
    quote.extend(&report[..384]);
    let (keys, authentication, chain) = (64 + 64 + 384 + 64, 32, 700);
    quote.extend((keys as u32 + 2 + authentication + 2 + 4 + chain).to_le_bytes());
    quote.resize(quote.len() + keys, 0);
    quote.extend((authentication as u16).to_le_bytes());
    quote.extend([0; 32]);
    quote.extend(5_u16.to_le_bytes());
    quote.extend(chain.to_le_bytes());
    quote.extend([b'-'; 700]);
    quote
}

fn made_of(lies: Option<Lies>, mut report: [u8; 432]) -> Result<Vec<u8>, ServiceError> {
    let mut good = quote(&report);
    match lies {
        None | Some(Lies::ShortTarget) => return Ok(good),
        Some(Lies::NotInteroperable) if report[352..384] == [0; 32] => {
            return Err(ServiceError::Unavailable("not this one".to_owned()));
        }
        Some(Lies::NotInteroperable) => return Ok(good),
        Some(Lies::Silent) => return Err(ServiceError::Unavailable("no aesmd".to_owned())),
        Some(Lies::Protocol) => return Err(ServiceError::Misbehaved("another answer".to_owned())),
        Some(Lies::Empty) => good.clear(),
        Some(Lies::TooLong) => good.resize(crate::MAX_QUOTE + 1, 0),
        Some(Lies::Truncated) => good.truncate(good.len() - 1),
        Some(Lies::Longer) => good.push(0),
        Some(Lies::OldVersion) => good[0] = 2,
        Some(Lies::OtherKeyType) => good[2] = 3,
        Some(Lies::OtherEnclave) => report[64] ^= 1,
        Some(Lies::OtherReportData) => report[383] ^= 1,
        Some(Lies::Replayed) => report[320..384].fill(7),
    }
    match lies {
        Some(Lies::OtherEnclave | Lies::OtherReportData | Lies::Replayed) => Ok(quote(&report)),
        _ => Ok(good),
    }
}

impl QuotingService for FakeHost {
    fn target_info(&self) -> Answer<'_> {
        self.targets.fetch_add(1, Ordering::Relaxed);
        let length = if self.lies() == Some(Lies::ShortTarget) { 511 } else { 512 };
        Box::pin(async move { Ok(vec![0; length]) })
    }

    fn quote(&self, report: [u8; 432]) -> Answer<'_> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { made_of(self.lies(), report) })
    }

    fn collateral(&self) -> Answer<'_> {
        Box::pin(async move { Ok(self.collateral.lock().unwrap().clone()) })
    }

    fn tell(&self, news: News<'_>) {
        self.told.lock().unwrap().push(match news {
            News::Available => "available".to_owned(),
            News::Missing(why) => why.to_string(),
        });
    }
}
