//! Collateral for the platform's quotes: fetched, kept on disk, renewed before it runs out.
//!
//! The host does not verify it. Whoever verifies a quote does, with the root that he chose.

mod document;
mod files;
mod pccs;
mod platform;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
}

/// Fetches collateral when it is asked for, and no oftener than there is reason to.
pub struct CollateralKeeper {
    source: CollateralSource,
    file: PathBuf,
    log: Log,
    clock: fn() -> OffsetDateTime,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    platform: Option<PlatformId>,
    held: Option<Document>,
    /// The source is not asked before.
    rest_until: Option<OffsetDateTime>,
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
        Self { source, file, log, clock, state }
    }

    /// Takes from a quote which platform the collateral is for.
    pub(super) fn learn(&self, quote: &[u8]) -> Result<(), QuotingError> {
        let platform =
            PlatformId::of_quote(quote).map_err(|error| QuotingError::Unavailable(error.to_string()))?;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).platform = Some(platform);
        Ok(())
    }

    /// The document as it is good now; empty before the first quote, and where there is no source.
    pub(super) fn current(&self) -> Result<Vec<u8>, QuotingError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(platform) = state.platform.clone() else { return Ok(Vec::new()) };
        if state.held.as_ref().is_some_and(|held| held.fmspc() != platform.fmspc) {
            state.held = None;
        }
        let now = (self.clock)();
        let left = state.held.as_ref().map(|held| held.next_update() - now);
        if left.is_none_or(|left| left < RENEW_BEFORE) && state.rest_until.is_none_or(|until| until <= now) {
            state.rest_until = Some(now + PAUSE);
            self.renew(&mut state, &platform, now)?;
        }
        match &state.held {
            Some(held) if now <= held.next_update() => Ok(held.json().to_vec()),
            Some(held) => Err(QuotingError::Unavailable(format!(
                "the collateral ran out on {} and could not be renewed; see the host's log",
                held.next_update().date()
            ))),
            None => Ok(Vec::new()),
        }
    }

    /// Asks the source. A failure is no failure while there is a document that is good.
    fn renew(
        &self,
        state: &mut State,
        platform: &PlatformId,
        now: OffsetDateTime,
    ) -> Result<(), QuotingError> {
        let fetched = match &self.source {
            CollateralSource::None => return Ok(()),
            CollateralSource::Pccs(pccs) => pccs.fetch(platform).map_err(CollateralError::from),
            CollateralSource::Folder(folder) => files::newest(folder, platform),
        };
        let document = match fetched {
            Ok(document) => document,
            Err(error) => {
                let good = state.held.as_ref().filter(|held| now <= held.next_update());
                let kept = good.map_or("there is none that is good".to_owned(), |held| {
                    format!("the last one is served, which is good until {}", held.next_update().date())
                });
                self.log.host(LogLevel::Warn, &format!("collateral: {error}; {kept}"));
                return if good.is_some() {
                    Ok(())
                } else {
                    Err(QuotingError::Unavailable(error.to_string()))
                };
            }
        };
        if let Err(error) = write_durably(&self.file, document.json()) {
            let file = self.file.display();
            self.log
                .host(LogLevel::Warn, &format!("collateral is not kept for the next start: {file}: {error}"));
        }
        state.held = Some(document);
        Ok(())
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
