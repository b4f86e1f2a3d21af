//! The same certificates before OpenSSL's strict verification, and an operator who signs with OpenSSL.
//! Where there is no `openssl` program these tests have nothing to ask and say so.

use super::*;
use std::path::Path;
use std::process::Command;

fn openssl(directory: &Path, arguments: &str) -> Option<Result<String, String>> {
    let output = Command::new("openssl").current_dir(directory).args(arguments.split(' ')).output();
    let Ok(output) = output else {
        eprintln!("there is no openssl program: not tested");
        return None;
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (out, err) = (text(output.stdout), text(output.stderr));
    Some(if output.status.success() { Ok(out) } else { Err(format!("{arguments}: {out}{err}")) })
}

fn write_pem(path: &Path, certificates: &[rustls_pki_types::CertificateDer<'_>]) {
    use base64::Engine;
    let mut text = String::new();
    for der in certificates {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in body.as_bytes().chunks(64) {
            text.push_str(std::str::from_utf8(line).unwrap());
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    std::fs::write(path, text).unwrap();
}

fn verify(directory: &Path, options: &str) -> Option<()> {
    let common = format!("verify -x509_strict -attime {NOW} -purpose sslserver");
    openssl(directory, &format!("{common} {options}"))?.unwrap();
    Some(())
}

#[test]
fn leaves_pass_strict_verification() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("notes", 2)]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for (sni, name) in [
        (None, "-verify_hostname enclave.example.com"),
        (None, "-verify_hostname localhost"),
        (None, "-verify_ip 127.0.0.1"),
        (None, "-verify_ip ::1"),
        (Some("notes.example.com"), "-verify_hostname notes.example.com"),
    ] {
        let identity = identities.select(sni);
        write_pem(&directory.join("leaf.pem"), &identity.chain[..1]);
        write_pem(&directory.join("ca.pem"), &identity.chain[1..]);
        if verify(directory, &format!("-CAfile ca.pem {name} leaf.pem")).is_none() {
            return;
        }
    }
}

#[test]
fn an_operator_signs_the_request_with_openssl() {
    let Fixture { identities, .. } = development();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    std::fs::write(directory.join("ca.csr"), identities.csr_pem().unwrap()).unwrap();
    std::fs::write(
        directory.join("ca.ext"),
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
         subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    )
    .unwrap();
    let root = "req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days 3650 -subj /CN=Operator \
                -addext keyUsage=critical,keyCertSign,cRLSign";
    let Some(made) = openssl(directory, &root.replace("                ", "")) else { return };
    made.unwrap();
    for step in [
        "req -in ca.csr -noout -verify",
        "x509 -req -in ca.csr -CA root.pem -CAkey root.key -CAcreateserial -days 365 -extfile ca.ext -out ca.pem",
    ] {
        openssl(directory, step).unwrap().unwrap();
    }
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    // OpenSSL dated the certificates by the real clock; the enclave's clock is told the same.
    let real = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let fixture = Authority::from_sealed(&identities.sealed_authority()).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(real + 60));
    let installed = fixture.install(&format!("{}{}", read("ca.pem"), read("root.pem")), now).unwrap();
    let _change = identities.use_authority(installed).unwrap();

    let identity = identities.select(None);
    write_pem(&directory.join("leaf.pem"), &identity.chain[..1]);
    write_pem(&directory.join("between.pem"), &identity.chain[1..2]);
    let at_leaf = "verify -x509_strict -no_check_time -purpose sslserver -verify_hostname localhost";
    let options = "-CAfile root.pem -untrusted between.pem leaf.pem";
    openssl(directory, &format!("{at_leaf} {options}")).unwrap().unwrap();
}
