//! Quotes on behalf of connections: workers ask, the control thread asks the host.
//!
//! The control thread alone asks (DESIGN D6), one quote after the other, because a quoting enclave signs one
//! after the other. They do not wait behind loads: a task of their own answers them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use boundary_wire::rpc::{Request, Response};
use enclave_ratls::{
    Answer, Board, News, Quote, QuoteError, Quoting, QuotingService, ReportData, ServiceError,
};
use enclave_worker::{Handle, LogLevel, RpcError};
use futures_channel::{mpsc, oneshot};
use futures_lite::{Stream, StreamExt};

use crate::budget::{Permit, Permits};
use crate::limits;
use crate::refusal::Refusal;
use crate::timeout::within;

/// The host's quoting service, over the control thread's channel.
pub(super) struct HostQuoting(pub(super) Handle);

impl HostQuoting {
    fn ask<'a>(
        &'a self,
        request: Request,
        wanted: impl Fn(Response) -> Option<Vec<u8>> + Send + 'a,
    ) -> Answer<'a> {
        Box::pin(async move {
            let answer = within(&self.0, limits::HOST_QUOTE_TIME, self.0.call(request)).await;
            let answer = answer.ok_or_else(|| {
                ServiceError::Unavailable(format!("it did not answer in {:?}", limits::HOST_QUOTE_TIME))
            })?;
            match answer {
                Ok(response) => wanted(response)
                    .ok_or_else(|| ServiceError::Misbehaved("it answered another question".to_owned())),
                Err(RpcError::HostMisbehaved(how)) => Err(ServiceError::Misbehaved(how.to_string())),
                Err(RpcError::Failed { code, message }) => {
                    let message = clean(&message);
                    Err(ServiceError::Unavailable(format!("{message} ({code})")))
                }
                Err(error @ (RpcError::BadRequest(_) | RpcError::Stopping)) => {
                    Err(ServiceError::Unavailable(error.to_string()))
                }
            }
        })
    }
}

/// The host's words as they may be shown: one line of bounded length.
fn clean(message: &str) -> String {
    message.chars().filter(|c| !c.is_control()).take(300).collect()
}

impl QuotingService for HostQuoting {
    fn target_info(&self) -> Answer<'_> {
        self.ask(Request::TargetInfo, |response| match response {
            Response::TargetInfo(target) => Some(target),
            _ => None,
        })
    }

    fn quote(&self, report: [u8; 432]) -> Answer<'_> {
        self.ask(Request::Quote { report: report.to_vec() }, |response| match response {
            Response::Quote(quote) => Some(quote),
            _ => None,
        })
    }

    fn collateral(&self) -> Answer<'_> {
        self.ask(Request::Collateral, |response| match response {
            Response::Collateral(document) => Some(document),
            _ => None,
        })
    }

    fn tell(&self, news: News<'_>) {
        let (level, line) = match news {
            News::Available => (LogLevel::Info, "the host gives quotes".to_owned()),
            News::Missing(why @ QuoteError::HostMisbehaved(_)) => (LogLevel::Error, why.to_string()),
            News::Missing(why) => (
                LogLevel::Warn,
                format!("{why}; certificates that have no quote yet are refused by every verifier"),
            ),
        };
        self.0.log(level, "quotes", &line);
    }
}

/// One quote to be made.
struct Ask {
    report_data: ReportData,
    done: oneshot::Sender<Result<Quote, QuoteError>>,
    _permit: Permit,
}

/// Who asks. Each kind waits in a lane of its own, and the lanes are served in turn, so that those who only
/// connect keep nobody from a quote who has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuoteFor {
    /// A handshake with a nonce.
    Challenge,
    /// A request on a connection.
    Request,
}

/// Where those of one kind wait.
#[derive(Clone)]
struct Lane {
    asks: mpsc::UnboundedSender<Ask>,
    places: Permits,
}

impl Lane {
    fn new(places: usize) -> (Lane, mpsc::UnboundedReceiver<Ask>) {
        let (asks, receiver) = mpsc::unbounded();
        (Lane { asks, places: Permits::new(places) }, receiver)
    }

    fn place(&self) -> Option<QuotePlace> {
        Some(QuotePlace { permit: self.places.take()?, asks: self.asks.clone() })
    }
}

/// A place in a lane, given back when the quote is made or given up. Whoever counts what clients ask for takes
/// the place first, so that a request which cannot be queued is not counted.
pub(crate) struct QuotePlace {
    asks: mpsc::UnboundedSender<Ask>,
    permit: Permit,
}

/// Where workers ask for quotes.
#[derive(Clone)]
pub(crate) struct QuoteDesk {
    challenges: Lane,
    requests: Lane,
    board: Arc<Board>,
}

