//! Waiting, but not for ever.

use std::future::Future;
use std::time::Duration;

use enclave_worker::Handle;

/// The result of `future`, or `None` after `time`.
pub(crate) async fn within<T>(handle: &Handle, time: Duration, future: impl Future<Output = T>) -> Option<T> {
    futures_lite::future::or(async { Some(future.await) }, async {
        handle.sleep(time).await;
        None
    })
    .await
}
