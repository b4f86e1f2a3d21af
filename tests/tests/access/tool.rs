//! An operator at a terminal: key files, automatic tokens, curl.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use anyhow::Result;
use boundary_wire::client::Reply;
use scenarios::host::program;
use scenarios::platform::Platform;

use crate::support::*;

struct Cli<'a> {
    enclave: &'a Enclave,
    key: Option<PathBuf>,
}

impl Cli<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let mut process = Process::new(program("enclave-os").unwrap());
        process
            .args(arguments)
            .env("ENCLAVE_OS_SERVER", self.enclave.host.address().to_string())
            .env_remove("ENCLAVE_OS_CA")
            .env_remove("ENCLAVE_OS_VERIFY_POLICY")
            .env_remove("ENCLAVE_OS_KEY");
        if let Some(key) = &self.key {
            process.env("ENCLAVE_OS_KEY", key);
        }
        process.output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}:\n{errors}");
        (String::from_utf8(output.stdout).unwrap(), errors)
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn with_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn an_operator_works_with_a_key_file(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let path = |name: &str| enclave.folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    std::fs::write(path("manager.key"), MANAGER)?;
    with_mode(&path("manager.key"), 0o600);
    std::fs::write(path("shop.cwasm"), artifact(platform, 7))?;
    let nobody = Cli { enclave: &enclave, key: None };
    let manager = Cli { enclave: &enclave, key: Some(path("manager.key")) };

    let error = nobody.fails(&["load", &text("shop.cwasm")]);
    assert!(error.contains("hint: --key FILE"), "{error}");
    nobody.fails(&["list"]);
    let (out, errors) = manager.ok(&["load", &text("shop.cwasm"), "--access", "token"]);
    assert!(out.starts_with("loaded shop") && !errors.contains("chmod"), "{out}{errors}");
    assert_eq!(manager.ok(&["call", "shop", "one"]).0.trim(), "7");
    assert!(manager.ok(&["schema", "shop"]).0.contains("one: func() -> u32;"));
    assert!(manager.ok(&["list"]).0.contains("shop"));
    nobody.fails(&["call", "shop", "one"]);
    assert_eq!(nobody.ok(&["--key", &text("manager.key"), "call", "shop", "one"]).0.trim(), "7");

    // A key of the day, made and vouched for on the command line.
    let (public, _) = nobody.ok(&["key", "new", &text("day.key"), "--algorithm", "ed25519", "--name", "day"]);
    assert!(public.starts_with("[[operators]]\nname = \"day\"\nrole = \"manager\"\n"), "{public}");
    let again = nobody.run(&["key", "new", &text("day.key")]);
    assert_eq!(again.status.code(), Some(5), "it is never written over");
    let (block, _) = manager.ok(&["key", "delegate", &text("day.key"), "--role", "app", "--app", "shop"]);
    std::fs::write(path("day.key"), std::fs::read_to_string(path("day.key"))? + &block)?;
    let day = Cli { enclave: &enclave, key: Some(path("day.key")) };
    assert!(day.ok(&["key", "show", &text("day.key")]).0.contains("shop"));
    assert_eq!(day.ok(&["call", "shop", "one"]).0.trim(), "7");
    assert!(day.fails(&["list"]).contains("key show"));
    with_mode(&path("day.key"), 0o644);
    assert!(day.ok(&["call", "shop", "one"]).1.contains("chmod 600"));

    // Tokens for other programs.
    let (token, _) = manager.ok(&["token", "--role", "monitoring", "--lifetime", "60s"]);
    let curl = |path: &str, token: &str| {
        let output = Process::new("curl")
            .args(["-sk", "-w", "\n%{http_code}", "-H", &format!("Authorization: Bearer {}", token.trim())])
            .arg(format!("https://{}/.enclave/v1/{path}", enclave.host.address()))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let list = curl("apps", &token);
    assert!(list.contains("\"shop\"") && list.ends_with("\n200"), "{list}");
    let (app, _) = day.ok(&["token", "--app", "shop"]);
    assert!(curl("apps/shop/schema", &app).ends_with("\n200"));
    assert!(curl("apps", &app).ends_with("\n403"));
    let audience = enclave.audience();
    let (offline, _) = manager.ok(&["token", "--audience", &audience, "--server", "127.0.0.1:1"]);
    assert!(curl("apps", &offline).ends_with("\n200"));
    let mut framed = enclave.framed();
    let nonce = framed.challenge()?;
    let (once, _) = manager.ok(&["token", "--role", "manager", "--nonce", &nonce]);
    assert!(matches!(ask(&mut framed, unload("none"), Some(once.trim())), Ok(Reply::NotFound { .. })));
    assert_eq!(manager.run(&["token", "--lifetime", "6m"]).status.code(), Some(2));
    assert_eq!(nobody.run(&["token"]).status.code(), Some(2));

    assert_eq!(manager.ok(&["unload", "shop"]).0.trim(), "unloaded shop");
    let output = enclave.host.stop_with_output()?;
    for token in [&token, &app, &once] {
        assert!(
            !output.contains(token.trim().rsplit_once('.').unwrap().1),
            "a token is in the log:\n{output}"
        );
    }
    Ok(())
}
