//! `enclave-os list`.

use std::io::IsTerminal;

use enclave_os_client::{AppInfo, AppState, Reply};

use crate::failure::Failure;
use crate::output;
use crate::session::Session;

pub(crate) fn run(session: &Session) -> Result<(), Failure> {
    session.warn();
    let apps = session.framed()?.list()?;
    if session.json {
        output::json(&Reply::Apps { apps });
        return Ok(());
    }
    if apps.is_empty() {
        output::note("nothing is loaded; `enclave-os load app.wasm` loads an application");
        return Ok(());
    }
    let short = std::io::stdout().is_terminal();
    output::table(
        &["NAME", "HOSTNAME", "CODE HASH", "KEY", "STATE", "STORED", "FUNCTIONS"],
        apps.iter().map(|app| row(app, short)).collect(),
    );
    Ok(())
}

fn row(app: &AppInfo, short: bool) -> Vec<String> {
    let hash = match app.code_hash.get(..16) {
        Some(start) if short => format!("{start}…"),
        _ => app.code_hash.clone(),
    };
    let state = match app.state {
        None => "ready",
        Some(AppState::Locked) => "locked",
    };
    let (name, hostname, key) = (app.name.clone(), app.hostname.clone(), app.key_source.clone());
    vec![name, hostname, hash, key, state.into(), stored(app), functions(app)]
}

/// Of how much it keeps, in whole MiB.
fn stored(app: &AppInfo) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    match app.storage {
        Some(storage) => {
            let bytes = format!("{} of {} MiB", mib(storage.bytes), mib(storage.max_bytes));
            match storage.keys.filter(|keys| *keys > 0) {
                Some(keys) => format!("{bytes}, {keys} of {} keys", storage.max_keys),
                None => bytes,
            }
        }
        None => String::new(),
    }
}

/// The first few; `schema` shows all.
fn functions(app: &AppInfo) -> String {
    let names: Vec<_> = app.exports.iter().take(SHOWN).map(|export| export.name.as_str()).collect();
    match app.exports.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

const SHOWN: usize = 6;
