//! `enclave-os schema`.

use serde_json::json;

use crate::args::Schema;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::wave::signature;

pub(crate) fn run(session: &Session, args: &Schema) -> Result<(), Failure> {
    session.warn();
    let schema = session.framed()?.schema(&args.app)?;
    if session.json {
        output::json(&json!({ "status": "schema", "app": args.app, "schema": schema }));
        return Ok(());
    }
    for export in &schema.exports {
        output::line(&signature(export));
    }
    Ok(())
}
