//! One HTTP request to an app, from its head to the last byte of the answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use enclave_wasi::http::{
    Answer, Arriving, Client, Done, ErrorCode, Exchange, IncomingRequest, Left, Progress, ResponseOutparam,
};
use enclave_wasi::{Exit, StandardStream};
use futures_channel::oneshot;
use futures_lite::future;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, Resource, ResourceAny, Val};
use wasmtime::{Engine, Store};

use crate::app::{App, CallHost, CallState, storage, stored, waited_in_vain};
use crate::error::CallError;
use crate::invoke::{Arguments, Ended, Invocation, classify, invoke};
use crate::limits::Limits;
use crate::place::Place;
use crate::queue::Waiting;

/// The interface by which an app takes requests, whatever its patch version.
const HANDLER: &str = "wasi:http/incoming-handler@0.2.";
/// For a client that reads to see that its answer was cut off.
const SEEN: Duration = Duration::from_secs(2);

/// A request as the guest is to see it: its URI is the path and query below the app's route, and the authority.
pub type Request = http::Request<Arriving>;

/// Why an app gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpFailure {
    /// It has no `wasi:http/incoming-handler`.
    NoHandler,
    /// As many calls and requests as there may be are running and waiting, or there is no memory for one more.
    Overloaded(String),
    /// It took too long, or nothing moved for too long.
    Late(String),
    /// The app answered with an error of its own.
    Refused(AppError),
    /// The app failed: what happened stands in its log under this id.
    Failed {
        /// Stable, for programs.
        code: &'static str,
        /// In the log line, too.
        id: String,
    },
    /// It was ended because its app is being replaced or unloaded.
    Ended,
}

/// An error that the app chose, by its word and what it means to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppError {
    /// The WIT case.
    pub word: String,
    /// The status of HTTP that comes nearest.
    pub status: u16,
}

/// A request that was taken in.
pub struct Serving {
    /// Gives the answer, or why there is none. Dropped, the client is gone and the guest is ended.
    pub answer: Answering,
    /// The guest. It runs as long as this is polled, past the end of the answer if it has more to do.
    pub run: future::Boxed<Delivered>,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The client has it, or is gone, or was told why there is none.
    Over,
    /// The client does not take it: its connection is in the way of others.
    Stuck,
}

/// The answer to be.
pub struct Answering {
    client: Client,
    failure: oneshot::Receiver<HttpFailure>,
}

impl Answering {
    /// The head of the answer with a body that streams.
    ///
    /// # Errors
    /// [`HttpFailure`].
    pub async fn wait(self) -> Result<http::Response<Answer>, HttpFailure> {
        match self.client.answer().await {
            Some(Ok(response)) => Ok(response),
            Some(Err(code)) => Err(HttpFailure::Refused(AppError::new(&code))),
            None => Err(self.failure.await.unwrap_or(HttpFailure::Ended)),
        }
    }
}

impl AppError {
    fn new(code: &ErrorCode) -> Self {
        use ErrorCode as E;
        let status = match code {
            E::HttpRequestDenied => 403,
            E::HttpRequestLengthRequired => 411,
            E::HttpRequestBodySize(_) => 413,
            E::HttpRequestUriTooLong => 414,
            E::HttpRequestMethodInvalid | E::HttpRequestUriInvalid => 400,
            E::HttpRequestHeaderSectionSize(_)
            | E::HttpRequestHeaderSize(_)
            | E::HttpRequestTrailerSectionSize(_)
            | E::HttpRequestTrailerSize(_) => 431,
            E::DnsTimeout
            | E::ConnectionTimeout
            | E::ConnectionReadTimeout
            | E::ConnectionWriteTimeout
            | E::HttpResponseTimeout => 504,
            E::DnsError(_)
            | E::DestinationNotFound
            | E::DestinationUnavailable
            | E::DestinationIpProhibited
            | E::DestinationIpUnroutable
            | E::ConnectionRefused
            | E::ConnectionTerminated
            | E::TlsProtocolError
            | E::TlsCertificateError
            | E::TlsAlertReceived(_)
            | E::HttpResponseIncomplete => 502,
            E::ConnectionLimitReached => 503,
            E::LoopDetected => 508,
            _ => 500,
        };
        AppError { word: enclave_wasi::http::word(code), status }
    }
}

