//! What an application prints, and what it does over HTTPS, goes where its log policy allows: to the host's
//! log, or nowhere.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use boundary_wire::client::{Load, LogPolicy, Params};
use scenarios::example::{World, artifact};
use scenarios::platform::Platform;

scenarios::on_each_platform!(
    what_an_app_says_goes_where_its_log_policy_allows,
    the_manifest_says_how_code_pages_are_protected,
);

fn load(platform: Platform, name: &str, log_policy: LogPolicy) -> Load {
    let bytes = artifact(platform).unwrap();
    Load { name: name.to_owned(), bytes, log_policy: Some(log_policy), ..Load::default() }
}

fn what_an_app_says_goes_where_its_log_policy_allows(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(platform, folder.path().join("data")).unwrap();
    let host = world.start().unwrap();
    let mut client = host.framed().unwrap();
    client.load(load(platform, "open", LogPolicy::Host)).unwrap();
    client.load(load(platform, "quiet", LogPolicy::None)).unwrap();

    for app in ["open", "quiet"] {
        let headlines = client.call(app, "fetch-headlines", Params::Positional(vec![])).unwrap();
        assert!(headlines[0]["value"].as_str().unwrap().starts_with("1. "), "{app}: {headlines:?}");
    }
    assert_eq!(world.site().requests(), 2);
    // The end of the host flushes its log.
    drop(client);
    let output = host.stop_with_output().unwrap();
    let told: Vec<_> = output.lines().filter(|line| line.contains("https egress")).collect();
    assert_eq!(told.len(), 1, "{output}");
    assert!(told[0].contains("open") && told[0].contains("GET www.lemonde.fr:443 -> 200"), "{told:?}");
    assert!(!output.contains("une.xml"), "a path left the enclave: {output}");
}

fn the_manifest_says_how_code_pages_are_protected(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = World::new(platform, folder.path().join("data")).unwrap().start().unwrap();
    let mut http = host.connector().http().unwrap();
    let proof = http.proof("core.platform").unwrap();
    http.peer().check_proof(&proof).unwrap();
    let leaf = format!("{:?}", proof.leaf());
    assert!(leaf.contains("write-xor-execute") && leaf.contains(platform.name()), "{leaf}");
}
