//! Programs with standard streams: what they are given, and how they ended.

use serde::{Deserialize, Serialize};

use super::reply::ErrorReply;

/// `command` of `wasm_call`: what a program (`wasi:cli/run`) is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandInput {
    /// Its arguments behind the name of the program, which is the application's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// All of its standard input; base64 with padding on the wire.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "base64_text")]
    pub stdin: Vec<u8>,
}

/// How a program ended, and what it printed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// Its exit code, 0 for success; `None` if it did not end by itself: `error` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// What it printed on standard output; base64 with padding on the wire.
    #[serde(default, with = "base64_text")]
    pub stdout: Vec<u8>,
    /// What it printed on standard error; base64 with padding on the wire.
    #[serde(default, with = "base64_text")]
    pub stderr: Vec<u8>,
    /// Whether it wanted to print more than one call may.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// Why it was ended, or why what it wrote is not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReply>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Bytes as base64 with padding (RFC 4648 §4).
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        STANDARD
            .decode(text.as_bytes())
            .map_err(|error| de::Error::custom(format_args!("not base64: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn bytes_are_base64_and_what_is_absent_is_empty() {
        let input: CommandInput = from_value(json!({"args": ["-n", ""], "stdin": "AP8="})).unwrap();
        assert_eq!(input, CommandInput { args: vec!["-n".into(), String::new()], stdin: vec![0, 255] });
        assert_eq!(from_value::<CommandInput>(json!({})).unwrap(), CommandInput::default());
        assert_eq!(to_value(CommandInput::default()).unwrap(), json!({}));
        for bad in [json!({"stdin": "A"}), json!({"stdin": [1]}), json!({"args": "x"}), json!({"cwd": "/"})] {
            from_value::<CommandInput>(bad.clone()).expect_err(&bad.to_string());
        }
    }

    #[test]
    fn an_end_says_what_was_printed() {
        let ended = Exited { exit_code: Some(3), stdout: b"out".to_vec(), ..Exited::default() };
        let text = json!({"exit_code": 3, "stdout": "b3V0", "stderr": ""});
        assert_eq!(to_value(&ended).unwrap(), text);
        assert_eq!(from_value::<Exited>(text).unwrap(), ended);
    }
}