/// The function that takes requests.
pub(crate) fn handler(component: &Component, engine: &Engine) -> Option<ComponentExportIndex> {
    let ty = component.component_type();
    let (name, _) = ty.exports(engine).find(|(name, item)| {
        name.starts_with(HANDLER) && matches!(item.ty, ComponentItem::ComponentInstance(_))
    })?;
    let interface = component.get_export_index(None, name)?;
    component.get_export_index(Some(&interface), "handle")
}

impl App {
    /// Whether it takes HTTP requests.
    pub fn takes_requests(&self) -> bool {
        self.handler.is_some()
    }

    /// Takes in an HTTP request, to be handled in a fresh instance when it is its turn among the app's calls.
    ///
    /// # Errors
    /// [`HttpFailure::NoHandler`], [`HttpFailure::Overloaded`].
    pub fn serve(self: &Arc<Self>, host: &CallHost, request: Request) -> Result<Serving, HttpFailure> {
        let Some(handler) = self.handler else { return Err(HttpFailure::NoHandler) };
        let waiting = self.queue.join().map_err(|full| HttpFailure::Overloaded(full.to_string()))?;
        let http = self.spec.limits.http;
        let progress = Progress::new(host.handle.clone());
        let most = [http.request_bytes, http.response_bytes];
        let (exchange, client, done) = Exchange::new(request.method().clone(), progress.clone(), most);
        let (fail, failure) = oneshot::channel();
        let running = Running { app: self.clone(), host: host.clone(), handler, progress };
        let run = Box::pin(running.run(waiting, exchange, request, done, fail));
        Ok(Serving { answer: Answering { client, failure }, run })
    }
}

struct Running {
    app: Arc<App>,
    host: CallHost,
    handler: ComponentExportIndex,
    progress: Progress,
}

/// Why a guest was ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Gone,
    Idle,
    Late,
}

impl Running {
    async fn run(
        self,
        waiting: Waiting,
        exchange: Exchange,
        request: Request,
        mut done: Done,
        fail: oneshot::Sender<HttpFailure>,
    ) -> Delivered {
        let (app, host) = (&self.app, &self.host);
        let http = app.spec.limits.http;
        let limits = Limits { fuel: http.fuel, timeout_ms: http.timeout_ms, ..app.spec.limits };
        let until = host.handle.monotonic().after(Duration::from_millis(http.timeout_ms));
        let idle = Duration::from_millis(http.idle_timeout_ms);
        // The client's end, once it is known.
        let (mut left, mut stopped) = (None, None);

        let late = async {
            host.handle.deadline(until).await;
            Err(Some(HttpFailure::Overloaded(waited_in_vain(http.timeout_ms))))
        };
        let gone = async {
            (&mut done).await;
            Err(None)
        };
        let slot = future::or(async { Ok(waiting.slot().await) }, future::or(gone, late)).await;
        let slot = match slot {
            Ok(slot) => slot,
            Err(failure) => {
                // Whoever is gone is told nothing.
                drop(failure.map(|failure| fail.send(failure)));
                return Delivered::Over;
            }
        };
        // The time without a byte begins with the guest.
        self.progress.mark();

        let invocation = Invocation {
            pre: &app.pre,
            export: &self.handler,
            arguments: Handled { exchange: exchange.clone(), request },
            results: &[],
            limits: &limits,
            memory: &app.memory,
            place: Place::new(&host.handle, &app.account, slot.clone()),
        };
        let stop = async {
            let stop = self.stop(&mut done, &mut left, until, idle).await;
            stopped = Some(stop);
        };
        let ended = invoke(invocation, app.state(host), stop).await;
        // The storage has no longer than the guest had.
        let mut late = false;
        let mut flush = async |state: &mut CallState| {
            let deadline = async {
                host.handle.deadline(until).await;
                late = true;
                Err(None)
            };
            let flush =
                async { state.wasi.flush().await.map_err(|error| Some(stored(error.code(), &error))) };
            future::or(flush, deadline).await
        };
        // What the guest left open of its answer is cut off here, with its store.
        let outcome = match ended {
            Ended::Deadline => Err(None),
            Ended::Returned(_, mut state) => flush(&mut state).await,
            Ended::Failed(error, mut state) => match error.downcast_ref::<Exit>() {
                Some(Exit(0)) => match flush(&mut state).await {
                    Ok(()) => Err(Some(CallError::Exit(0))),
                    Err(error) => Err(error),
                },
                Some(Exit(code)) => Err(Some(CallError::Exit(*code))),
                None => {
                    Err(Some(storage(&error).unwrap_or_else(|| classify(&error, &state.limiter, &limits))))
                }
            },
        };
        if late {
            stopped = Some(Stop::Late);
        }
        let unanswered = exchange.close();
        let failure = match (outcome, stopped) {
            (Err(None), Some(Stop::Late)) => self.late(format!("it took longer than {} ms", http.timeout_ms)),
            (Err(None), Some(Stop::Idle)) => self.late(format!(
                "no byte of the request or of the answer moved for {} ms",
                http.idle_timeout_ms
            )),
            // Nobody is there to be told.
            (Err(None), Some(Stop::Gone) | None) => return Delivered::Over,
            (Err(Some(CallError::Overloaded(message))), _) => HttpFailure::Overloaded(message),
            (Err(Some(error)), _) => self.failed(&error),
            (Ok(()), _) if unanswered => self.report("no-response", "it returned without an answer"),
            (Ok(()), _) => HttpFailure::Ended,
        };
        // Whoever was answered waits for no reason any more.
        drop(fail.send(failure));
        if unanswered || left.is_some() {
            return Delivered::Over;
        }
        let seen = async {
            if stopped.is_some() {
                host.handle.sleep(SEEN).await;
            } else {
                future::or(host.handle.deadline(until), self.progress.stalled(idle)).await;
            }
            Delivered::Stuck
        };
        let over = async {
            (&mut done).await;
            Delivered::Over
        };
        future::or(over, seen).await
    }

