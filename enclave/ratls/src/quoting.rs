//! Quotes: asked of the host, and checked before anything is made of them.
//!
//! TARGETINFO of the quoting enclave in, REPORT for it out, quote back. The host may withhold a quote; it cannot
//! have the enclave serve one that is about anything else than the REPORT that was made for it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use attestation::collateral::{self, Collateral};
use attestation::quote::{self, HEADER_LENGTH, ParseError};
use enclave_platform::Platform;
use enclave_platform::clock::{Clock, Monotonic};
use graviola::hashing::{Hash, Sha256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;

use crate::clock::claimed_now;
use crate::report::ReportData;

/// Longest quote that is taken, in bytes. One with its PCK chain has about 5 KiB; two of them, the lists of
/// apps and the rest of a chain have to fit what TLS stacks read of a handshake.
pub const MAX_QUOTE: usize = 12 * 1024;
/// How old collateral may be before the host is asked again: it renews its copy before `nextUpdate`.
const COLLATERAL_AGE: Duration = Duration::from_secs(600);
/// Bytes of a REPORT that a quote repeats: REPORTBODY (SDM, "REPORT").
const REPORT_BODY: usize = 384;

/// An answer of the host that is on its way.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, ServiceError>> + Send + 'a>>;

/// The host's quoting service. What it answers is a claim.
pub trait QuotingService: Send + Sync {
    /// TARGETINFO of the quoting enclave, 512 bytes.
    fn target_info(&self) -> Answer<'_>;
    /// A quote over a REPORT (432 bytes) that was made for it.
    fn quote(&self, report: [u8; 432]) -> Answer<'_>;
    /// The collateral document (JSON), empty if there is none.
    fn collateral(&self) -> Answer<'_>;
    /// For the log: how quoting goes now, when it went otherwise before.
    fn tell(&self, news: News<'_>);
}

/// What is different since the last request for a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// Quotes come.
    Available,
    /// None comes, for this reason.
    Missing(&'a QuoteError),
}

/// The service gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// It says why. For people.
    #[error("{0}")]
    Unavailable(String),
    /// It answered something else than it was asked.
    #[error("the host misbehaved: {0}")]
    Misbehaved(String),
}

/// Why there is no quote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The host has no quoting, or it does not work at the moment.
    #[error("the host gives no quote: {0}")]
    Unavailable(String),
    /// What the host gave is not what it was asked for.
    #[error("the host misbehaved: {0}")]
    HostMisbehaved(Lie),
}

/// What the host gave in place of a quote over the enclave's REPORT.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// No TARGETINFO.
    #[error("a TARGETINFO of {0} bytes in place of 512")]
    TargetInfo(usize),
    /// Too long.
    #[error("a quote of {0} bytes: at most {MAX_QUOTE} are taken")]
    TooLong(usize),
    /// No quote of the kind that verifiers take.
    #[error("what it calls a quote is none: {0}")]
    Malformed(#[from] ParseError),
    /// A quote about another enclave, or over other report data.
    #[error("its quote is not about the report that this enclave made")]
    AnotherReport,
    /// Another answer than to what was asked.
    #[error("{0}")]
    Protocol(String),
}

impl From<ServiceError> for QuoteError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unavailable(why) => QuoteError::Unavailable(why),
            ServiceError::Misbehaved(how) => QuoteError::HostMisbehaved(Lie::Protocol(how)),
        }
    }
}

/// A quote over a REPORT of this enclave. Only [`Quoting::quote`] makes one.
///
/// Its signature is not checked: whoever relies on it checks it, and one that does not verify helps nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Quote {
    bytes: Arc<[u8]>,
    report_data: ReportData,
}

impl Quote {
    /// The quote as verifiers read it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the root certificate that it says it leads to.
    pub fn root_fingerprint(&self) -> Option<[u8; 32]> {
        let chain = quote::Quote::parse(&self.bytes).ok()?.signature.pck_chain_pem;
        let root = CertificateDer::pem_slice_iter(chain).last()?.ok()?;
        Sha256::hash(&root).as_ref().try_into().ok()
    }

    /// What it was made over.
    pub fn report_data(&self) -> &ReportData {
        &self.report_data
    }
}

impl fmt::Debug for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quote").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Has quotes made. Asks the host, so it is used on the control thread alone (DESIGN D6).
pub struct Quoting {
    platform: Arc<dyn Platform>,
    clock: Arc<Clock>,
    service: Arc<dyn QuotingService>,
    target: Mutex<Option<[u8; 512]>>,
    board: Arc<Board>,
}

impl Quoting {
    /// Over the host's service.
    pub fn new(platform: Arc<dyn Platform>, clock: Arc<Clock>, service: Arc<dyn QuotingService>) -> Self {
        let board = Board { state: Mutex::new(None), collateral: Mutex::new(None) };
        Quoting { platform, clock, service, target: Mutex::new(None), board: Arc::new(board) }
    }

