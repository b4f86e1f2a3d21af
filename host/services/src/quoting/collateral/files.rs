//! Collateral from a folder of documents.

use std::fs;
use std::path::Path;

use boundary_wire::rpc::MAX_COLLATERAL;

use super::CollateralError;
use super::document::{Document, hex};
use super::platform::PlatformId;

/// The document for this platform that is good for longest, of the files `*.json` in `folder`.
pub(super) fn newest(folder: &Path, platform: &PlatformId) -> Result<Document, CollateralError> {
    let failed = |source| CollateralError::Folder { folder: folder.to_owned(), source };
    let mut best: Option<Document> = None;
    let mut damaged = String::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().escape_default().to_string();
        let size = fs::metadata(&path).map_err(failed)?.len();
        if size > MAX_COLLATERAL as u64 {
            damaged = format!(" ({name} is longer than one)");
            continue;
        }
        match Document::from_json(&fs::read(&path).map_err(failed)?) {
            Ok(document) if document.fmspc() != platform.fmspc => {}
            Ok(document) => {
                if best.as_ref().is_none_or(|best| best.next_update() < document.next_update()) {
                    best = Some(document);
                }
            }
            Err(error) => damaged = format!(" ({name}: {error})"),
        }
    }
    best.ok_or_else(|| CollateralError::NotInFolder {
        folder: folder.to_owned(),
        fmspc: hex(&platform.fmspc),
        damaged,
    })
}