impl QuoteDesk {
    /// Has quotes made on the thread of `handle`, until nobody is left to ask.
    pub(super) fn open(handle: &Handle, quoting: Arc<Quoting>) -> QuoteDesk {
        let (challenges, challenged) = Lane::new(limits::CHALLENGE_QUOTES);
        let (requests, requested) = Lane::new(limits::REQUEST_QUOTES);
        let board = quoting.board().clone();
        handle.spawn(make(quoting, InTurn { next: requested, other: challenged })).detach();
        QuoteDesk { challenges, requests, board }
    }

    /// A place among those who wait.
    ///
    /// # Errors
    /// `overloaded`: too many of this kind do.
    pub(crate) fn place(&self, asked_for: QuoteFor) -> Result<QuotePlace, Refusal> {
        let lane = match asked_for {
            QuoteFor::Challenge => &self.challenges,
            QuoteFor::Request => &self.requests,
        };
        lane.place().ok_or_else(overloaded)
    }

    /// A quote, unless the host gives none.
    ///
    /// # Errors
    /// `no-quote`, `stopping`.
    pub(crate) async fn quote(
        &self,
        handle: &Handle,
        place: QuotePlace,
        report_data: ReportData,
    ) -> Result<Quote, Refusal> {
        let stopping = || Refusal::new("stopping", "the enclave is stopping");
        let (done, answer) = oneshot::channel();
        let QuotePlace { asks, permit } = place;
        asks.unbounded_send(Ask { report_data, done, _permit: permit }).map_err(|_| stopping())?;
        // The task ends when nobody can ask any more.
        drop(asks);
        match within(handle, limits::QUOTE_TIME, answer).await {
            None => Err(Refusal::new("no-quote", "the host did not quote in time; try again in a moment")),
            Some(Err(oneshot::Canceled)) => Err(stopping()),
            Some(Ok(Ok(quote))) => Ok(quote),
            Some(Ok(Err(why))) => Err(Refusal::new("no-quote", why.to_string())),
        }
    }

    /// How quoting goes.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }
}

/// More quotes are asked for than may be.
pub(crate) fn overloaded() -> Refusal {
    Refusal::new("overloaded", "more quotes are asked for than this enclave makes; try again in a second")
}

/// Two lanes, served in turn: after one was, the other is first.
struct InTurn<T> {
    next: mpsc::UnboundedReceiver<T>,
    other: mpsc::UnboundedReceiver<T>,
}

impl<T> Stream for InTurn<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let InTurn { next, other } = self.get_mut();
        let first = Pin::new(&mut *next).poll_next(cx);
        if let Poll::Ready(Some(_)) = first {
            std::mem::swap(next, other);
            return first;
        }
        match Pin::new(other).poll_next(cx) {
            Poll::Ready(None) => first,
            second => second,
        }
    }
}

async fn make(quoting: Arc<Quoting>, mut asks: InTurn<Ask>) {
    while let Some(ask) = asks.next().await {
        // Who no longer waits gets none, and it is not made.
        if !ask.done.is_canceled() {
            let result = quoting.quote(ask.report_data).await;
            drop(ask.done.send(result));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn those_who_connect_and_those_who_have_are_served_in_turn() {
        block_on(async {
            let ((connect, next), (request, other)) = (mpsc::unbounded(), mpsc::unbounded());
            let mut in_turn = InTurn { next, other };
            assert_eq!(poll_once(in_turn.next()).await, None, "it waits");
            for number in 0..100 {
                connect.unbounded_send(("connect", number)).unwrap();
            }
            assert_eq!(in_turn.next().await, Some(("connect", 0)));
            for number in 0..2 {
                request.unbounded_send(("request", number)).unwrap();
            }
            for number in 0..2 {
                assert_eq!(in_turn.next().await, Some(("request", number)), "however many are before it");
                assert_eq!(in_turn.next().await, Some(("connect", number + 1)));
            }
            // One that is alone does not wait for the other, and the end of one is not the end.
            drop(request);
            for number in 3..100 {
                assert_eq!(in_turn.next().await, Some(("connect", number)));
            }
            assert_eq!(poll_once(in_turn.next()).await, None);
            drop(connect);
            assert_eq!(in_turn.next().await, None);
        });
    }

    #[test]
    fn a_full_lane_leaves_the_other_its_places() {
        let (challenges, _challenged) = Lane::new(limits::CHALLENGE_QUOTES);
        let (requests, _requested) = Lane::new(limits::REQUEST_QUOTES);
        let mut taken: Vec<_> = std::iter::from_fn(|| challenges.place()).collect();
        assert_eq!(taken.len(), 16);
        assert_eq!(std::iter::from_fn(|| requests.place()).take(100).collect::<Vec<_>>().len(), 48);
        taken.pop();
        assert!(challenges.place().is_some(), "a place is given back");
    }

    #[test]
    fn the_hosts_words_are_one_short_line() {
        let said = clean(&format!("a\n\x1b[31mb\r{}", "é".repeat(1000)));
        assert!(said.starts_with("a[31mbé") && said.chars().count() == 300, "{said}");
    }
}
