//! Collateral for the platform's quotes: fetched, kept on disk, renewed before it runs out.
//!
//! What does not verify the platform's own quote, under the root that this quote names, is not kept: somebody between
//! here and the source could pin it otherwise. That is for availability alone. Whoever verifies a quote judges by the
//! root that he chose.

mod document;
mod files;
mod pccs;
mod platform;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use attestation::verify::QuoteError;
use boundary_wire::rpc::LogLevel;
use time::{Duration, OffsetDateTime};

use super::QuotingError;
use crate::log::Log;
use document::Document;
pub use pccs::{Pccs, PccsError};
use platform::PlatformId;

/// Collateral is renewed when less than this is left of it.
const RENEW_BEFORE: Duration = Duration::days(7);
/// A source that failed, or had nothing newer, is left alone for so long.
const PAUSE: Duration = Duration::minutes(10);
/// How long it is waited for where there is none.
const WAIT: std::time::Duration = std::time::Duration::from_secs(3);
/// The last document, in the data directory.
const FILE: &str = "collateral.json";

/// Where collateral comes from.
#[derive(Debug)]
pub enum CollateralSource {
    /// Nowhere: clients bring their own.
    None,
    /// A caching service, or Intel's.
    Pccs(Pccs),
    /// Documents in a folder.
    Folder(PathBuf),
}

/// Collateral cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollateralError {
    #[error(transparent)]
    Pccs(#[from] PccsError),
    #[error("{folder} cannot be read: {source}; --collateral-dir names another")]
    Folder { folder: PathBuf, source: io::Error },
    #[error(
        "{folder} holds no collateral document for FMSPC {fmspc}{damaged}; put one there (docs/formats/quotes.md)"
    )]
    NotInFolder { folder: PathBuf, fmspc: String, damaged: String },
    #[error("what the source gave is not genuine, or not for this platform: {0}")]
    NotGenuine(#[source] QuoteError),
}

/// Fetches collateral when there is reason to, on a thread of its own: whoever asks for a quote does not wait for
/// the source.
pub struct CollateralKeeper {
    shared: Arc<Shared>,
}

struct Shared {
    source: CollateralSource,
    file: PathBuf,
    log: Log,
    clock: fn() -> OffsetDateTime,
    state: Mutex<State>,
    /// Rung when the source has answered.
    answered: Condvar,
}

#[derive(Default)]
struct State {
    platform: Option<Platform>,
    held: Option<Document>,
    /// The source is not asked before.
    rest_until: Option<OffsetDateTime>,
    fetching: bool,
    /// Why the source gave nothing, until somebody was told.
    failure: Option<String>,
}

/// The platform of a quote, and the quote: what collateral has to verify.
#[derive(Clone)]
struct Platform {
    id: PlatformId,
    quote: Vec<u8>,
}

impl CollateralKeeper {
    /// Keeps the last document in `data_dir`, and starts with what lies there.
    pub fn new(source: CollateralSource, data_dir: &Path, log: Log) -> Self {
        Self::with_clock(source, data_dir, log, OffsetDateTime::now_utc)
    }

