//! How much of everything a client may take. Sizes in bytes.

use std::time::Duration;

use enclave_platform::clock::Monotonic;

/// From the accepted connection to the end of the TLS handshake.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// For every thread of the enclave to come by once, when somebody asks whether all do.
pub(crate) const ROLL_CALL_TIME: Duration = Duration::from_secs(2);
/// Before a connection that has not finished its handshake has to give up its place to another one.
pub(crate) const ARRIVING_PATIENCE: Duration = Duration::from_secs(1);
/// Before a connection without a request has to.
pub(crate) const SILENT_PATIENCE: Duration = Duration::from_secs(5);
/// Of so many connections of a worker, one is left for those that its apps open.
pub(crate) const DIALED_PART: usize = 8;
/// From the handshake to the first byte, and between requests.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(300);
/// Between two pieces of one request.
pub(crate) const STALL_TIME: Duration = Duration::from_secs(30);
/// For a whole request to arrive.
pub(crate) const REQUEST_TIME: Duration = Duration::from_secs(900);
/// Bytes per second of a request that arrive at least, [`STALL_TIME`] beside.
pub(crate) const READ_RATE: u64 = 16 * 1024;
/// For the client to take an answer, however short.
pub(crate) const WRITE_TIME: Duration = Duration::from_secs(60);
/// Bytes per second that a client takes of its answers at least, [`WRITE_TIME`] beside.
pub(crate) const WRITE_RATE: u64 = 64 * 1024;
/// An answer of HTTP up to this size is outside the budget.
pub(crate) const SMALL_ANSWER: usize = 4 * 1024;
/// For the last bytes and the close of TLS.
pub(crate) const CLOSE_TIME: Duration = Duration::from_secs(5);
/// What is read from TLS, and written to it, at a time: the content of one TLS record (RFC 8446 §5.1).
pub(crate) const RECORD: usize = 16 * 1024;
/// What every connection may hold of an unfinished request outside the budget.
pub(crate) const ALLOWANCE: usize = 32 * 1024;
/// The largest JSON body of an HTTP request.
pub(crate) const MAX_JSON: usize = 8 * 1024 * 1024;
/// Most memory that the values of a JSON body may take once parsed.
pub(crate) const MAX_VALUES: usize = 64 * 1024 * 1024;
/// The largest certificate chain that can be installed.
pub(crate) const MAX_PEM: usize = 64 * 1024;
/// All options of an upload together.
pub(crate) const MAX_OPTIONS: usize = 256 * 1024;
/// The head of an HTTP/1 request, and a header list of HTTP/2.
pub(crate) const MAX_HEAD: usize = 16 * 1024;
/// Headers of one HTTP/1 request.
pub(crate) const MAX_HEADERS: usize = 100;
/// For the head of an HTTP/1 request to arrive.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(20);
/// Requests at once on one HTTP/2 connection.
pub(crate) const STREAMS: u32 = 64;
/// Streams that the client opened and reset before they were seen (CVE-2023-44487).
pub(crate) const PENDING_RESETS: usize = 20;
/// Streams that this side had to reset because of the client's errors (CVE-2025-8671).
pub(crate) const LOCAL_RESETS: usize = 64;
/// Received body bytes in flight, per stream and per connection of HTTP/2.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
/// What one stream of HTTP/2 may have waiting to be sent.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;
/// See [`STREAM_WINDOW`].
pub(crate) const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Jobs of the control thread, under way and waiting.
pub(crate) const JOBS: usize = 64;
/// Calls per worker that wait for their app to be replaced or unloaded.
pub(crate) const WAITING_CALLS: usize = 256;
/// Handshakes that wait for a quote.
pub(crate) const CHALLENGE_QUOTES: usize = 16;
/// Requests that wait for a quote.
pub(crate) const REQUEST_QUOTES: usize = 48;
/// Between two quotes for clients, when a burst is used up. A quoting enclave signs in some ten milliseconds,
/// one after the other, so that more would only queue.
pub(crate) const QUOTE_INTERVAL: Duration = Duration::from_millis(20);
/// Quotes for clients at once: what a host makes in the time that a handshake may take, with room.
pub(crate) const QUOTE_BURST: u32 = 200;
/// Between two quotes for requests on one connection, when a burst is used up.
pub(crate) const CONNECTION_QUOTE_INTERVAL: Duration = Duration::from_secs(1);
/// Quotes for requests on one connection at once: for itself, for a document, for interoperable evidence.
pub(crate) const CONNECTION_QUOTE_BURST: u32 = 4;
/// For a quote to be made, all that were asked for before included. Shorter than [`HANDSHAKE_TIME`].
pub(crate) const QUOTE_TIME: Duration = Duration::from_secs(8);
/// For the host to answer one request of quoting.
pub(crate) const HOST_QUOTE_TIME: Duration = Duration::from_secs(30);
/// Between two looks at certificates that may be due, while all is well.
pub(crate) const UPKEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The first and the longest wait before quotes are asked for again.
pub(crate) const QUOTE_RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];
/// Between two log lines that clients can cause.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// For the running calls of an app to end before it is replaced or unloaded.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(30);
/// For calls that were ended because their app is replaced or unloaded to be gone.
pub(crate) const CANCEL_TIME: Duration = Duration::from_secs(10);
/// The longest time limit of a call.
pub(crate) const MAX_TIMEOUT_MS: u64 = 600_000;
/// The longest time limit of an HTTP request to an app.
pub(crate) const MAX_HTTP_TIMEOUT_MS: u64 = 86_400_000;
/// Parsed JSON takes at most this many bytes of memory for each byte of its text.
pub(crate) const JSON_COST: usize = 32;

/// For the next piece of a request to arrive of which `received` bytes have, when it began to at `begun`: as long as
/// its sender is not too slow altogether.
pub(crate) fn read_time(begun: Monotonic, now: Monotonic, received: usize) -> Duration {
    let all = STALL_TIME.saturating_add(Duration::from_secs(received as u64 / READ_RATE)).min(REQUEST_TIME);
    begun.after(all).since(now).min(STALL_TIME)
}

/// For the client to take an answer of `bytes`, or all the answers of a connection together.
pub(crate) fn write_time(bytes: usize) -> Duration {
    WRITE_TIME.saturating_add(Duration::from_secs(bytes as u64 / WRITE_RATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_time_that_its_sender_earns() {
        let at = |seconds: u64| Monotonic::from_nanos(seconds * 1_000_000_000);
        let left = |now, received| read_time(at(100), at(now), received).as_secs();
        assert_eq!(left(100, 0), 30);
        assert_eq!(left(129, 29), 1, "a byte a second is too slow");
        assert_eq!(left(131, 31), 0);
        assert_eq!(left(150, 64 << 20), 30, "never longer than between two pieces");
        assert_eq!(left(999, 64 << 20), 1);
        assert_eq!(left(1000, usize::MAX), 0, "nor altogether longer than any request has");
    }
}
