//! A platform to test with, and what the tests share.

mod authority;
mod challenge;
mod host;
mod identities;
mod install;
mod leaves;
mod offline;
mod openssl;
mod quotes;
mod stale;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use attestation::image_policy::ImagePolicy;
use attestation::manifest::Leaf;
use enclave_access::Policy;
use enclave_access::names::{AppName, Hostname, RoutePrefix};
use enclave_platform::clock::Clock;
use enclave_platform::{
    HostTime, Identity as EnclaveIdentity, KeyError, Kind, Notified, Notify, Platform, RandomError,
    SealKeyRequest, ThreadIndex,
};
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use crate::{AppIdentity, Authority, Change, Identities, IdentityError, Prepared, Quoting, Settings, Upkeep};
use futures_lite::future::block_on;
use host::{FakeHost, Lies};

/// 2026-11-20T13:14:15Z.
pub(crate) const NOW: u64 = 1_795_180_455;

pub(crate) struct TestPlatform {
    seconds: AtomicU64,
    identity: EnclaveIdentity,
}

impl TestPlatform {
    pub(crate) fn new() -> Arc<Self> {
        let identity = EnclaveIdentity {
            mrenclave: [0; 32],
            mrsigner: [0; 32],
            isv_prod_id: 0,
            isv_svn: 0,
            debug: false,
        };
        Arc::new(TestPlatform { seconds: AtomicU64::new(NOW), identity })
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::Relaxed);
    }
}

impl Platform for TestPlatform {
    fn kind(&self) -> Kind {
        Kind::Native
    }
    fn identity(&self) -> &EnclaveIdentity {
        &self.identity
    }
    fn policy_page(&self) -> &[u8] {
        &[]
    }
    fn new_seal_key_request(&self) -> Result<SealKeyRequest, RandomError> {
        Err(RandomError)
    }
    fn seal_key(&self, _: &SealKeyRequest) -> Result<Zeroizing<[u8; 16]>, KeyError> {
        Err(KeyError(32))
    }
    fn report(&self, _: &[u8; 512], data: &[u8; 64]) -> [u8; 432] {
        let mut report = [0; 432];
        report[64..96].fill(0xee);
        report[320..384].copy_from_slice(data);
        report[384..].fill(0xaa);
        report
    }
    fn random(&self, out: &mut [u8]) -> Result<(), RandomError> {
        graviola::random::fill(out).map_err(|_| RandomError)
    }
    fn host_time(&self) -> HostTime {
        let ns = self.seconds.load(Ordering::Relaxed) * 1_000_000_000;
        HostTime { unix_ns: ns, monotonic_ns: ns }
    }
    fn notify(&self, _: ThreadIndex, _: Notify) -> Notified {
        Notified::Continue
    }
}

pub(crate) struct Fixture {
    pub(crate) platform: Arc<TestPlatform>,
    pub(crate) host: Arc<FakeHost>,
    pub(crate) identities: Tested,
}

/// Identities with a quoting service, to be used without an executor.
pub(crate) struct Tested {
    identities: Identities,
    pub(crate) quoting: Quoting,
}

impl std::ops::Deref for Tested {
    type Target = Identities;

    fn deref(&self) -> &Identities {
        &self.identities
    }
}

impl Tested {
    pub(crate) fn reconfigure(&self, apps: Vec<AppIdentity>) -> Result<Change, IdentityError> {
        block_on(self.identities.reconfigure(apps, &self.quoting))
    }

    pub(crate) fn prepare(&self, apps: Vec<AppIdentity>) -> Result<Prepared, IdentityError> {
        block_on(self.identities.prepare(apps, &self.quoting))
    }

    pub(crate) fn use_authority(&self, authority: Authority) -> Result<Change, IdentityError> {
        block_on(self.identities.use_authority(authority, &self.quoting))
    }

    pub(crate) fn install_ca(&self, chain_pem: &str) -> Result<Change, crate::InstallError> {
        Ok(self.use_authority(self.identities.verify_ca(chain_pem)?).unwrap())
    }

    pub(crate) fn maintain(&self) -> Upkeep {
        block_on(self.identities.maintain(&self.quoting)).unwrap()
    }
}

pub(crate) fn fixture(policy: ImagePolicy) -> Fixture {
    let platform = TestPlatform::new();
    let cpu = Arc::clone(&platform) as Arc<dyn Platform>;
    let clock = Arc::new(Clock::new(Arc::clone(&cpu)));
    let policy = Policy::from_page(&policy.to_page().unwrap()).unwrap();
    let settings = Settings::new(
        &policy,
        enclave_access::leaves::platform(Kind::Native, "writable").unwrap(),
        enclave_access::leaves::version("0.1.0", "48").unwrap(),
    )
    .unwrap();
    let authority = Authority::generate(&*platform).unwrap();
    let host = Arc::new(FakeHost::default());
    let quoting = Quoting::new(Arc::clone(&cpu), Arc::clone(&clock), Arc::clone(&host) as Arc<_>);
    let identities = Identities::new(cpu, clock, settings, authority).unwrap();
    let identities = Tested { identities, quoting };
    identities.maintain();
    Fixture { platform, host, identities }
}

/// What a quote is over (DCAP, "Report Body": offset 320).
pub(crate) fn report_data(quote: &[u8]) -> [u8; 64] {
    quote[48 + 320..48 + 384].try_into().unwrap()
}

pub(crate) fn development() -> Fixture {
    fixture(ImagePolicy {
        development: true,
        served_names: vec!["enclave.example.com".into()],
        ..Default::default()
    })
}

pub(crate) fn app(name: &str, code: u8) -> AppIdentity {
    let name = AppName::parse(name).unwrap();
    AppIdentity {
        hostname: Hostname::parse(&format!("{name}.example.com")).unwrap(),
        route_prefix: RoutePrefix::parse(&format!("/{name}")).unwrap(),
        code_hash: [code; 32],
        key_source: "generated".into(),
        leaves: vec![Leaf::json("limits", &serde_json::json!({"fuel": 1000})).unwrap()],
        name,
    }
}

pub(crate) fn unix_now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}
