//! HTTP/1.1 and HTTP/2 on a connection after its handshake.

mod answer;
mod body;
mod credential;
mod held;
mod json;
mod multipart;
mod options;
mod path;
mod problem;
mod routes;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use enclave_worker::{HyperExecutor, HyperIo, HyperTimer};
use futures_io::{AsyncRead, AsyncWrite};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;

use crate::limits;
use crate::session::Session;

pub use routes::{ROUTES, RouteInfo};

/// Serves HTTP/1.1 until the connection ends.
pub(crate) async fn serve_http1<S>(session: Arc<Session>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Arc::new(Activity::default());
    let connection = http1::Builder::new()
        .timer(HyperTimer::new(session.handle.clone()))
        .header_read_timeout(limits::HEAD_TIME)
        .max_buf_size(limits::MAX_HEAD.max(8192))
        .max_headers(limits::MAX_HEADERS)
        // Without it hyper copies an answer away from what counts it.
        .writev(true)
        .auto_date_header(false)
        .serve_connection(HyperIo(stream), service(&session, &activity));
    drive(&session, &activity, connection, |connection| connection.graceful_shutdown()).await;
}

/// Serves HTTP/2 until the connection ends.
pub(crate) async fn serve_http2<S>(session: Arc<Session>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Arc::new(Activity::default());
    let connection = http2::Builder::new(HyperExecutor(session.handle.clone()))
        .timer(HyperTimer::new(session.handle.clone()))
        .max_concurrent_streams(limits::STREAMS)
        .max_pending_accept_reset_streams(limits::PENDING_RESETS)
        .max_local_error_reset_streams(limits::LOCAL_RESETS)
        .max_header_list_size(limits::MAX_HEAD as u32)
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_send_buf_size(limits::STREAM_WINDOW as usize)
        .auto_date_header(false)
        .serve_connection(HyperIo(stream), service(&session, &activity));
    drive(&session, &activity, connection, |connection| connection.graceful_shutdown()).await;
}

/// Requests of one connection, to see whether it idles or leaves answers lying.
#[derive(Default)]
struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
    answers: Arc<held::Answers>,
}

type Request = http::Request<hyper::body::Incoming>;
/// An answer that is made.
type Response = http::Response<held::Content>;
/// An answer on its way.
type Answer = http::Response<http_body_util::Full<bytes::Bytes>>;

fn service(
    session: &Arc<Session>,
    activity: &Arc<Activity>,
) -> impl hyper::service::Service<
    Request,
    Response = Answer,
    Error = Infallible,
    Future: Future<Output = Result<Answer, Infallible>> + Send + 'static,
> + use<> {
    let (session, activity) = (session.clone(), activity.clone());
    service_fn(move |request: Request| {
        let (session, running) = (session.clone(), Running::new(&activity));
        async move {
            let serving = session.place.serve();
            let response = answer::answer(&session, &running.0.answers, request).await;
            drop((running, serving));
            Ok(response)
        }
    })
}

/// Counts as under way until dropped, answered or not.
struct Running(Arc<Activity>);

impl Running {
    fn new(activity: &Arc<Activity>) -> Running {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        Running(activity.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs a connection. Ends it in order when it has to close, idles or the worker drains; what does not end
/// then is dropped, and so is a connection whose client does not take its answers.
async fn drive<C: Future>(session: &Session, activity: &Activity, connection: C, end: impl Fn(Pin<&mut C>)) {
    let handle = &session.handle;
    let mut connection = pin!(connection);
    let mut draining = pin!(handle.draining());
    let mut alarm = pin!(handle.sleep(limits::IDLE_TIME));
    let mut check = pin!(handle.sleep(limits::STALL_TIME));
    let mut seen = 0;
    let mut ending = false;
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while check.as_mut().poll(cx).is_ready() {
            if activity.answers.is_late(handle.monotonic()) {
                return Poll::Ready(());
            }
            check.set(handle.sleep(limits::STALL_TIME));
        }
        let mut stop = session.is_closing()
            || draining.as_mut().poll(cx).is_ready()
            || session.place.poll_asked_to_leave(cx).is_ready();
        while alarm.as_mut().poll(cx).is_ready() {
            let (begun, ended) =
                (activity.begun.load(Ordering::Relaxed), activity.ended.load(Ordering::Relaxed));
            let idle = begun == ended && begun == seen;
            if ending && begun == ended {
                return Poll::Ready(());
            }
            stop |= idle;
            seen = begun;
            alarm.set(handle.sleep(if stop { limits::CLOSE_TIME } else { limits::IDLE_TIME }));
        }
        if stop && !ending {
            ending = true;
            alarm.set(handle.sleep(limits::CLOSE_TIME));
            let armed = alarm.as_mut().poll(cx).is_pending();
            end(connection.as_mut());
            if connection.as_mut().poll(cx).is_ready() || !armed {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}
