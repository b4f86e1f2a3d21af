//! Rates side by side.

use serde_json::json;

use crate::clients::Cost;

/// Bars are this long at most.
const BAR: usize = 30;
/// What the project aims at: a cached certificate against a plain server.
const GOAL: f64 = 0.6;

/// One round.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) per_second: f64,
    /// Processor time of the server for each.
    pub(crate) server_microseconds: f64,
}

/// One kind of handshake with one server.
pub(crate) struct Row {
    name: String,
    /// The row it is compared with.
    against: Option<usize>,
    rounds: Vec<Taken>,
}

impl Row {
    pub(crate) fn new(name: &str, against: Option<usize>) -> Self {
        Self { name: name.to_owned(), against, rounds: Vec::new() }
    }

    pub(crate) fn add(&mut self, taken: Taken) {
        self.rounds.push(taken);
    }

    fn median(&self, of: fn(&Taken) -> f64) -> f64 {
        let mut sorted: Vec<f64> = self.rounds.iter().map(of).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

pub(crate) fn print(rows: &[Row], costs: &[Cost], as_json: bool) {
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let values = |of: fn(&Taken) -> f64| row.rounds.iter().map(of).collect::<Vec<_>>();
                json!({
                    "name": row.name,
                    "per_second": values(|t| t.per_second),
                    "server_microseconds": values(|t| t.server_microseconds),
                })
            })
            .collect();
        let costs: Vec<_> = costs
            .iter()
            .map(|c| json!({ "client": c.client, "milliseconds": c.milliseconds.as_ref().ok() }))
            .collect();
        println!("{:#}", json!({ "handshakes": rows, "verification": costs }));
        return;
    }
    println!("\nfull handshakes per second: medians of rounds taken by turns, TCP connection included");
    let longest = rows.iter().map(|row| row.median(|t| t.per_second)).fold(0.0, f64::max);
    for row in rows {
        let rate = row.median(|t| t.per_second);
        let server = row.median(|t| t.server_microseconds);
        let bar = "█".repeat(((rate / longest * BAR as f64) as usize).max(1));
        println!("  {:<32}{bar:<BAR$} {rate:>8.0} /s   {server:>6.0} µs of the server's processor", row.name);
    }
    for row in rows {
        if let Some(plain) = row.against.and_then(|at| rows.get(at)) {
            let ratio = row.median(|t| t.per_second) / plain.median(|t| t.per_second);
            let cpu = row.median(|t| t.server_microseconds) / plain.median(|t| t.server_microseconds);
            println!(
                "  {} / {} = {ratio:.2} (goal: at least {GOAL}); processor time × {cpu:.2}",
                row.name, plain.name
            );
        }
    }
    println!("\none verification of a certificate with its quote and collateral, median");
    for cost in costs {
        match &cost.milliseconds {
            Ok(milliseconds) => println!("  {:<12} {milliseconds:>8.2} ms", cost.client),
            Err(why) => println!("  {:<12} not measured: {why:#}", cost.client),
        }
    }
}
