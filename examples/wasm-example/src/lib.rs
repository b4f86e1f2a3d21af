//! Six functions for an enclave to call: nothing but the guest itself, randomness, time, two for sealed
//! files, and HTTPS whose TLS ends inside the enclave.
//!
//! Every call runs in a fresh instance. What is to outlive it goes to a file.

#[rustfmt::skip]
#[allow(warnings)]
mod bindings;

mod headlines;
mod store;

use bindings::Guest;
use bindings::privasys::enclave_os::https;
use bindings::wasi::clocks::wall_clock;
use bindings::wasi::random::random;

const NEWS: &str = "https://www.lemonde.fr/rss/une.xml";

struct Component;

impl Guest for Component {
    fn hello() -> String {
        "Hello, World!".to_owned()
    }

    fn get_random() -> u32 {
        const SIDES: u64 = 100;
        // Numbers from the incomplete last round would favour small results.
        const FAIR: u64 = u64::MAX - u64::MAX % SIDES;
        loop {
            let number = random::get_random_u64();
            if number < FAIR {
                return (number % SIDES) as u32 + 1;
            }
        }
    }

    fn get_time() -> String {
        // The clock has nanoseconds; the answer is the whole second, with its fraction written out.
        format!("{}.000000000", wall_clock::now().seconds)
    }

    fn kv_store(key: String, value: String) -> String {
        match store::put(&key, value.as_bytes()) {
            Ok(()) => format!("stored: {key}"),
            Err(error) => format!("error: {error}"),
        }
    }

    fn kv_read(key: String) -> String {
        match store::get(&key) {
            Ok(Some(value)) => String::from_utf8_lossy(&value).into_owned(),
            Ok(None) => format!("error: key not found: {key}"),
            Err(error) => format!("error: {error}"),
        }
    }

    fn fetch_headlines() -> String {
        let request = https::Request {
            method: https::Method::Get,
            url: NEWS.to_owned(),
            headers: vec![("accept".to_owned(), "application/rss+xml".to_owned())],
            body: None,
        };
        let response = match https::fetch(&request) {
            Ok(response) => response,
            Err(error) => return format!("error: {error}"),
        };
        if response.status != 200 {
            return format!("error: {NEWS} answered with status {}", response.status);
        }
        let titles = headlines::titles(&String::from_utf8_lossy(&response.body), 10);
        if titles.is_empty() {
            return format!("error: {NEWS} holds no headline");
        }
        let lines: Vec<String> =
            titles.iter().enumerate().map(|(n, title)| format!("{}. {title}", n + 1)).collect();
        lines.join("\n")
    }
}

bindings::export!(Component with_types_in bindings);
