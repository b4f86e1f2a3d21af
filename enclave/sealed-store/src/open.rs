//! Opening a store: whose it is, what is in it, and whether that belongs together.

use std::sync::Arc;

use enclave_platform::{Platform, RandomError};
use futures_channel::mpsc;

use crate::anchor::{ANCHOR_ID, Anchor};
use crate::backend::{Backend, Op, RecordId};
use crate::committer::Committer;
use crate::error::{Id, Misbehaviour, OpenError};
use crate::head::{HEAD_ID, Head};
use crate::keys::{RootKeys, SALT};
use crate::record;
use crate::store::{Shared, Store};
use crate::table::{Slot, Table};

/// How much of the store is asked for at once.
const PAGE_BYTES: u32 = 768 * 1024;

impl Store {
    /// Opens the store that the host keeps, or makes one if the host has nothing: a first boot and a host
    /// that withholds everything look the same.
    ///
    /// Reads every record once. Writes nothing unless the store is made. Run the [`Committer`] on one thread;
    /// nothing is committed before.
    ///
    /// # Errors
    /// [`OpenError`], in particular when the store is another enclave's, and when what the host gives was
    /// never sealed together by this one.
    pub async fn open(
        platform: Arc<dyn Platform>,
        backend: &dyn Backend,
    ) -> Result<(Store, Committer), OpenError> {
        let mut scan = Scan::new(backend);
        let opened = match scan.next().await? {
            None => create(&*platform, backend).await?,
            Some((id, anchor)) if id == ANCHOR_ID => read(&*platform, &anchor, scan).await?,
            Some(_) => return Err(Misbehaviour::AnchorMissing.into()),
        };
        let Opened { root, anchor, table, head, sealed_head } = opened;
        let (queue, jobs) = mpsc::unbounded();
        let shared = Arc::new(Shared::new(platform, root, anchor, table, head, sealed_head, queue));
        Ok((Store { shared: shared.clone() }, Committer::new(shared, jobs)))
    }
}

struct Opened {
    root: RootKeys,
    anchor: Vec<u8>,
    table: Table,
    head: Head,
    sealed_head: Vec<u8>,
}

async fn create(platform: &dyn Platform, backend: &dyn Backend) -> Result<Opened, OpenError> {
    // A scan that fails to find a store must not make the enclave write over it.
    if backend.get(ANCHOR_ID).await?.is_some() || backend.get(HEAD_ID).await?.is_some() {
        return Err(Misbehaviour::ScanEmpty.into());
    }
    let request = platform.new_seal_key_request()?;
    let root = RootKeys::from_seal_key(&*platform.seal_key(&request)?);
    let anchor = Anchor::new(platform.identity(), request, &root).bytes().to_vec();
    let head = Head { unix_ns: platform.host_time().unix_ns, ..Head::default() };
    let sealed_head = head.seal(&root, &anchor, &salt(platform)?);
    let put = |id, value: &Vec<u8>| Op::Put { id, value: value.clone() };
    backend.batch(vec![put(ANCHOR_ID, &anchor), put(HEAD_ID, &sealed_head)]).await?;
    Ok(Opened { root, anchor, table: Table::default(), head, sealed_head })
}

fn salt(platform: &dyn Platform) -> Result<[u8; SALT], RandomError> {
    let mut salt = [0; SALT];
    platform.random(&mut salt)?;
    Ok(salt)
}

async fn read(platform: &dyn Platform, anchor: &[u8], mut scan: Scan<'_>) -> Result<Opened, OpenError> {
    let anchor = Anchor::read(anchor, platform.identity())?;
    let root = RootKeys::from_seal_key(&*platform.seal_key(&anchor.request)?);
    anchor.verify(&root)?;
    let sealed_head = match scan.next().await? {
        Some((id, head)) if id == HEAD_ID => head,
        _ => return Err(Misbehaviour::HeadMissing.into()),
    };
    let head = Head::open(&root, anchor.bytes(), &sealed_head)?;
    let mut table = Table::default();
    while let Some((id, sealed)) = scan.next().await? {
        let header = record::authenticate(&root, &id, &sealed)?;
        let bytes = u32::try_from(record::value_len(&sealed)).unwrap_or(u32::MAX);
        table.insert(&root, header.tag, id, Slot { version: header.version, bytes, mac: header.mac });
        // At once, so that the host cannot fill the enclave's memory with records of the past.
        if table.records() > head.records {
            return Err(Misbehaviour::Added { expected: head.records }.into());
        }
    }
    let (expected, found) = (head.records, table.records());
    if found < expected {
        return Err(Misbehaviour::Withheld { expected, found }.into());
    }
    if table.multiset() != head.multiset {
        return Err(Misbehaviour::Mixed.into());
    }
    Ok(Opened { root, anchor: anchor.bytes().to_vec(), table, head, sealed_head })
}

/// The host's records one by one, in an order that leaves no room for repeating one.
struct Scan<'a> {
    backend: &'a dyn Backend,
    page: std::vec::IntoIter<(RecordId, Vec<u8>)>,
    more: bool,
    last: Option<RecordId>,
}

impl<'a> Scan<'a> {
    fn new(backend: &'a dyn Backend) -> Self {
        Self { backend, page: Vec::new().into_iter(), more: true, last: None }
    }

    async fn next(&mut self) -> Result<Option<(RecordId, Vec<u8>)>, OpenError> {
        if self.page.as_slice().is_empty() && self.more {
            let page = self.backend.scan(self.last, PAGE_BYTES).await?;
            if page.records.is_empty() && page.more {
                return Err(Misbehaviour::ScanStuck.into());
            }
            self.more = page.more;
            self.page = page.records.into_iter();
        }
        let Some((id, record)) = self.page.next() else { return Ok(None) };
        if self.last.is_some_and(|last| id <= last) {
            return Err(Misbehaviour::ScanOrder(Id(id)).into());
        }
        self.last = Some(id);
        Ok(Some((id, record)))
    }
}
