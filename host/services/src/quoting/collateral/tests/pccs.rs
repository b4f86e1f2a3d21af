//! What is fetched is what was published, and each failure says what to do.

use super::*;

fn fetch(pages: Pages, pki: &DevelopmentPki) -> Result<Document, PccsError> {
    let url = serve(Arc::new(Mutex::new(pages)));
    Pccs::new(&url, None).unwrap().fetch(&PlatformId::of_quote(&quote(pki)).unwrap())
}

#[test]
fn the_document_is_what_the_pccs_published() {
    let pki = pki(start());
    let document = fetch(pages(&pki), &pki).unwrap();
    assert_eq!(document.json(), pki.collateral_json().as_bytes());
    assert_eq!(document.fmspc(), pki.facts().fmspc);
    assert_eq!(document.next_update(), start() + Duration::days(30));
}

#[test]
fn each_failure_says_what_to_do() {
    let pki = pki(start());
    let changed = |part: &str, change: fn(&mut Played)| {
        let mut pages = pages(&pki);
        let key = pages.keys().find(|key| key.contains(part)).unwrap().clone();
        change(pages.get_mut(&key).unwrap());
        fetch(pages, &pki).unwrap_err().to_string()
    };
    for (error, wanted) in [
        (changed("tcb", |page| page.status = 404), "register the platform"),
        (changed("tcb", |page| page.status = 401), "credential"),
        (changed("qe", |page| page.status = 502), "see its log"),
        (changed("tcb", |page| page.header.0 = "X-Other"), "no issuer chain"),
        (changed("qe", |page| page.header.1 = "%".to_owned()), "percent-encoded"),
        (changed("pckcrl", |page| page.header.1 = "x".to_owned()), "not PEM"),
        (changed("tcb", |page| page.body = b"{}".to_vec()), "signed JSON"),
        (
            changed("tcb", |page| page.body = b"{\"tcbInfo\":{},\"signature\":\"00\"}".to_vec()),
            "signature is none",
        ),
        (changed("rootcacrl", |page| page.body = b"no CRL".to_vec()), "a CRL is none"),
        (changed("rootcacrl", |page| page.body = vec![b'x'; 300 * 1024]), "does not answer"),
    ] {
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    let closed = Pccs::new("http://127.0.0.1:1", None).unwrap();
    let error = closed.fetch(&PlatformId::of_quote(&quote(&pki)).unwrap()).unwrap_err().to_string();
    assert!(error.contains("--pccs-url") && error.contains("127.0.0.1:1"), "{error}");
}

#[test]
fn urls_and_certificates_that_are_none_are_refused() {
    for url in ["", "pccs.example", "ftp://pccs.example", "https://", "https://pccs.example?x=1"] {
        assert!(matches!(Pccs::new(url, None), Err(PccsError::Url(_))), "{url}");
    }
    let url = "https://pccs.example:8081/sgx/certification/v4/";
    assert!(format!("{:?}", Pccs::new(url, None).unwrap()).contains("example:8081/sgx/certification/v4\""));
    assert!(matches!(Pccs::new(url, Some(b"none")), Err(PccsError::Ca)));
    Pccs::new(url, Some(pki(start()).root_pem().as_bytes())).unwrap();
}

#[test]
fn a_quote_without_certificates_says_how_to_get_them() {
    let quote = quote(&pki(start()));
    let kind = 1012 + 2 + 32;
    assert_eq!(quote[kind..kind + 2], [5, 0]);
    let mut encrypted = quote.clone();
    encrypted[kind] = 3;
    let error = PlatformId::of_quote(&encrypted).unwrap_err().to_string();
    assert!(error.contains("sgx_default_qcnl.conf") && error.contains("type 3"), "{error}");
    for cut in [0, 3, 500, 1013, 1040, kind + 4, kind + 100] {
        assert!(PlatformId::of_quote(&quote[..cut]).is_err(), "{cut}");
    }
}