    fn with_clock(
        source: CollateralSource,
        data_dir: &Path,
        log: Log,
        clock: fn() -> OffsetDateTime,
    ) -> Self {
        let file = data_dir.join(FILE);
        // What does not read is fetched anew.
        let held = fs::read(&file).ok().and_then(|json| Document::from_json(&json).ok());
        let state = Mutex::new(State { held, ..State::default() });
        let shared = Shared { source, file, log, clock, state, answered: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Takes from a quote which platform the collateral is for, and begins to fetch what is due.
    pub(super) fn learn(&self, quote: &[u8]) -> Result<(), QuotingError> {
        let id = PlatformId::of_quote(quote).map_err(|error| QuotingError::Unavailable(error.to_string()))?;
        let now = (self.shared.clock)();
        let mut state = self.shared.lock();
        if state.platform.as_ref().is_none_or(|known| known.id != id) {
            let platform = Platform { id, quote: quote.to_owned() };
            state.held.take_if(|held| self.shared.refuses(held, &platform, now));
            state.platform = Some(platform);
        }
        self.begin(&mut state, now);
        Ok(())
    }

    /// The document as it is good now; empty before the first quote, and where there is no source. It is waited
    /// for only while there is none, and not for long.
    pub(super) fn current(&self) -> Result<Vec<u8>, QuotingError> {
        let now = (self.shared.clock)();
        let mut state = self.shared.lock();
        if state.platform.is_none() {
            return Ok(Vec::new());
        }
        self.begin(&mut state, now);
        if state.good(now).is_none() {
            let answered = self.shared.answered.wait_timeout_while(state, WAIT, |state| state.fetching);
            (state, _) = answered.unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(held) = state.good(now) {
            return Ok(held.json().to_vec());
        }
        let why = match (state.failure.take(), &state.held) {
            (Some(failure), _) => failure,
            _ if state.fetching => "the collateral is not there yet: its source has not answered".to_owned(),
            (None, Some(held)) => format!(
                "the collateral ran out on {} and could not be renewed; see the host's log",
                held.next_update().date()
            ),
            (None, None) => return Ok(Vec::new()),
        };
        Err(QuotingError::Unavailable(why))
    }

    /// Asks the source if that is due and nobody does.
    fn begin(&self, state: &mut State, now: OffsetDateTime) {
        let Some(platform) = state.platform.clone() else { return };
        let left = state.held.as_ref().map(|held| held.next_update() - now);
        let rests = state.rest_until.is_some_and(|until| until > now);
        let nowhere = matches!(self.shared.source, CollateralSource::None);
        if nowhere || state.fetching || rests || left.is_some_and(|left| left >= RENEW_BEFORE) {
            return;
        }
        state.rest_until = Some(now + PAUSE);
        let shared = Arc::clone(&self.shared);
        let fetch = move || shared.renew(&platform, now);
        match std::thread::Builder::new().name("collateral".into()).spawn(fetch) {
            Ok(_) => state.fetching = true,
            Err(error) => state.failure = Some(format!("no thread to fetch collateral: {error}")),
        }
    }
}

impl State {
    fn good(&self, now: OffsetDateTime) -> Option<&Document> {
        self.held.as_ref().filter(|held| now <= held.next_update())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a document that was kept is of another platform, or not genuine.
    fn refuses(&self, held: &Document, platform: &Platform, now: OffsetDateTime) -> bool {
        if held.fmspc() != platform.id.fmspc {
            return true;
        }
        let wrong = held.check(&platform.quote, &platform.id.root, now).err();
        if let Some(error) = &wrong {
            let file = self.file.display();
            self.log.host(LogLevel::Warn, &format!("collateral: {file} is not used: {error}"));
        }
        wrong.is_some()
    }

    /// Asks the source. A failure is no failure while there is a document that is good. What does not verify takes no
    /// other's place, whoever answered.
    fn renew(&self, platform: &Platform, now: OffsetDateTime) {
        let fetched = match &self.source {
            CollateralSource::None => return,
            CollateralSource::Pccs(pccs) => pccs.fetch(&platform.id).map_err(CollateralError::from),
            CollateralSource::Folder(folder) => files::newest(folder, &platform.id),
        };
        let checked = fetched.and_then(|document| {
            document.check(&platform.quote, &platform.id.root, now).map_err(CollateralError::NotGenuine)?;
            Ok(document)
        });
        let kept = checked.as_ref().ok().map(|document| write_durably(&self.file, document.json()));
        let mut state = self.lock();
        state.fetching = false;
        state.failure = None;
        match checked {
            Ok(document) => state.held = Some(document),
            Err(error) => {
                let good = state.good(now);
                let kept = good.map_or("there is none that is good".to_owned(), |held| {
                    format!("the last one is served, which is good until {}", held.next_update().date())
                });
                self.log.host(LogLevel::Warn, &format!("collateral: {error}; {kept}"));
                if good.is_none() {
                    state.failure = Some(error.to_string());
                }
            }
        }
        drop(state);
        self.answered.notify_all();
        if let Some(Err(error)) = kept {
            let file = self.file.display();
            self.log
                .host(LogLevel::Warn, &format!("collateral is not kept for the next start: {file}: {error}"));
        }
    }
}

/// Whole or not at all.
fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}
