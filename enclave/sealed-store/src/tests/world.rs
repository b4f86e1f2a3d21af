//! A platform without a CPU, and a host in memory that does what a test wants.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use enclave_platform::{
    HostTime, Identity, KeyError, Kind, Notified, Notify, Platform, RandomError, SealKeyRequest, ThreadIndex,
};
use futures_lite::future;
use graviola::hashing::{Hash, Sha256};
use zeroize::Zeroizing;

use crate::{
    Backend, BackendError, BoxFuture, Namespace, NamespaceKey, Op, OpenError, Page, RecordId, Store,
};

pub(super) struct Cpu {
    identity: Identity,
    pub(super) cpu_svn: u8,
    pub(super) unix_ns: AtomicU64,
}

impl Cpu {
    pub(super) fn with_measurement(mrenclave: u8) -> Arc<Self> {
        let identity = Identity {
            mrenclave: [mrenclave; 32],
            mrsigner: [0; 32],
            isv_prod_id: 0,
            isv_svn: 1,
            debug: false,
        };
        Arc::new(Self { identity, cpu_svn: 1, unix_ns: AtomicU64::new(1_000) })
    }
}

pub(super) fn cpu() -> Arc<Cpu> {
    Cpu::with_measurement(0xAA)
}

impl Platform for Cpu {
    fn kind(&self) -> Kind {
        Kind::Native
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn policy_page(&self) -> &[u8] {
        &[]
    }

    fn new_seal_key_request(&self) -> Result<SealKeyRequest, RandomError> {
        let mut key_id = [0; 32];
        self.random(&mut key_id)?;
        Ok(SealKeyRequest { key_id, cpu_svn: [self.cpu_svn; 16], isv_svn: 1 })
    }

    fn seal_key(&self, request: &SealKeyRequest) -> Result<Zeroizing<[u8; 16]>, KeyError> {
        if request.cpu_svn.iter().any(|svn| *svn > self.cpu_svn) {
            return Err(KeyError(32));
        }
        let bound_to = [
            self.identity.mrenclave.as_slice(),
            &request.key_id,
            &request.cpu_svn,
            &request.isv_svn.to_le_bytes(),
        ];
        let digest = Sha256::hash(&bound_to.concat());
        Ok(Zeroizing::new(*digest.as_ref().first_chunk().unwrap()))
    }

    fn report(&self, _: &[u8; 512], _: &[u8; 64]) -> [u8; 432] {
        [0; 432]
    }

    fn random(&self, out: &mut [u8]) -> Result<(), RandomError> {
        graviola::random::fill(out).map_err(|_| RandomError)
    }

    fn host_time(&self) -> HostTime {
        HostTime { unix_ns: self.unix_ns.load(Ordering::Relaxed), monotonic_ns: 0 }
    }

    fn notify(&self, _: ThreadIndex, _: Notify) -> Notified {
        Notified::Continue
    }
}

/// What a host does with the next batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batches {
    Apply,
    Refuse,
    Full,
    /// Applies it and says that it failed.
    ApplyAndFail,
    /// Never answers.
    Hang,
}

type ScanFilter = Box<dyn Fn(Option<RecordId>, Page) -> Page + Send + Sync>;

/// A host in memory.
pub(super) struct Host {
    records: Mutex<BTreeMap<RecordId, Vec<u8>>>,
    pub(super) on_batch: Mutex<Batches>,
    pub(super) scan_filter: Mutex<Option<ScanFilter>>,
    pub(super) batches: AtomicUsize,
    /// How often an answer makes its caller wait, from a simple generator: 0 for never.
    pub(super) delays: AtomicU64,
    pub(super) page: usize,
}

impl Host {
    pub(super) fn new() -> Self {
        Self {
            records: Mutex::default(),
            on_batch: Mutex::new(Batches::Apply),
            scan_filter: Mutex::new(None),
            batches: AtomicUsize::new(0),
            delays: AtomicU64::new(0),
            page: 3,
        }
    }

