//! `enclave-os key`: operators' keys, and what one vouches for.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use attestation::image_policy::PublicKey;
use attestation::instant;
use attestation::operator_token::{Algorithm, Delegation, MAX_DELEGATION_SECONDS, Role};
use enclave_os_client::OperatorKey;
use serde_json::json;
use time::OffsetDateTime;

use crate::args::{Delegate, Key, NewKey};
use crate::failure::Failure;
use crate::{key_file, output};

pub(crate) fn run(command: &Key, key: Option<&Path>, json: bool) -> Result<(), Failure> {
    match command {
        Key::New(args) => new(args, json),
        Key::Show { file } => show(file, json),
        Key::Delegate(args) => delegate(args, key, json),
    }
}

fn new(args: &NewKey, json: bool) -> Result<(), Failure> {
    let algorithm = match args.algorithm {
        crate::args::Algorithm::P256 => Algorithm::Es256,
        crate::args::Algorithm::Ed25519 => Algorithm::EdDsa,
    };
    let key = OperatorKey::generate(algorithm).map_err(unusable)?;
    key_file::write_new(&args.file, key.to_pem().map_err(unusable)?.expose())?;
    output::note(&format!("written: {}", args.file.display()));
    tell(&key, &args.name, Role::from(args.role), json);
    Ok(())
}

fn show(file: &Path, json: bool) -> Result<(), Failure> {
    let key = key_file::read(file)?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._@-".contains(c) { c } else { '-' };
    tell(&key, &name.chars().take(64).map(plain).collect::<String>(), Role::Manager, json);
    Ok(())
}

/// What others need to know of a key; the lines for a policy file alone on stdout. The private part is in its file and
/// nowhere else.
fn tell(key: &OperatorKey, name: &str, role: Role, json: bool) {
    let (public, kid) = (key.public().to_pem(), key.public().thumbprint());
    let policy = policy_entry(&public, name, role);
    if json {
        output::json(&json!({
            "status": "key",
            "kid": kid,
            "public_key": public,
            "policy": policy,
            "delegation": key.delegation(),
        }));
        return;
    }
    output::note(&format!("kid: {kid}"));
    match (key.delegation(), policy) {
        (Some(says), _) => {
            output::field("delegated", &format!("{}, {}", says.role.name(), window(says)));
            output::field("apps", &says.apps.as_ref().map_or("all".to_owned(), |apps| apps.join(", ")));
        }
        (None, Some(policy)) => {
            output::note("an enclave takes its tokens when its policy file has these lines:");
            output::raw(&policy);
        }
        (None, None) => {
            output::note(
                "no policy has role app: a root vouches for this key with `enclave-os key delegate`",
            );
            output::raw(&public);
        }
    }
}

/// The lines of a policy file. No policy has the role `app`.
fn policy_entry(public: &str, name: &str, role: Role) -> Option<String> {
    if role == Role::App {
        return None;
    }
    let role = role.name();
    Some(format!("[[operators]]\nname = \"{name}\"\nrole = \"{role}\"\nkey = '''\n{public}'''\n"))
}

fn delegate(args: &Delegate, key: Option<&Path>, json: bool) -> Result<(), Failure> {
    let root = key.ok_or_else(|| {
        Failure::usage("delegating needs the root's key").hint("--key FILE, or ENCLAVE_OS_KEY")
    })?;
    let root = key_file::read(root)?;
    if root.delegation().is_some() {
        return Err(Failure::usage("a key that is delegated cannot delegate: --key takes the root's"));
    }
    let text = fs::read_to_string(&args.to).map_err(|error| Failure::file(&args.to, "read", &error))?;
    let public = match OperatorKey::from_pem(&text) {
        Ok(key) => key.public(),
        Err(_) => PublicKey::parse(&text)
            .map_err(|error| Failure::usage(format!("the key {}: {error}", args.to.display())))?,
    };
    let role = Role::from(args.role);
    let apps = (!args.app.is_empty()).then(|| args.app.clone());
    let seconds = u64::from(args.days) * 24 * 60 * 60;
    if !(1..=MAX_DELEGATION_SECONDS).contains(&seconds) {
        return Err(Failure::usage("--days is 1 to 366"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let says = Delegation { key: public, role, nbf: now, exp: now + seconds, apps, sub: args.name.clone() };
    let block = root.delegate(&says).map_err(unusable)?;
    if let Some(path) = &args.output {
        fs::write(path, &block).map_err(|error| Failure::file(path, "write", &error))?;
    }
    match (json, &args.output) {
        (true, _) => output::json(&json!({ "status": "delegated", "delegation": block, "claims": says })),
        (false, None) => output::raw(&block),
        (false, Some(path)) => {
            output::done("written", &path.display().to_string());
            output::field("delegated", &format!("{}, {}", role.name(), window(&says)));
            output::note(&format!("append it to the key's own file: cat {} >> KEY", path.display()));
        }
    }
    Ok(())
}

fn window(delegation: &Delegation) -> String {
    let moment = |seconds: u64| {
        let at = i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        at.map_or_else(|| seconds.to_string(), instant::format)
    };
    format!("{} to {}", moment(delegation.nbf), moment(delegation.exp))
}

fn unusable(error: enclave_os_client::OperatorKeyError) -> Failure {
    Failure::local("key", error.to_string())
}
