//! One-time nonces of one connection.
//!
//! Host time is a claim, so a token's `exp` alone bounds nothing: what makes a captured token worthless is that its
//! nonce was drawn here, for this connection, and is accepted once (PROTOCOL "Who may do what").

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Nonces outstanding on one connection: one for each request that can be under way at once.
pub const MAX_NONCES: usize = 64;

/// The nonces that were handed out on one connection and not used yet. The oldest gives way when there are
/// [`MAX_NONCES`]: whoever asks for so many has given up on it.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<VecDeque<[u8; 32]>>);

impl Nonces {
    /// Remembers a nonce, fresh from the generator.
    pub fn add(&self, nonce: [u8; 32]) {
        let mut outstanding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if outstanding.len() >= MAX_NONCES {
            outstanding.pop_front();
        }
        outstanding.push_back(nonce);
    }

    /// Whether the nonce was outstanding; from now on it is not.
    pub(crate) fn take(&self, nonce: &[u8; 32]) -> bool {
        let mut outstanding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outstanding.iter().position(|known| known == nonce) {
            Some(at) => outstanding.remove(at).is_some(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_and_only_where_it_was_given() {
        let (nonces, others) = (Nonces::default(), Nonces::default());
        nonces.add([1; 32]);
        nonces.add([2; 32]);
        assert!(!others.take(&[1; 32]) && !nonces.take(&[3; 32]));
        assert!(nonces.take(&[1; 32]) && !nonces.take(&[1; 32]));
        assert!(nonces.take(&[2; 32]) && !nonces.take(&[2; 32]));
    }

    #[test]
    fn the_oldest_gives_way() {
        let nonces = Nonces::default();
        for number in 0..=MAX_NONCES {
            nonces.add([u8::try_from(number).unwrap(); 32]);
        }
        assert_eq!(nonces.0.lock().unwrap().len(), MAX_NONCES);
        assert!(!nonces.take(&[0; 32]));
        assert!(nonces.take(&[1; 32]) && nonces.take(&[u8::try_from(MAX_NONCES).unwrap(); 32]));
    }
}