    pub(super) fn records(&self) -> MutexGuard<'_, BTreeMap<RecordId, Vec<u8>>> {
        self.records.lock().unwrap()
    }

    pub(super) fn snapshot(&self) -> BTreeMap<RecordId, Vec<u8>> {
        self.records().clone()
    }

    pub(super) fn restore(&self, records: &BTreeMap<RecordId, Vec<u8>>) {
        *self.records() = records.clone();
    }

    /// Ids of what is neither anchor nor head.
    pub(super) fn ids(&self) -> Vec<RecordId> {
        self.records().keys().filter(|id| id[..31] != [0; 31]).copied().collect()
    }

    async fn delay(&self) {
        let state = self.delays.load(Ordering::Relaxed);
        if state == 0 {
            return;
        }
        let next = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) | 1;
        self.delays.store(next, Ordering::Relaxed);
        for _ in 0..(next >> 33) % 4 {
            future::yield_now().await;
        }
    }
}

impl Backend for Host {
    fn get(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Vec<u8>>, BackendError>> {
        Box::pin(async move {
            self.delay().await;
            let found = self.records().get(&id).cloned();
            self.delay().await;
            Ok(found)
        })
    }

    fn scan(&self, after: Option<RecordId>, _: u32) -> BoxFuture<'_, Result<Page, BackendError>> {
        Box::pin(async move {
            let page = {
                let records = self.records();
                let mut rest = records
                    .iter()
                    .filter(|(id, _)| after.is_none_or(|after| **id > after))
                    .map(|(id, value)| (*id, value.clone()));
                let found = rest.by_ref().take(self.page).collect();
                Page { records: found, more: rest.next().is_some() }
            };
            Ok(match &*self.scan_filter.lock().unwrap() {
                Some(filter) => filter(after, page),
                None => page,
            })
        })
    }

    fn batch(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(async move {
            self.batches.fetch_add(1, Ordering::Relaxed);
            let failed = BackendError::Failed { code: "io".into(), message: "a test says so".into() };
            let what = *self.on_batch.lock().unwrap();
            self.delay().await;
            match what {
                Batches::Refuse => return Err(failed),
                Batches::Full => return Err(BackendError::Full),
                Batches::Hang => future::pending().await,
                Batches::Apply | Batches::ApplyAndFail => {
                    let mut records = self.records();
                    for op in ops {
                        match op {
                            Op::Put { id, value } => records.insert(id, value),
                            Op::Delete { id } => records.remove(&id),
                        };
                    }
                }
            }
            self.delay().await;
            if what == Batches::ApplyAndFail { Err(failed) } else { Ok(()) }
        })
    }
}

/// Opens the store, runs its committer beside `body`, and drops both.
pub(super) fn with_store<T>(
    cpu: &Arc<Cpu>,
    host: &Host,
    body: impl AsyncFnOnce(Store) -> T,
) -> Result<T, OpenError> {
    future::block_on(async {
        let (store, committer) = Store::open(cpu.clone(), host).await?;
        let committing = async {
            committer.run(host).await;
            future::pending().await
        };
        let body = pin!(body(store));
        Ok(future::or(committing, body).await)
    })
}

pub(super) fn open_error(cpu: &Arc<Cpu>, host: &Host) -> OpenError {
    with_store(cpu, host, async |_| ()).expect_err("the store must not open")
}

pub(super) fn app(store: &Store, name: &str) -> Namespace {
    store.namespace(name, NamespaceKey::from_bytes([name.len() as u8; 32]))
}

pub(super) async fn put(namespace: &Namespace, key: &str, value: &str) {
    let mut batch = crate::Batch::new();
    batch.put(key.as_bytes(), value);
    namespace.commit(batch).await.unwrap();
}

pub(super) async fn read(namespace: &Namespace, host: &Host, key: &str) -> Option<String> {
    let value = namespace.get(host, key.as_bytes()).await.unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}
