//! Everything the host sees passes by here, and is searched for what it must not see.

use std::collections::HashMap;

/// What every secret of a test contains. No ciphertext holds it by chance.
pub const CANARY: &str = "canary-7Qx2LmZp4TvR";

/// Where bytes belong together, so that a canary is found across two messages.
pub type Stream = (&'static str, u64);

/// Looks for the canary.
pub struct Witness {
    needles: Vec<(&'static str, Vec<u8>)>,
    longest: usize,
    tails: HashMap<Stream, Vec<u8>>,
    seen: u64,
    found: Option<String>,
}

impl Default for Witness {
    fn default() -> Witness {
        let plain = CANARY.as_bytes();
        let hex: String = plain.iter().map(|byte| format!("{byte:02x}")).collect();
        let integers = plain.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        let mut needles = vec![
            ("as it is", plain.to_vec()),
            ("backwards", plain.iter().rev().copied().collect()),
            ("in UTF-16", plain.iter().flat_map(|byte| [*byte, 0]).collect()),
            ("in hexadecimal", hex.to_uppercase().into_bytes()),
            ("in hexadecimal", hex.into_bytes()),
            ("as integers", integers.into_bytes()),
        ];
        // At each offset in a group of three, without the letters that neighbours have a part in.
        for offset in 0..3 {
            needles.push(("in base64", base64(plain.get(offset..).unwrap_or_default())));
        }
        let longest = needles.iter().map(|(_, needle)| needle.len()).max().unwrap_or(1);
        Witness { needles, longest, tails: HashMap::new(), seen: 0, found: None }
    }
}

impl Witness {
    /// The host sees `bytes`.
    pub fn see(&mut self, stream: Stream, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        let mut text = self.tails.remove(&stream).unwrap_or_default();
        text.extend_from_slice(bytes);
        if self.found.is_none() {
            let found = self.needles.iter().find(|(_, needle)| contains(&text, needle));
            self.found = found.map(|(how, _)| format!("{how}, in {} {}", stream.0, stream.1));
        }
        text.drain(..text.len().saturating_sub(self.longest - 1));
        self.tails.insert(stream, text);
    }

    /// Bytes seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// How and where the canary was seen.
    pub fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return false };
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.starts_with(needle) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

/// Whole groups of three bytes, in the standard alphabet.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8; 3]| {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift) as usize & 63])
    };
    bytes.as_chunks::<3>().0.iter().flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(pieces: &[&[u8]]) -> bool {
        let mut witness = Witness::default();
        pieces.iter().for_each(|piece| witness.see(("test", 0), piece));
        witness.found().is_some()
    }

    #[test]
    fn a_canary_is_found_in_every_dress() {
        let text = format!("x{CANARY}y");
        assert!(finds(&[text.as_bytes()]));
        assert!(!finds(&[&text.as_bytes()[..CANARY.len()]]));
        let (a, b) = text.as_bytes().split_at(9);
        assert!(finds(&[a, b]), "across two messages");
        assert!(finds(&[&text
            .as_bytes()
            .iter()
            .map(|b| format!("{b}, "))
            .collect::<String>()
            .replace(' ', "")
            .into_bytes()]));
        for before in ["", "a", "ab", "abc"] {
            assert!(finds(&[&base64(format!("{before}{CANARY}zzz").as_bytes())]), "{before}");
        }
        let mut two = Witness::default();
        two.see(("a", 0), a);
        two.see(("b", 0), b);
        assert!(two.found().is_none(), "two streams are two");
        assert_eq!(two.seen(), text.len() as u64);
    }
}
