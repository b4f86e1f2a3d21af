//! The start block of an image.

use boundary_wire::start::{MAX_WORDS, MIN_WORDS, StartBlock};

/// A block has one encoding, and as many channels as it names threads.
pub(crate) fn block(input: &[u8]) {
    let (words, _) = input.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let Ok(block) = StartBlock::decode(&words) else { return };
    assert!((MIN_WORDS..=MAX_WORDS).contains(&words.len()));
    assert_eq!(block.channels.len(), usize::from(block.workers()) + 1);
    assert!(block.encode().is_ok_and(|again| again == words), "{block:?}");
}