    /// How it went so far, for every thread.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// A quote over `report_data`, about this enclave as the CPU describes it.
    ///
    /// # Errors
    /// [`QuoteError`]. What the host gave is dropped.
    pub async fn quote(&self, report_data: ReportData) -> Result<Quote, QuoteError> {
        let result = self.ask(report_data).await;
        if result.is_err() {
            // The quoting enclave may be another one by now.
            *lock(&self.target) = None;
        }
        if let Some(news) = self.board.record(claimed_now(&self.clock), &result) {
            self.service.tell(news);
        }
        result
    }

    async fn ask(&self, report_data: ReportData) -> Result<Quote, QuoteError> {
        let target = self.target().await?;
        let report = self.platform.report(&target, report_data.as_bytes());
        let bytes = self.service.quote(report).await?;
        check(&bytes, &report).map_err(QuoteError::HostMisbehaved)?;
        Ok(Quote { bytes: bytes.into(), report_data })
    }

    async fn target(&self) -> Result<[u8; 512], QuoteError> {
        if let Some(target) = *lock(&self.target) {
            return Ok(target);
        }
        let bytes = self.service.target_info().await?;
        let target = <[u8; 512]>::try_from(&bytes[..])
            .map_err(|_| QuoteError::HostMisbehaved(Lie::TargetInfo(bytes.len())))?;
        *lock(&self.target) = Some(target);
        Ok(target)
    }

    /// Asks for the collateral, again if what is there has some age.
    ///
    /// # Errors
    /// Why what there was is kept.
    pub async fn refresh_collateral(&self) -> Result<(), CollateralError> {
        let now = self.clock.monotonic();
        let fresh = |held: &Held| held.document.is_some() && now.since(held.asked) < COLLATERAL_AGE;
        if lock(&self.board.collateral).as_ref().is_some_and(fresh) {
            return Ok(());
        }
        let text = self.service.collateral().await?;
        let document = match std::str::from_utf8(&text) {
            Ok("") => None,
            Ok(text) => Some(Arc::new(Collateral::from_json(text)?)),
            Err(_) => return Err(CollateralError::Text),
        };
        *lock(&self.board.collateral) = Some(Held { asked: now, document });
        Ok(())
    }
}

/// Why there is no newer collateral.
#[derive(Debug, thiserror::Error)]
pub enum CollateralError {
    /// The host has none to give.
    #[error("the host gives no collateral: {0}")]
    Service(#[from] ServiceError),
    /// It is none. Not judged any further: that is for those who verify.
    #[error("the host misbehaved: {0}")]
    Bad(#[from] collateral::CollateralError),
    /// It is no text.
    #[error("the host misbehaved: its collateral is not UTF-8")]
    Text,
}

impl fmt::Debug for Quoting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quoting").field("board", &self.board).finish_non_exhaustive()
    }
}

/// How quoting goes. Read by every thread.
#[derive(Debug)]
pub struct Board {
    state: Mutex<Option<Status>>,
    collateral: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    asked: Monotonic,
    document: Option<Arc<Collateral>>,
}

/// How the last request for a quote went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// A quote came.
    Available {
        /// Since when they come.
        since: OffsetDateTime,
        /// When the last one did.
        last: OffsetDateTime,
    },
    /// None came.
    Missing {
        /// Since when.
        since: OffsetDateTime,
        /// The newest reason.
        why: QuoteError,
    },
}

impl Board {
    /// `None`: no quote was asked for yet.
    pub fn status(&self) -> Option<Status> {
        lock(&self.state).clone()
    }

    /// What the host gave for verifiers, as it is.
    pub fn collateral(&self) -> Option<Arc<Collateral>> {
        lock(&self.collateral).as_ref().and_then(|held| held.document.clone())
    }

    /// Gives what is new about it.
    fn record<'a>(&self, now: OffsetDateTime, result: &'a Result<Quote, QuoteError>) -> Option<News<'a>> {
        let mut state = lock(&self.state);
        let news = match (&*state, result) {
            (Some(Status::Available { .. }), Ok(_)) => None,
            (Some(Status::Missing { why, .. }), Err(now)) if why == now => None,
            (_, Ok(_)) => Some(News::Available),
            (_, Err(why)) => Some(News::Missing(why)),
        };
        let since = match (&*state, result) {
            (Some(Status::Available { since, .. }), Ok(_))
            | (Some(Status::Missing { since, .. }), Err(_)) => *since,
            _ => now,
        };
        *state = Some(match result {
            Ok(_) => Status::Available { since, last: now },
            Err(why) => Status::Missing { since, why: why.clone() },
        });
        news
    }
}

/// Checks that `quote` is one in the format that verifiers take, and that it is about `report`: the same
/// measurement, signer, attributes, security versions and report data, byte for byte.
fn check(quote: &[u8], report: &[u8; 432]) -> Result<(), Lie> {
    if quote.len() > MAX_QUOTE {
        return Err(Lie::TooLong(quote.len()));
    }
    let parsed = quote::Quote::parse(quote)?;
    if parsed.header.version != 3 {
        return Err(Lie::Malformed(ParseError::Version(parsed.header.version)));
    }
    // Nothing of REPORTBODY is reserved to the host: all of it is compared.
    let about = parsed.signed.get(HEADER_LENGTH..);
    if about == report.get(..REPORT_BODY) { Ok(()) } else { Err(Lie::AnotherReport) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
