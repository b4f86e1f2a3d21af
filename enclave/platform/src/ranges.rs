//! Which addresses of the host an enclave may use.
//!
//! A pointer into the enclave, handed in as host memory, would make the enclave overwrite itself; two ranges
//! that overlap would let one ring write another's cursors. So every range that the host names at start is
//! held to one rule, before anything in it is touched: not null, aligned, of a possible size, without
//! wrapping, wholly outside ELRANGE, and apart from every other.

use std::fmt;
use std::ops::Range;

use boundary_ring::{MAX_DATA, MIN_DATA, RING_HEADER};
use boundary_wire::start::{Channel, MAX_WORDS, MIN_WORDS, StartBlock};

/// Bytes of the time page that are used: two words.
pub const TIME_BYTES: u64 = 16;
/// Rings are aligned to a cache line.
const LINE: u64 = 64;
const WORD: u64 = 8;

/// The enclave's own addresses (SDM, ELRANGE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elrange {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

impl Elrange {
    /// Whether any byte of `[address, address + bytes)` lies in the enclave. The sum does not wrap.
    fn touches(self, address: u64, bytes: u64) -> bool {
        address < self.base.saturating_add(self.size) && self.base < address.saturating_add(bytes)
    }
}

/// What a range is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The start block.
    StartBlock,
    /// The host's clocks.
    TimePage,
    /// The ring into the enclave of this thread.
    ToEnclave(u16),
    /// The ring out of the enclave of this thread.
    ToHost(u16),
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purpose::StartBlock => f.write_str("the start block"),
            Purpose::TimePage => f.write_str("the time page"),
            Purpose::ToEnclave(thread) => write!(f, "thread {thread}'s ring into the enclave"),
            Purpose::ToHost(thread) => write!(f, "thread {thread}'s ring to the host"),
        }
    }
}

