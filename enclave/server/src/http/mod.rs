//! HTTP/1.1 and HTTP/2 on a connection after its handshake.

mod answer;
mod apps;
mod authority;
mod body;
mod credential;
mod cut;
mod held;
mod json;
mod multipart;
mod options;
mod outgoing;
mod path;
mod problem;
mod routes;
mod trailers;

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
use crate::places::Serving;
use crate::session::Session;

use cut::Cut;

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
        .max_send_buf_size(limits::SEND_BUFFER)
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
    cut: Cut,
}

type Request = http::Request<hyper::body::Incoming>;
/// An answer that is made.
type Response = http::Response<held::Content>;
/// An answer on its way.
type Answer = http::Response<outgoing::Outgoing>;

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
        let (session, busy) = (session.clone(), Busy::new(&session, &activity));
        async move {
            let mut response = answer::answer(&session, &busy.activity, request).await;
            response.body_mut().keep(busy);
            Ok(response)
        }
    })
}

/// A request under way: until dropped, the connection does not idle and keeps its place.
struct Busy {
    activity: Arc<Activity>,
    _serving: Serving,
}

impl Busy {
    fn new(session: &Session, activity: &Arc<Activity>) -> Busy {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        Busy { activity: activity.clone(), _serving: session.place.serve() }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.activity.ended.fetch_add(1, Ordering::Relaxed);
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
        if connection.as_mut().poll(cx).is_ready() || activity.cut.poll(cx).is_ready() {
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
