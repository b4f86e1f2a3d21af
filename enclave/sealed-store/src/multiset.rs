//! One number that stands for the set of all live records.
//!
//! MSet-Add-Hash of Clarke, Devadas, van Dijk, Gassend and Suh, "Incremental Multiset Hash Functions and
//! Their Application to Memory Integrity Checking" (ASIACRYPT 2003): the sum of a keyed PRF over the
//! elements, modulo 2^n. Adding and removing a record is one addition.
//!
//! Why n = 256 is enough. For two different sets of records the sums differ by a combination of PRF values
//! with coefficients -1, 0 and 1, not all zero: a record id occurs at most once in a set, because scans are
//! strictly ascending. For values of a PRF whose key the adversary has not, that combination is uniform,
//! so it is zero with probability 2^-256 for each pair of sets that is tried, beside the advantage
//! against HMAC-SHA-256. The attacks that make plain additive hashes need thousands of bits (generalised
//! birthdays, lattices) start from the values of the summands; here no summand and no sum is ever seen
//! outside: the key stays in the enclave and the sum travels only inside the encrypted head, which is also
//! why the paper's random nonce, whose purpose is to hide the sum, has nothing to do here.

/// A sum modulo 2^256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Multiset {
    low: u128,
    high: u128,
}

impl Multiset {
    pub(crate) const LEN: usize = 32;

    pub(crate) fn add(&mut self, element: &[u8; 32]) {
        let other = Self::from_bytes(element);
        let (low, carry) = self.low.overflowing_add(other.low);
        self.low = low;
        self.high = self.high.wrapping_add(other.high).wrapping_add(u128::from(carry));
    }

    pub(crate) fn remove(&mut self, element: &[u8; 32]) {
        let other = Self::from_bytes(element);
        let (low, borrow) = self.low.overflowing_sub(other.low);
        self.low = low;
        self.high = self.high.wrapping_sub(other.high).wrapping_sub(u128::from(borrow));
    }

    /// Little endian.
    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let (low, high) = out.split_at_mut(16);
        low.copy_from_slice(&self.low.to_le_bytes());
        high.copy_from_slice(&self.high.to_le_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (mut low, mut high) = ([0; 16], [0; 16]);
        let (first, second) = bytes.split_at(16);
        low.copy_from_slice(first);
        high.copy_from_slice(second);
        Self { low: u128::from_le_bytes(low), high: u128::from_le_bytes(high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn order_does_not_count_and_removal_undoes(mut elements: Vec<[u8; 32]>, extra: [u8; 32]) {
            let mut forward = Multiset::default();
            elements.iter().for_each(|e| forward.add(e));
            elements.reverse();
            let mut backward = Multiset::default();
            backward.add(&extra);
            elements.iter().for_each(|e| backward.add(e));
            prop_assert_eq!(forward == backward, extra == [0; 32]);
            backward.remove(&extra);
            prop_assert_eq!(forward, backward);
            prop_assert_eq!(Multiset::from_bytes(&forward.to_bytes()), forward);
        }
    }

    #[test]
    fn carries_and_borrows_across_the_halves() {
        let mut sum = Multiset { low: u128::MAX, high: 0 };
        let mut one = [0; 32];
        one[0] = 1;
        sum.add(&one);
        assert_eq!(sum, Multiset { low: 0, high: 1 });
        sum.remove(&one);
        assert_eq!(sum, Multiset { low: u128::MAX, high: 0 });
    }
}
