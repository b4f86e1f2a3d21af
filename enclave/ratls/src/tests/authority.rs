//! The CA's key stays what it is across sealing, and nothing else is taken for it.

use super::*;
use crate::der;
use x509_parser::prelude::{FromDer, X509Certificate};

#[test]
fn comes_back_from_sealing() {
    let authority = Authority::generate(&*TestPlatform::new()).unwrap();
    let again = Authority::from_sealed(&authority.to_sealed()).unwrap();
    assert_eq!(again.spki_der(), authority.spki_der());
    assert_eq!(
        again.certificates(),
        authority.certificates(),
        "the certificate does not change at a restart"
    );
    assert_eq!(*again.to_sealed(), *authority.to_sealed());
    assert!(!format!("{authority:?}").contains(&format!("{:?}", &authority.to_sealed()[1..4])));
}

#[test]
fn only_the_whole_is_unsealed() {
    let (one, other) = (TestPlatform::new(), TestPlatform::new());
    let authority = Authority::generate(&*one).unwrap();
    let sealed = authority.to_sealed();
    for length in 0..sealed.len() {
        assert!(Authority::from_sealed(&sealed[..length]).is_err(), "{length}");
    }
    let mut longer = sealed.to_vec();
    longer.push(0);
    assert!(Authority::from_sealed(&longer).is_err());
    let mut mixed = Authority::generate(&*other).unwrap().to_sealed().to_vec();
    mixed.truncate(33);
    mixed.extend_from_slice(&sealed[33..]);
    assert!(Authority::from_sealed(&mixed).unwrap_err().to_string().contains("another key"));
    let mut zero = sealed.to_vec();
    zero[1..33].fill(0);
    assert!(Authority::from_sealed(&zero).is_err());
}

#[test]
fn two_enclaves_have_two_cas() {
    let platform = TestPlatform::new();
    let [a, b] = [0; 2].map(|_| Authority::generate(&*platform).unwrap());
    assert_ne!(a.spki_der(), b.spki_der());
    let subject = |authority: &Authority| {
        let der = authority.certificates()[0].clone();
        X509Certificate::from_der(&der).unwrap().1.subject().to_string()
    };
    assert_ne!(subject(&a), subject(&b));
}

#[test]
fn its_certificate_is_one_of_a_ca_that_signs_leaves_only() {
    let authority = Authority::generate(&*TestPlatform::new()).unwrap();
    let der = &authority.certificates()[0];
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let constraints = certificate.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    assert!(certificate.key_usage().unwrap().unwrap().value.key_cert_sign());
    let read = der::ca_extensions(der).unwrap();
    assert!(read.is_ca && read.may_sign_certificates);
    assert_eq!(read.key_identifier.unwrap().len(), 20);
}
