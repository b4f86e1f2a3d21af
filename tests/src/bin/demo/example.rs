//! The six functions of the example, and what each must answer.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use boundary_wire::client::Params;
use enclave_os_client::Framed;
use serde_json::{Value, json};

use crate::report::Row;
use crate::world::APP;

const GREETING: &str = "Hello from WASM in SGX!";

/// Calls all six and judges each answer by the example's table.
pub(crate) fn call_all(client: &mut Framed) -> Vec<Row> {
    vec![
        row("Hello World", hello(client)),
        row("Random Number", random(client)),
        row("Wall Clock", clock(client)),
        row("KV Store (write)", store(client)),
        row("KV Store (read)", read(client)),
        row("HTTPS Egress", headlines(client)),
    ]
}

/// What `kv-read("greeting")` must answer, in this run and in the next.
pub(crate) fn read(client: &mut Framed) -> Result<String> {
    expect(text(client, "kv-read", &["greeting"])?, GREETING)
}

fn row(test: &'static str, outcome: Result<String>) -> Row {
    match outcome {
        Ok(details) => Row { test, passed: true, details },
        Err(error) => Row { test, passed: false, details: format!("{error:#}") },
    }
}

fn hello(client: &mut Framed) -> Result<String> {
    expect(text(client, "hello", &[])?, "Hello, World!")
}

fn random(client: &mut Framed) -> Result<String> {
    let mut seen = Vec::new();
    for _ in 0..8 {
        let value = call(client, "get-random", &[])?;
        let number = value["value"].as_u64().with_context(|| format!("not an integer: {value}"))?;
        if !(1..=100).contains(&number) {
            bail!("{number} is not in [1, 100]");
        }
        seen.push(number);
    }
    if seen.iter().all(|n| n == &seen[0]) {
        bail!("eight calls all gave {}", seen[0]);
    }
    Ok(seen[0].to_string())
}

fn clock(client: &mut Framed) -> Result<String> {
    let answer = text(client, "get-time", &[])?;
    let (seconds, fraction) = answer.split_once('.').with_context(|| format!("no fraction in {answer}"))?;
    let seconds: u64 = seconds.parse().with_context(|| format!("no seconds in {answer}"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    if fraction.len() != 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) || now.abs_diff(seconds) > 60 {
        bail!("{answer} is not the time");
    }
    Ok(answer)
}

fn store(client: &mut Framed) -> Result<String> {
    expect(text(client, "kv-store", &["greeting", GREETING])?, "stored: greeting")?;
    expect(text(client, "kv-read", &["missing"])?, "error: key not found: missing")?;
    Ok(format!("greeting = '{GREETING}'"))
}

fn headlines(client: &mut Framed) -> Result<String> {
    let answer = text(client, "fetch-headlines", &[])?;
    let lines: Vec<_> = answer.lines().collect();
    let numbered = lines.iter().enumerate().all(|(i, line)| line.starts_with(&format!("{}. ", i + 1)));
    if !(2..=10).contains(&lines.len()) || !numbered {
        bail!("not a numbered list of headlines: {answer}");
    }
    Ok(format!("{} headlines — {}", lines.len(), lines[0]))
}

fn expect(answer: String, wanted: &str) -> Result<String> {
    if answer == wanted { Ok(answer) } else { bail!("expected `{wanted}`, got `{answer}`") }
}

fn text(client: &mut Framed, function: &str, arguments: &[&str]) -> Result<String> {
    let value = call(client, function, arguments)?;
    if value["type"] != "string" {
        bail!("{function} gave {value}, not a string");
    }
    value["value"].as_str().map(str::to_owned).with_context(|| format!("{function} gave {value}"))
}

fn call(client: &mut Framed, function: &str, arguments: &[&str]) -> Result<Value> {
    let params = arguments.iter().map(|a| json!({"type": "string", "value": a})).collect();
    let mut returns = client.call(APP, function, Params::Positional(params))?;
    match (returns.pop(), returns.is_empty()) {
        (Some(value), true) => Ok(value),
        _ => Err(anyhow!("{function} did not give one result")),
    }
}
