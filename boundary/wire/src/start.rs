//! How an SGX image asks its host for what it needs to start, and what crosses in registers after that.
//!
//! An image leaves the enclave by EEXIT with a call number and parameters in registers, as the usercalls of
//! its standard library do (`fortanix-sgx-abi`); the numbers here lie in the range that interface leaves to
//! programs. Every register that comes back is a claim of the host. [`StartBlock::decode`] is total; whether
//! the addresses in it may be used is for the enclave to check (`enclave-platform`).
//!
//! Tables: `docs/formats/start.md`.

/// `() -> (address, words)`: where the start block lies in host memory, and how long it is.
pub const START: u64 = 0x8000_0000;
/// `(what, argument, own thread) -> (go on, 0)`: [`notify`].
pub const NOTIFY: u64 = 0x8000_0001;
/// `(offset in ELRANGE, bytes, SECINFO permissions) -> (result, 0)`: the host's half of EMODPR. [`restrict`].
pub const RESTRICT: u64 = 0x8000_0002;
/// `(thread or [NO_THREAD], how, 0) -> (0, 0)`: a thread ends, but not in order. Its reason was logged.
/// [`failed`].
pub const FAILED: u64 = 0x8000_0003;

/// The whole enclave, where a thread index is expected.
pub const NO_THREAD: u64 = u64::MAX;

/// Registers of [`NOTIFY`].
pub mod notify {
    /// Move bytes and come back at once.
    pub const POLL: u64 = 0;
    /// Come back when there is input, somebody wakes the thread, or the host's monotonic clock has passed the
    /// argument, in nanoseconds.
    pub const WAIT: u64 = 1;
    /// Wake the thread whose index is the argument.
    pub const WAKE: u64 = 2;
    /// As argument of [`WAIT`]: no timer is set.
    pub const NO_TIMER: u64 = u64::MAX;
    /// Result: go on.
    pub const CONTINUE: u64 = 0;
    /// Result: drain, seal, return.
    pub const SHUTDOWN: u64 = 1;
}

/// Registers of [`RESTRICT`].
pub mod restrict {
    /// Permission bit of SECINFO.FLAGS: readable.
    pub const READ: u64 = 1;
    /// Permission bit of SECINFO.FLAGS: writable.
    pub const WRITE: u64 = 2;
    /// Permission bit of SECINFO.FLAGS: executable.
    pub const EXECUTE: u64 = 4;
    /// Result: done on every page, as EACCEPT will show.
    pub const DONE: u64 = 0;
    /// Result: this CPU has no SGX2.
    pub const NO_SGX2: u64 = u64::MAX;
}

/// Registers of [`FAILED`].
pub mod failed {
    /// The enclave refuses to start.
    pub const REFUSED: u64 = 0;
    /// The thread gave up later. What was acknowledged is safe.
    pub const STOPPED: u64 = 1;
}

/// Words of the block before the channels.
pub const HEADER_WORDS: usize = 8;
/// Words per channel.
pub const CHANNEL_WORDS: usize = 4;
/// Threads that serve clients, at most. One more, the control thread, runs beside them.
pub const MAX_WORKERS: u16 = 256;
/// Words of the shortest block: one worker and the control thread.
pub const MIN_WORDS: usize = HEADER_WORDS + 2 * CHANNEL_WORDS;
/// Words of the longest block.
pub const MAX_WORDS: usize = HEADER_WORDS + (MAX_WORKERS as usize + 1) * CHANNEL_WORDS;

/// The first word: "EOS1" in the order of memory.
const MAGIC: u64 = 0x3153_4f45;

/// The host's claim about the CPU. Nothing that protects a secret rests on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Cpu {
    /// A software CPU.
    Emulated = 1,
    /// SGX hardware.
    Sgx = 2,
}

/// The two rings of one thread: addresses and sizes in bytes, as the host states them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Channel {
    /// Ring from host to enclave.
    pub to_enclave: u64,
    /// Its size.
    pub to_enclave_bytes: u64,
    /// Ring from enclave to host.
    pub to_host: u64,
    /// Its size.
    pub to_host_bytes: u64,
}

/// What an image is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartBlock {
    /// What the CPU is said to be.
    pub cpu: Cpu,
    /// Where the host writes its clocks: two words, nanoseconds since the Unix epoch and of a clock that
    /// never runs backwards.
    pub time_page: u64,
    /// Whether [`RESTRICT`] works.
    pub sgx2: bool,
    /// One per worker, then the control thread's.
    pub channels: Vec<Channel>,
}

