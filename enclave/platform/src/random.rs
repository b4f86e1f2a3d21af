//! The CPU's random numbers, with the retry rule of the SDM.

use crate::RandomError;

/// RDRAND: ten tries in a row (SDM volume 1, "Random Number Generator Instructions"). More failures than
/// that mean that the generator is broken.
const TRIES: u32 = 10;

/// Fills `out` word by word from `first`, and from `second` where that runs dry.
///
/// For keys that live long `first` is RDSEED, fresh entropy: slow, shared by all cores, soon exhausted under load. For
/// all else it is RDRAND, a generator that the CPU seeds anew all the time (NIST SP 800-90A, 128 bits of strength), a
/// hundred times as fast. Each answers for the other.
///
/// # Errors
/// [`RandomError`] when both fail ten times, and when the generator gives the same words again and again.
pub(crate) fn fill(
    out: &mut [u8],
    mut first: impl FnMut() -> Option<u64>,
    mut second: impl FnMut() -> Option<u64>,
) -> Result<(), RandomError> {
    let mut last = None;
    for chunk in out.chunks_mut(size_of::<u64>()) {
        // Generators that broke were seen to answer one constant with success. A true one repeats a word
        // once in 2^64 times, so a repeated word is drawn again.
        let word = (0..TRIES)
            .find_map(|_| tries(&mut first).or_else(|| tries(&mut second)).filter(|word| last != Some(*word)))
            .ok_or(RandomError)?;
        last = Some(word);
        chunk.iter_mut().zip(word.to_le_bytes()).for_each(|(to, from)| *to = from);
    }
    Ok(())
}

fn tries(draw: &mut impl FnMut() -> Option<u64>) -> Option<u64> {
    (0..TRIES).find_map(|_| draw())
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    /// Gives 1, 2, 3… but fails `failures` times before each.
    fn counter(failures: u32) -> impl FnMut() -> Option<u64> {
        let (mut word, mut failed) = (0, 0);
        move || {
            if failed < failures {
                failed += 1;
                return None;
            }
            failed = 0;
            word += 1;
            Some(word)
        }
    }

    #[test]
    fn every_byte_is_filled_whatever_the_length() {
        for len in 0..40 {
            let mut out = vec![0xEE; len];
            let mut word = 0u64;
            let draw = || {
                word += 1;
                Some(word * 0x0101_0101_0101_0101)
            };
            assert_eq!(fill(&mut out, draw, || None), Ok(()));
            let expected: Vec<u8> = (0..len).map(|at| (at / 8 + 1) as u8).collect();
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn nine_failures_are_retried_and_ten_go_to_the_other() {
        let mut out = [0; 8];
        assert_eq!(fill(&mut out, counter(9), || None), Ok(()));
        assert_eq!(out[0], 1);
        assert_eq!(fill(&mut out, || None, counter(9)), Ok(()));
        assert_eq!(fill(&mut out, || None, || None), Err(RandomError));
        assert_eq!(fill(&mut [], || None, || None), Ok(()));
    }

    #[test]
    fn a_generator_that_repeats_itself_is_broken() {
        assert_eq!(fill(&mut [0; 16], || Some(u64::MAX), || None), Err(RandomError));
        assert_eq!(fill(&mut [0; 16], counter(0), || None), Ok(()));
        assert_eq!(fill(&mut [0; 8], || Some(u64::MAX), || None), Ok(()));
    }
}