    /// Resolves when the guest has to end.
    async fn stop(
        &self,
        done: &mut Done,
        left: &mut Option<Left>,
        until: enclave_platform::clock::Monotonic,
        idle: Duration,
    ) -> Stop {
        let gone = async {
            let how = done.await;
            *left = Some(how);
            if how == Left::Served {
                // It may have more to do.
                future::pending::<()>().await;
            }
            Stop::Gone
        };
        let late = async {
            self.host.handle.deadline(until).await;
            Stop::Late
        };
        let stalled = async {
            self.progress.stalled(idle).await;
            Stop::Idle
        };
        future::or(gone, future::or(late, stalled)).await
    }

    /// The failure as the client hears of it; the rest stands in the app's log.
    fn failed(&self, error: &CallError) -> HttpFailure {
        let why = match error {
            CallError::FuelExhausted { limit } => {
                format!("it used up its fuel ({limit}): load the app with a higher http_max_fuel")
            }
            error => error.to_string(),
        };
        self.report(error.code(), &why)
    }

    fn late(&self, why: String) -> HttpFailure {
        self.app.log(&self.host).line(StandardStream::Err, &format!("request ended: {why}"));
        HttpFailure::Late(why)
    }

    fn report(&self, code: &'static str, why: &str) -> HttpFailure {
        let mut bytes = [0; 8];
        let id = match self.host.handle.platform().random(&mut bytes) {
            Ok(()) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Err(_) => "none".to_owned(),
        };
        self.app.log(&self.host).line(StandardStream::Err, &format!("request failed, error id {id}: {why}"));
        HttpFailure::Failed { code, id }
    }
}

/// The arguments of `handle`.
struct Handled {
    exchange: Exchange,
    request: Request,
}

impl<'a> Arguments<'a, CallState> for Handled {
    fn into_values(self, store: &mut Store<CallState>) -> wasmtime::Result<Cow<'a, [Val]>> {
        let (request, outparam) = store.data_mut().wasi.handle(self.exchange, self.request)?;
        let request: Resource<IncomingRequest> = request;
        let outparam: Resource<ResponseOutparam> = outparam;
        let request = ResourceAny::try_from_resource(request, &mut *store)?;
        let outparam = ResourceAny::try_from_resource(outparam, &mut *store)?;
        Ok(Cow::Owned(vec![Val::Resource(request), Val::Resource(outparam)]))
    }
}