/// What is wrong with a start block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartBlockError {
    /// Fewer or more words than any block has.
    #[error("a start block of {0} words: one has {MIN_WORDS} to {MAX_WORDS}")]
    Size(u64),
    /// Something else, or for another version of the image.
    #[error("the start block begins with {0:#x}: host and image are of different versions")]
    Magic(u64),
    /// The second word is not the number of words.
    #[error("the start block says it has {stated} words, {present} are there")]
    Length {
        /// In the block.
        stated: u64,
        /// Given with it.
        present: usize,
    },
    /// No such CPU.
    #[error("the start block names CPU {0}: 1 is emulated, 2 is sgx")]
    Cpu(u64),
    /// A worker count outside the bounds, or one that does not fit the number of channels.
    #[error(
        "the start block names {workers} workers and brings {channels} channels: 1 to {MAX_WORKERS} \
             workers, and a channel for each and for the control thread"
    )]
    Workers {
        /// In the block, or one less than the channels to be encoded.
        workers: u64,
        /// Whole channels there are words for.
        channels: usize,
    },
    /// A flag that is neither 0 nor 1, or a reserved word that is not 0.
    #[error("word {word} of the start block is {value:#x}")]
    Word {
        /// Which one.
        word: usize,
        /// Its value.
        value: u64,
    },
}

impl StartBlock {
    /// Number of threads that serve clients.
    pub fn workers(&self) -> u16 {
        u16::try_from(self.channels.len().saturating_sub(1)).unwrap_or(u16::MAX)
    }

    /// The words of the block.
    ///
    /// # Errors
    /// [`StartBlockError::Workers`] for fewer than 2 or more than 257 channels.
    pub fn encode(&self) -> Result<Vec<u64>, StartBlockError> {
        let workers = self.channels.len().saturating_sub(1);
        check_workers(workers as u64, self.channels.len())?;
        let words = HEADER_WORDS + self.channels.len() * CHANNEL_WORDS;
        let header = [
            MAGIC,
            words as u64,
            self.cpu as u64,
            workers as u64,
            self.time_page,
            u64::from(self.sgx2),
            0,
            0,
        ];
        let channels = self.channels.iter().flat_map(|channel| {
            [channel.to_enclave, channel.to_enclave_bytes, channel.to_host, channel.to_host_bytes]
        });
        Ok(header.into_iter().chain(channels).collect())
    }

    /// Reads the block from the enclave's own copy of its words.
    ///
    /// # Errors
    /// [`StartBlockError`]; what is accepted encodes to the same words.
    pub fn decode(words: &[u64]) -> Result<StartBlock, StartBlockError> {
        if !(MIN_WORDS..=MAX_WORDS).contains(&words.len()) {
            return Err(StartBlockError::Size(words.len() as u64));
        }
        let Some((&[magic, stated, cpu, workers, time_page, sgx2, reserved6, reserved7], rest)) =
            words.split_first_chunk::<HEADER_WORDS>()
        else {
            return Err(StartBlockError::Size(words.len() as u64));
        };
        if magic != MAGIC {
            return Err(StartBlockError::Magic(magic));
        }
        if stated != words.len() as u64 {
            return Err(StartBlockError::Length { stated, present: words.len() });
        }
        let cpu = match cpu {
            1 => Cpu::Emulated,
            2 => Cpu::Sgx,
            other => return Err(StartBlockError::Cpu(other)),
        };
        for (word, value, most) in [(5, sgx2, 1), (6, reserved6, 0), (7, reserved7, 0)] {
            if value > most {
                return Err(StartBlockError::Word { word, value });
            }
        }
        let (channels, odd) = rest.as_chunks::<CHANNEL_WORDS>();
        check_workers(workers, channels.len())?;
        if !odd.is_empty() {
            return Err(StartBlockError::Size(words.len() as u64));
        }
        let channel = |&[to_enclave, to_enclave_bytes, to_host, to_host_bytes]: &[u64; CHANNEL_WORDS]| {
            Channel { to_enclave, to_enclave_bytes, to_host, to_host_bytes }
        };
        let channels = channels.iter().map(channel).collect();
        Ok(StartBlock { cpu, time_page, sgx2: sgx2 == 1, channels })
    }
}

