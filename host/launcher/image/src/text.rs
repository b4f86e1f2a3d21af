//! Text that an enclave thread writes, cut into lines.

/// Bytes of the longest line; what is longer becomes several.
const MOST: usize = 4096;

/// One stream of one thread.
#[derive(Debug, Default)]
pub(crate) struct Text {
    begun: Vec<u8>,
    last: String,
}

impl Text {
    /// Takes bytes, and gives each line that is whole now, without its end. Empty lines are left out.
    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for &byte in bytes {
            if byte != b'\n' {
                self.begun.push(byte);
            }
            if (byte == b'\n' || self.begun.len() >= MOST)
                && let Some(whole) = self.end()
            {
                line(&whole);
            }
        }
    }

    /// What was begun, as a line.
    pub(crate) fn end(&mut self) -> Option<String> {
        if self.begun.is_empty() {
            return None;
        }
        self.last = String::from_utf8_lossy(&std::mem::take(&mut self.begun)).into_owned();
        Some(self.last.clone())
    }

    /// The last whole line; empty if there was none.
    pub(crate) fn last_line(&self) -> &str {
        &self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_bounded() {
        let (mut text, mut lines) = (Text::default(), Vec::new());
        for part in ["one", " line\n\n", "two\nthr"] {
            text.push(part.as_bytes(), |line| lines.push(line.to_owned()));
        }
        assert_eq!(lines, ["one line", "two"]);
        assert_eq!(text.last_line(), "two");
        assert_eq!(text.end().as_deref(), Some("thr"));
        lines.clear();
        text.push(&[0xff; MOST + 1], |line| lines.push(line.to_owned()));
        assert_eq!(lines.len(), 1, "a line without end is cut");
        assert_eq!(text.begun.len(), 1);
    }
}