/// A range that the enclave will not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// At address 0.
    #[error("the host gave no address for {0}")]
    Null(Purpose),
    /// Words, or cache lines of a ring, would straddle.
    #[error("the host put {purpose} at {address:#x}, which is no multiple of {align}")]
    Misaligned {
        /// What for.
        purpose: Purpose,
        /// Where.
        address: u64,
        /// What it must be a multiple of.
        align: u64,
    },
    /// Too small or too large.
    #[error("the host gave {bytes} bytes for {purpose}: {least} to {most} are possible")]
    Size {
        /// What for.
        purpose: Purpose,
        /// How many.
        bytes: u64,
        /// The fewest.
        least: u64,
        /// The most.
        most: u64,
    },
    /// The end lies beyond the last address.
    #[error("the host put {purpose} at {address:#x} with {bytes} bytes, past the end of memory")]
    Overflow {
        /// What for.
        purpose: Purpose,
        /// Where.
        address: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// Inside the enclave, or across its edge.
    #[error("the host put {purpose} at {address:#x} with {bytes} bytes, inside the enclave")]
    Inside {
        /// What for.
        purpose: Purpose,
        /// Where.
        address: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// On top of another one.
    #[error("the host put {first} and {second} into the same memory")]
    Overlap {
        /// The one at the lower address.
        first: Purpose,
        /// The other.
        second: Purpose,
    },
}

/// Checks where the start block is said to lie: what is accepted may be copied from.
///
/// # Errors
/// [`RangeError`]; an impossible number of words is [`RangeError::Size`].
pub fn check_start(elrange: Elrange, address: u64, words: u64) -> Result<Range<u64>, RangeError> {
    let range = HostRange {
        purpose: Purpose::StartBlock,
        address,
        bytes: words.saturating_mul(WORD),
        align: WORD,
        sizes: (MIN_WORDS as u64 * WORD, MAX_WORDS as u64 * WORD),
    };
    range.check(elrange)?;
    Ok(range.address..range.address + range.bytes)
}

/// Checks every address in a start block that itself lies at `start`.
///
/// # Errors
/// [`RangeError`]: the first range found wrong.
pub fn check_block(elrange: Elrange, start: &Range<u64>, block: &StartBlock) -> Result<(), RangeError> {
    let time = HostRange {
        purpose: Purpose::TimePage,
        address: block.time_page,
        bytes: TIME_BYTES,
        align: WORD,
        sizes: (TIME_BYTES, TIME_BYTES),
    };
    let mut ranges = vec![time];
    for (thread, channel) in (0..).zip(&block.channels) {
        let Channel { to_enclave, to_enclave_bytes, to_host, to_host_bytes } = *channel;
        ranges.push(HostRange::ring(Purpose::ToEnclave(thread), to_enclave, to_enclave_bytes));
        ranges.push(HostRange::ring(Purpose::ToHost(thread), to_host, to_host_bytes));
    }
    for range in &ranges {
        range.check(elrange)?;
    }
    ranges.push(HostRange {
        purpose: Purpose::StartBlock,
        address: start.start,
        bytes: start.end.saturating_sub(start.start),
        align: WORD,
        sizes: (0, u64::MAX),
    });
    apart(&mut ranges)
}

/// Sorted by address, ranges overlap if and only if some neighbours do.
fn apart(ranges: &mut [HostRange]) -> Result<(), RangeError> {
    ranges.sort_by_key(|range| range.address);
    for pair in ranges.windows(2) {
        if let [first, second] = pair
            && first.address + first.bytes > second.address
        {
            return Err(RangeError::Overlap { first: first.purpose, second: second.purpose });
        }
    }
    Ok(())
}

struct HostRange {
    purpose: Purpose,
    address: u64,
    bytes: u64,
    align: u64,
    sizes: (u64, u64),
}

impl HostRange {
    fn ring(purpose: Purpose, address: u64, bytes: u64) -> Self {
        let sizes = ((RING_HEADER + MIN_DATA) as u64, (RING_HEADER + MAX_DATA) as u64);
        HostRange { purpose, address, bytes, align: LINE, sizes }
    }

    fn check(&self, elrange: Elrange) -> Result<(), RangeError> {
        let HostRange { purpose, address, bytes, align, sizes: (least, most) } = *self;
        if address == 0 {
            return Err(RangeError::Null(purpose));
        }
        if !address.is_multiple_of(align) {
            return Err(RangeError::Misaligned { purpose, address, align });
        }
        if !(least..=most).contains(&bytes) {
            return Err(RangeError::Size { purpose, bytes, least, most });
        }
        if address.checked_add(bytes).is_none() {
            return Err(RangeError::Overflow { purpose, address, bytes });
        }
        if elrange.touches(address, bytes) {
            return Err(RangeError::Inside { purpose, address, bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use boundary_wire::start::Cpu;
    use proptest::prelude::*;

    use super::*;

    const BASE: u64 = 0x7000_0000_0000;
    const ENCLAVE: Elrange = Elrange { base: BASE, size: 1 << 31 };
    const RING: u64 = 128 + 4096;
    const START: Range<u64> = 0x1000..0x1000 + 16 * 8;

    /// One worker and the control thread, in order and apart.
    fn block() -> StartBlock {
        let channel = |n: u64| Channel {
            to_enclave: 0x10_0000 * (2 * n + 1),
            to_enclave_bytes: RING,
            to_host: 0x10_0000 * (2 * n + 2),
            to_host_bytes: RING,
        };
        StartBlock {
            cpu: Cpu::Emulated,
            time_page: 0x8000,
            sgx2: true,
            channels: vec![channel(0), channel(1)],
        }
    }

    fn check(change: impl FnOnce(&mut StartBlock)) -> Result<(), RangeError> {
        let mut block = block();
        change(&mut block);
        check_block(ENCLAVE, &START, &block)
    }

    #[test]
    fn a_block_in_order_is_taken() {
        assert_eq!(check(|_| {}), Ok(()));
        assert_eq!(check_start(ENCLAVE, 0x1000, 16), Ok(START));
    }

    #[test]
    fn each_wrong_range_is_named() {
        let purpose = Purpose::ToEnclave(1);
        let (least, most) = (RING, 128 + (1 << 30));
        assert_eq!(check(|b| b.channels[1].to_enclave = 0), Err(RangeError::Null(purpose)));
        assert_eq!(check(|b| b.time_page = 0), Err(RangeError::Null(Purpose::TimePage)));
        assert_eq!(
            check(|b| b.channels[1].to_enclave += 8),
            Err(RangeError::Misaligned { purpose, address: 0x30_0008, align: 64 })
        );
        assert_eq!(
            check(|b| b.time_page += 4),
            Err(RangeError::Misaligned { purpose: Purpose::TimePage, address: 0x8004, align: 8 })
        );
        for bytes in [0, RING - 1, most + 1, u64::MAX] {
            assert_eq!(
                check(|b| b.channels[1].to_enclave_bytes = bytes),
                Err(RangeError::Size { purpose, bytes, least, most })
            );
        }
        let address = u64::MAX - 63;
        assert_eq!(
            check(|b| b.channels[1].to_enclave = address),
            Err(RangeError::Overflow { purpose, address, bytes: RING })
        );
    }

    #[test]
    fn nothing_may_touch_the_enclave() {
        let end = BASE + ENCLAVE.size;
        let inside = [BASE, BASE + 64, end - 64, BASE - 64, BASE - RING.next_multiple_of(64) + 64];
        for address in inside {
            for field in 0..2 {
                let refused = check(|b| match field {
                    0 => b.channels[0].to_enclave = address,
                    _ => b.channels[0].to_host = address,
                });
                assert!(matches!(refused, Err(RangeError::Inside { .. })), "{address:#x}: {refused:?}");
            }
        }
        for time_page in [BASE, BASE - 8, end - 8] {
            assert!(matches!(check(|b| b.time_page = time_page), Err(RangeError::Inside { .. })));
        }
        assert_eq!(check(|b| b.channels[0].to_enclave = end), Ok(()));
        assert_eq!(check(|b| b.channels[0].to_enclave = BASE - RING.next_multiple_of(64)), Ok(()));
        // A ring larger than the enclave, around it.
        let around = check(|b| {
            b.channels[0].to_enclave = 0x6fff_f000_0000;
            b.channels[0].to_enclave_bytes = 128 + (1 << 30);
        });
        assert!(matches!(around, Err(RangeError::Inside { .. })), "{around:?}");
    }

    #[test]
    fn an_enclave_at_the_end_of_memory_is_an_enclave() {
        let high = Elrange { base: u64::MAX - 0xffff, size: 0x10000 };
        assert!(check_start(high, u64::MAX - 0xfff, 16).is_err());
        assert!(check_start(high, u64::MAX - 0x2_0007, 16).is_ok());
    }

    #[test]
    fn ranges_may_touch_but_not_overlap() {
        let ring = RING.next_multiple_of(64);
        assert_eq!(check(|b| b.channels[0].to_host = b.channels[0].to_enclave + ring), Ok(()));
        type Change = fn(&mut StartBlock);
        let overlaps: [(Change, Purpose, Purpose); 5] = [
            (|b| b.channels[0].to_host = b.channels[0].to_enclave, Purpose::ToEnclave(0), Purpose::ToHost(0)),
            (
                |b| b.channels[1].to_host = b.channels[0].to_enclave + 64,
                Purpose::ToEnclave(0),
                Purpose::ToHost(1),
            ),
            (|b| b.time_page = b.channels[0].to_host + RING - 8, Purpose::ToHost(0), Purpose::TimePage),
            (|b| b.time_page = START.end - 8, Purpose::StartBlock, Purpose::TimePage),
            (|b| b.channels[0].to_enclave = 0x1000 - 64, Purpose::ToEnclave(0), Purpose::StartBlock),
        ];
        for (change, first, second) in overlaps {
            assert_eq!(check(change), Err(RangeError::Overlap { first, second }));
        }
    }

    #[test]
    fn a_start_block_has_a_possible_size() {
        for words in [0, 15, 1037, u64::MAX, 1 << 61] {
            assert!(matches!(check_start(ENCLAVE, 0x1000, words), Err(RangeError::Size { .. })), "{words}");
        }
        assert_eq!(check_start(ENCLAVE, 0, 16), Err(RangeError::Null(Purpose::StartBlock)));
        assert!(matches!(check_start(ENCLAVE, BASE + 64, 16), Err(RangeError::Inside { .. })));
    }

    /// Addresses near the edges that matter.
    fn address() -> impl Strategy<Value = u64> {
        let edge = prop::sample::select(vec![0, 0x1000, 0x8000, BASE, BASE + ENCLAVE.size, u64::MAX]);
        prop_oneof![any::<u64>(), (edge, -70_000i64..70_000).prop_map(|(e, d)| e.wrapping_add_signed(d))]
            .prop_map(|address| address & !63)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Whatever is accepted is, byte for byte, outside of the enclave and apart.
        #[test]
        fn what_is_accepted_is_outside_and_apart(
            addresses in proptest::array::uniform4(address()),
            bytes in proptest::array::uniform4(prop_oneof![RING..70_000, any::<u64>()]),
            time_page in address(),
        ) {
            let [a, b, c, d] = addresses;
            let [p, q, r, s] = bytes;
            let block = StartBlock { time_page, channels: vec![
                Channel { to_enclave: a, to_enclave_bytes: p, to_host: b, to_host_bytes: q },
                Channel { to_enclave: c, to_enclave_bytes: r, to_host: d, to_host_bytes: s },
            ], ..block() };
            if check_block(ENCLAVE, &START, &block).is_ok() {
                let ranges = [(a, p), (b, q), (c, r), (d, s), (time_page, 16), (START.start, 128)];
                for (at, (address, bytes)) in ranges.into_iter().enumerate() {
                    let end = u128::from(address) + u128::from(bytes);
                    prop_assert!(address != 0 && end <= 1 << 64);
                    prop_assert!(end <= u128::from(BASE) || address >= BASE + ENCLAVE.size);
                    for (other, more) in &ranges[at + 1..] {
                        let apart = end <= u128::from(*other)
                            || u128::from(*other) + u128::from(*more) <= u128::from(address);
                        prop_assert!(apart);
                    }
                }
            }
        }
    }
}