fn check_workers(workers: u64, channels: usize) -> Result<(), StartBlockError> {
    if (1..=u64::from(MAX_WORKERS)).contains(&workers) && workers + 1 == channels as u64 {
        Ok(())
    } else {
        Err(StartBlockError::Workers { workers, channels })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel(n: u64) -> Channel {
        Channel { to_enclave: n, to_enclave_bytes: n + 1, to_host: n + 2, to_host_bytes: n + 3 }
    }

    fn block(channels: u64) -> StartBlock {
        let channels = (0..channels).map(channel).collect();
        StartBlock { cpu: Cpu::Emulated, time_page: 0x1000, sgx2: true, channels }
    }

    #[test]
    fn the_words_are_those_of_the_table() {
        let words = block(2).encode().unwrap();
        assert_eq!(words.first().unwrap().to_le_bytes(), *b"EOS1\0\0\0\0");
        assert_eq!(words, [MAGIC, 16, 1, 1, 0x1000, 1, 0, 0, 0, 1, 2, 3, 1, 2, 3, 4]);
        assert_eq!(words.len(), MIN_WORDS);
        assert_eq!(block(257).encode().unwrap().len(), MAX_WORDS);
    }

    #[test]
    fn a_block_needs_one_worker_and_takes_256() {
        for channels in [0, 1, 258] {
            let error = block(channels).encode().unwrap_err();
            assert!(matches!(error, StartBlockError::Workers { .. }), "{channels}: {error}");
        }
        for channels in [2, 257] {
            let words = block(channels).encode().unwrap();
            assert_eq!(StartBlock::decode(&words).unwrap().workers() as u64, channels - 1);
        }
    }

    /// One wrong word at a time, with the error that names it.
    #[test]
    fn each_word_of_the_header_is_checked() {
        let cases = [
            (0, MAGIC + 1, StartBlockError::Magic(MAGIC + 1)),
            (1, 15, StartBlockError::Length { stated: 15, present: 16 }),
            (1, u64::MAX, StartBlockError::Length { stated: u64::MAX, present: 16 }),
            (2, 0, StartBlockError::Cpu(0)),
            (2, 3, StartBlockError::Cpu(3)),
            (3, 0, StartBlockError::Workers { workers: 0, channels: 2 }),
            (3, 2, StartBlockError::Workers { workers: 2, channels: 2 }),
            (3, u64::MAX, StartBlockError::Workers { workers: u64::MAX, channels: 2 }),
            (5, 2, StartBlockError::Word { word: 5, value: 2 }),
            (6, 1, StartBlockError::Word { word: 6, value: 1 }),
            (7, 1 << 63, StartBlockError::Word { word: 7, value: 1 << 63 }),
        ];
        for (word, value, error) in cases {
            let mut words = block(2).encode().unwrap();
            *words.get_mut(word).unwrap() = value;
            assert_eq!(StartBlock::decode(&words), Err(error), "word {word}");
        }
    }

    #[test]
    fn words_too_few_too_many_or_odd_are_refused() {
        let mut words = block(3).encode().unwrap();
        for len in 0..MIN_WORDS {
            let error = StartBlock::decode(words.get(..len).unwrap()).unwrap_err();
            assert_eq!(error, StartBlockError::Size(len as u64));
        }
        assert!(StartBlock::decode(&vec![MAGIC; MAX_WORDS + 1]).is_err());
        words.push(7);
        words[1] += 1;
        assert_eq!(StartBlock::decode(&words), Err(StartBlockError::Size(21)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_the_host_states_arrives(
            sgx in any::<bool>(),
            sgx2 in any::<bool>(),
            time_page in any::<u64>(),
            numbers in proptest::collection::vec(any::<[u64; 4]>(), 2..258),
        ) {
            let channels = numbers
                .into_iter()
                .map(|[to_enclave, to_enclave_bytes, to_host, to_host_bytes]| Channel {
                    to_enclave, to_enclave_bytes, to_host, to_host_bytes,
                })
                .collect();
            let cpu = if sgx { Cpu::Sgx } else { Cpu::Emulated };
            let block = StartBlock { cpu, time_page, sgx2, channels };
            let words = block.encode().unwrap();
            prop_assert_eq!(StartBlock::decode(&words), Ok(block));
        }

        /// A block has one encoding: whatever else is accepted is one too.
        #[test]
        fn what_is_accepted_encodes_to_the_same_words(
            channels in 2u64..5,
            changes in proptest::collection::vec((0usize..28, 0u64..4), 0..3),
        ) {
            let mut words = block(channels).encode().unwrap();
            for (word, value) in changes {
                if let Some(slot) = words.get_mut(word) {
                    *slot = value;
                }
            }
            if let Ok(block) = StartBlock::decode(&words) {
                prop_assert_eq!(block.encode().unwrap(), words);
            }
        }
    }
}
