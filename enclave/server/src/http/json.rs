//! What will a JSON text take once it is parsed?
//!
//! Counted before it is, and by the same estimates as in the framed protocol: a value that takes one byte of text
//! takes dozens of memory.

use crate::limits;
use crate::refusal::Refusal;

/// A value with the slack of a vector that grows by doubling.
const VALUE: usize = 64;
/// A key of an object beside its text.
const KEY: usize = 128;
/// An object with its first entries.
const OBJECT: usize = 640;

/// The most memory that `text` takes beside its own bytes, as far as it is JSON.
///
/// # Errors
/// `too-large`: more than any request may.
pub(super) fn cost(text: &[u8]) -> Result<usize, Refusal> {
    let (mut values, mut in_string, mut escaped) = (VALUE, false, false);
    for byte in text {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        values += match byte {
            b'"' => {
                in_string = true;
                0
            }
            b'{' => OBJECT,
            b'[' | b',' => VALUE,
            b':' => KEY,
            _ => 0,
        };
    }
    if values > limits::MAX_VALUES {
        let most = limits::MAX_VALUES >> 20;
        return Err(Refusal::new(
            "too-large",
            format!(
                "the values of this JSON would take {} MiB of memory once parsed, and a request may take {most}: send bulk \
                 data as a string, or `bytes` as base64",
                values.div_ceil(1 << 20)
            ),
        ));
    }
    // Strings are copied.
    Ok(values.saturating_add(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cost_and_what_stands_in_strings_does_not() {
        let values = |text: &str| cost(text.as_bytes()).unwrap() - text.len();
        assert_eq!(values("1"), VALUE);
        assert_eq!(values("[1,2,3]"), 4 * VALUE);
        assert_eq!(values(r#"{"a":1,"b":[]}"#), OBJECT + 3 * VALUE + 2 * KEY);
        assert_eq!(values(r#""[[[,,,\"[[,\\""#), VALUE);
        assert_eq!(values(r#"["\\",1]"#), 3 * VALUE);
        assert_eq!(values(""), VALUE);
    }

    #[test]
    fn the_longest_body_that_is_taken_costs_a_part_of_the_budget() {
        let string = format!("[\"{}\"]", "x".repeat(limits::MAX_JSON - 4));
        assert!(cost(string.as_bytes()).unwrap() < limits::MAX_JSON + 1000);
        let numbers = format!("[{}1]", "1,".repeat(limits::MAX_JSON / 2 - 2));
        assert_eq!(cost(numbers.as_bytes()).unwrap_err().code(), "too-large");
    }
}
