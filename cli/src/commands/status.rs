//! `enclave-os status`: what the server says, and what its certificate claims.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::hex;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

pub(crate) fn run(session: &Session) -> Result<(), Failure> {
    session.warn();
    let mut http = session.http()?;
    let ready = http.ready()?;
    let claims = http.peer().claims()?;
    if session.json {
        let apps: Vec<Value> = claims
            .apps
            .iter()
            .map(|app| {
                json!({
                    "name": app.name,
                    "route_prefix": app.route_prefix,
                    "code_hash": hex(&app.code_hash),
                })
            })
            .collect();
        output::json(&json!({
            "status": ready.status,
            "server": ready,
            "verified": session.verifies(),
            "certificate": {
                "configuration_root": hex(&claims.configuration_root),
                "workloads_hash": hex(&claims.workloads_hash),
                "quote": claims.quote.is_some(),
                "not_before": claims.not_before.unix_timestamp(),
                "not_after": claims.not_after.unix_timestamp(),
                "apps": apps,
            },
        }));
        return Ok(());
    }
    output::done(&ready.status, &ready.platform);
    output::field("target", &format!("{} (engine {})", ready.target, ready.engine_version));
    for (name, value) in &ready.more {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => continue,
            Value::Array(items) if items.is_empty() => continue,
            other => other.to_string(),
        };
        output::field(&name.replace('_', " "), &text);
    }
    output::field("certificate", &format!("{} to {}", minutes(claims.not_before), minutes(claims.not_after)));
    output::field("configuration", &hex(&claims.configuration_root));
    output::field("quote", if claims.quote.is_some() { "present" } else { "none" });
    for app in &claims.apps {
        output::field("app", &format!("{} at {}, code {}", app.name, app.route_prefix, hex(&app.code_hash)));
    }
    Ok(())
}

/// `2026-11-20 23:17 UTC`.
fn minutes(at: OffsetDateTime) -> String {
    let (date, hour, minute) = (at.date(), at.hour(), at.minute());
    format!("{}-{:02}-{:02} {hour:02}:{minute:02} UTC", date.year(), u8::from(date.month()), date.day())
}
