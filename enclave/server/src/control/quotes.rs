//! Quotes on behalf of connections: workers ask, the control thread asks the host.
//!
//! The control thread alone asks (DESIGN D6), one quote after the other, because a quoting enclave signs one
//! after the other. They do not wait behind loads: a task of their own answers them.

use std::sync::Arc;

use boundary_wire::rpc::{Request, Response};
use enclave_ratls::{
    Answer, Board, News, Quote, QuoteError, Quoting, QuotingService, ReportData, ServiceError,
};
use enclave_worker::{Handle, LogLevel, RpcError};
use futures_channel::{mpsc, oneshot};
use futures_lite::StreamExt;

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
    _place: QuotePlace,
}

/// Given back when the quote is made or given up. Whoever counts what clients ask for takes one first, so that
/// a request which cannot be queued is not counted.
pub(crate) struct QuotePlace(#[expect(dead_code, reason = "held until it is dropped")] Permit);

/// Where workers ask for quotes.
#[derive(Clone)]
pub(crate) struct QuoteDesk {
    asks: mpsc::UnboundedSender<Ask>,
    places: Permits,
    board: Arc<Board>,
}

impl QuoteDesk {
    /// Has quotes made on the thread of `handle`, until nobody is left to ask.
    pub(super) fn open(handle: &Handle, quoting: Arc<Quoting>) -> QuoteDesk {
        let (asks, receiver) = mpsc::unbounded();
        let board = quoting.board().clone();
        handle.spawn(make(quoting, receiver)).detach();
        QuoteDesk { asks, places: Permits::new(limits::QUOTES), board }
    }

    /// A place among those who wait.
    ///
    /// # Errors
    /// `overloaded`: too many do.
    pub(crate) fn place(&self) -> Result<QuotePlace, Refusal> {
        self.places.take().map(QuotePlace).ok_or_else(overloaded)
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
        let ask = Ask { report_data, done, _place: place };
        self.asks.unbounded_send(ask).map_err(|_| stopping())?;
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

async fn make(quoting: Arc<Quoting>, mut asks: mpsc::UnboundedReceiver<Ask>) {
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

    #[test]
    fn the_hosts_words_are_one_short_line() {
        let said = clean(&format!("a\n\x1b[31mb\r{}", "é".repeat(1000)));
        assert!(said.starts_with("a[31mbé") && said.chars().count() == 300, "{said}");
    }
}
