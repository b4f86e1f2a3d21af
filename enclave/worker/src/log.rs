//! Log lines on their way to the host: bounded and lossy, because logging must never hold up a task.

use std::collections::VecDeque;
use std::task::Waker;

use boundary_ring::Producer;
use boundary_wire::rpc::{LogLevel, LogLine, Request};

use crate::calls::Calls;
use crate::error::HostMisbehaved;

/// Bytes of lines that may wait.
const MAX_WAITING: usize = 128 * 1024;
#[derive(Default)]
pub(crate) struct LogQueue {
    lines: VecDeque<Vec<u8>>,
    waiting: usize,
    lost: u64,
}

impl LogQueue {
    /// Queues a line, or counts it as lost.
    pub(crate) fn push(&mut self, level: LogLevel, target: &str, message: &str) {
        let Ok(line) = Request::Log(LogLine::new(level, target, message)).encode() else { return };
        if self.waiting.saturating_add(line.len()) > MAX_WAITING {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        self.waiting += line.len();
        self.lines.push_back(line);
    }

    /// Hands lines over while there is room for requests. `false`: the ring is full.
    pub(crate) fn flush(
        &mut self,
        calls: &mut Calls,
        output: &mut Producer,
        wakes: &mut Vec<Waker>,
    ) -> Result<bool, HostMisbehaved> {
        while calls.has_room() {
            if self.lines.is_empty() && self.lost > 0 {
                let lost = std::mem::take(&mut self.lost);
                let message = format!("{lost} log lines were lost: the host did not take them in time");
                self.push(LogLevel::Warn, "enclave", &message);
            }
            let Some(line) = self.lines.pop_front() else { return Ok(true) };
            self.waiting = self.waiting.saturating_sub(line.len());
            // Nobody waits for the host's `Done`.
            drop(calls.push(line));
            if !calls.flush(output, wakes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
