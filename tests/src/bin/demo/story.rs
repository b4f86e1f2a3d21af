//! The demo's story, step by step. Each step checks what it claims.

use anyhow::{Context, Result, bail, ensure};
use attestation::hex::encode as hex;
use attestation::verify::{CheckId, Tier};
use boundary_wire::client::Load;
use enclave_os_client::{Attested, ClientError, Framed, VerifiedConnector};
use scenarios::host::HostProcess;
use sha2::{Digest, Sha256};

use crate::example;
use crate::report::{Row, chapter, holds, note};
use crate::store::{self, Records};
use crate::world::{APP, World};

/// Runs it all; the rows are the six functions.
pub(crate) fn tell(world: &World) -> Result<Vec<Row>> {
    let empty = first_boot(world)?;
    let (host, rows) = load_and_call(world)?;
    let loaded = crash_and_recover(world, host)?;
    unload(world, &empty, &loaded)?;
    replay(world, &empty, &loaded)?;
    Ok(rows)
}

/// The request that loads the example.
pub(crate) fn load(artifact: &[u8]) -> Load {
    Load { name: APP.to_owned(), bytes: artifact.to_vec(), ..Load::default() }
}

/// What an enclave stores that never had an app.
fn first_boot(world: &World) -> Result<Records> {
    chapter("Start");
    let host = world.host()?;
    note(host.ready_line());
    note("under a development policy: whoever reaches the port may load code, and nothing is protected");
    let mut client = host.framed()?;
    ensure!(client.list()?.is_empty(), "a fresh enclave lists apps");
    holds("a fresh enclave has no apps");
    drop(client);
    let status = host.stop()?;
    ensure!(status.success(), "SIGTERM did not end the host gracefully: {status}");
    holds("SIGTERM ends the host with exit code 0");
    store::records(world.data_dir())
}

/// A connection that exists only if the enclave passed the policy, over keys of its own.
fn verified(world: &World, host: &HostProcess) -> Result<Attested<Framed>> {
    let policy = world.verification_policy(host)?;
    Ok(VerifiedConnector::new(host.address().to_string(), policy).framed()?)
}

fn load_and_call(world: &World) -> Result<(HostProcess, Vec<Row>)> {
    chapter("Verify");
    let host = world.host()?;
    let mut client = verified(world, &host)?;
    let verdict = client.verified().verdict();
    let tcb = verdict.tcb().context("the verdict tells no platform")?;
    ensure!(client.verified().tier() == Tier::Channel, "verified at tier {}", client.verified().tier());
    holds(&format!(
        "before anything is loaded: its quote is over the keys of this connection ({} checks)",
        verdict.checks().len()
    ));
    note(&format!(
        "MRENCLAVE as the policy demands; platform {}, under this machine's DEVELOPMENT root",
        tcb.status
    ));
    let mut stranger = world.verification_policy(&host)?;
    stranger.enclave.mrenclave = Some(vec![[0; 32]]);
    match VerifiedConnector::new(host.address().to_string(), stranger).framed() {
        Err(ClientError::Verification(verdict))
            if verdict.failed().any(|c| c.check == CheckId::Measurement) =>
        {
            holds("a policy for another MRENCLAVE ends the connection before anything is sent");
        }
        Err(error) => return Err(error).context("refused, but not for the measurement"),
        Ok(_) => bail!("a policy for another MRENCLAVE was passed"),
    }

    chapter("Load and call");
    let sent: [u8; 32] = Sha256::digest(&world.artifact).into();
    let app = client.load(load(&world.artifact))?;
    ensure!(app.code_hash == hex(&sent), "the reply names code {}", app.code_hash);
    let functions: Vec<_> = app.exports.iter().map(|e| e.name.as_str()).collect();
    holds(&format!("loaded over TLS; exports {}", functions.join(", ")));

    let rows = example::call_all(&mut client);
    ensure!(world.site_requests() > 0, "no request reached the web site");

    // A certificate made before the load cannot name the app: a new connection gets the new one.
    let claims = verified(world, &host)?.peer().claims()?;
    let claimed =
        claims.apps.iter().find(|a| a.name == APP).context("the certificate does not name the app")?;
    ensure!(claimed.code_hash == sent, "the certificate names other code");
    holds(&format!("the certificate's code hash is the SHA-256 of what was sent: {}…", &hex(&sent)[..16]));
    Ok((host, rows))
}

/// What the store holds while the app is loaded.
fn crash_and_recover(world: &World, host: HostProcess) -> Result<Records> {
    chapter("Crash");
    host.kill()?;
    let records = store::records(world.data_dir())?;
    for plain in ["greeting", "Hello from WASM", APP] {
        ensure!(!store::contains(world.data_dir(), plain.as_bytes())?, "`{plain}` is readable in the store");
    }
    holds("the host was killed with SIGKILL; its files show no key, no value and no app name");
    let host = world.host()?;
    let mut client = host.framed()?;
    let names: Vec<_> = client.list()?.into_iter().map(|a| a.name).collect();
    ensure!(names == [APP], "after the restart the apps are {names:?}");
    let value = example::read(&mut client)?;
    holds(&format!("after the restart the app is back, and `greeting` reads `{value}`"));
    drop(client);
    ensure!(host.stop()?.success(), "the host did not stop gracefully");
    Ok(records)
}

fn unload(world: &World, empty: &Records, loaded: &Records) -> Result<()> {
    chapter("Unload");
    let host = world.host()?;
    let mut client = host.framed()?;
    ensure!(client.unload(APP)?, "the app was not there to unload");
    ensure!(client.list()?.is_empty(), "the app is still listed");
    drop(client);
    ensure!(host.stop()?.success(), "the host did not stop gracefully");
    let left = store::records(world.data_dir())?;
    let of_the_app = loaded.keys().filter(|key| !empty.contains_key(*key)).count();
    ensure!(of_the_app > 0, "loading and storing left no record: this shows nothing");
    if let Some(key) = left.keys().find(|key| !empty.contains_key(*key)) {
        bail!("record {} is left of the app", hex(key));
    }
    holds(&format!("{of_the_app} records of the app were in the store; none is left"));
    Ok(())
}

/// The app's old ciphertext, copied back by the host.
fn replay(world: &World, empty: &Records, loaded: &Records) -> Result<()> {
    let (key, value) = loaded
        .iter()
        .find(|(key, _)| !empty.contains_key(*key))
        .context("there is no old record to copy back")?;
    store::plant(world.data_dir(), *key, value.clone())?;
    match world.host() {
        Ok(_) => bail!("the enclave accepted a record that it had erased"),
        Err(error) => {
            let words = format!("{error:#}");
            let reason = words.lines().find(|line| line.contains("misbehave"));
            let reason = reason.with_context(|| format!("refused, but not for the right reason: {words}"))?;
            holds("its old ciphertext copied back is refused:");
            note(reason.trim());
        }
    }
    store::remove(world.data_dir(), *key)?;
    let host = world.host()?;
    ensure!(host.framed()?.list()?.is_empty(), "the app came back");
    holds("with the record gone again, the enclave starts as before");
    ensure!(host.stop()?.success(), "the host did not stop gracefully");
    Ok(())
}
