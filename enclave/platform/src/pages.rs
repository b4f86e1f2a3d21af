//! Page permissions that the enclave and its host change together (SGX2).
//!
//! EMODPR takes permissions away and is the host's instruction; EMODPE adds some and is the enclave's. What the
//! host did is found with EACCEPT, which succeeds only if the page's EPCM entry says exactly what the enclave
//! names: a host that did nothing, or something else, is an error here, never a page with other permissions
//! than believed.

use std::fmt;

/// SECINFO.FLAGS.R, W and X.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions(u64);

impl Permissions {
    /// Readable.
    pub const R: Permissions = Permissions(1);
    /// Readable and writable.
    pub const RW: Permissions = Permissions(3);
    /// Readable and executable.
    pub const RX: Permissions = Permissions(5);

    /// The bits of SECINFO.FLAGS.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(1, 'r'), (2, 'w'), (4, 'x')];
        letters.iter().try_for_each(|(bit, letter)| {
            let shown = if self.0 & bit != 0 { letter } else { &'-' };
            write!(f, "{shown}")
        })
    }
}

/// Bytes of a page of the EPC.
pub const PAGE: u64 = 4096;
/// SECINFO.FLAGS.PR: permissions were taken away and the enclave has not accepted it yet.
pub const PENDING_RESTRICTION: u64 = 1 << 5;
/// SECINFO.FLAGS.PAGE_TYPE of an ordinary page, PT_REG.
pub const REGULAR: u64 = 2 << 8;

/// What the CPU and the host do. All addresses are offsets in ELRANGE, multiples of [`PAGE`].
pub trait PageTable {
    /// Asks the host for EMODPR on each page. Its answer: 0 if it says that it did.
    fn restrict(&self, at: u64, bytes: u64, to: Permissions) -> u64;
    /// EACCEPT of one page against SECINFO flags: the SDM's error code, 0 for success.
    fn accept(&self, page: u64, flags: u64) -> u32;
    /// EMODPE of one page: adds permissions.
    fn extend(&self, page: u64, by: Permissions);
}

/// Pages have not the permissions asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The host says that it could not.
    #[error("the host did not restrict {bytes} bytes at {at:#x} to {to}: it answers {answer:#x}")]
    Refused {
        /// Offset in ELRANGE.
        at: u64,
        /// How many.
        bytes: u64,
        /// To what.
        to: Permissions,
        /// Its answer.
        answer: u64,
    },
    /// The host says it did, the CPU says otherwise.
    #[error(
        "the host misbehaved: it says that the page at {page:#x} was restricted to {to}, EACCEPT says \
         otherwise with SDM error code {code}"
    )]
    Lied {
        /// Offset in ELRANGE.
        page: u64,
        /// What it was said to be.
        to: Permissions,
        /// Error code of EACCEPT.
        code: u32,
    },
}

/// Takes permissions of whole pages away, down to `to`.
///
/// # Errors
/// [`PageError`]: some of the pages may have been changed, none has more permissions than before.
pub fn restrict(table: &impl PageTable, at: u64, bytes: u64, to: Permissions) -> Result<(), PageError> {
    let answer = table.restrict(at, bytes, to);
    if answer != 0 {
        return Err(PageError::Refused { at, bytes, to, answer });
    }
    for page in pages(at, bytes) {
        let code = table.accept(page, to.bits() | PENDING_RESTRICTION | REGULAR);
        if code != 0 {
            return Err(PageError::Lied { page, to, code });
        }
    }
    Ok(())
}

/// Makes whole pages what `to` says, by way of read-only, so that nothing is ever writable and executable.
///
/// # Errors
/// [`PageError`]: some of the pages may be read-only then, none has permissions beyond what it had before.
pub fn change(table: &impl PageTable, at: u64, bytes: u64, to: Permissions) -> Result<(), PageError> {
    restrict(table, at, bytes, Permissions::R)?;
    for page in pages(at, bytes) {
        table.extend(page, to);
    }
    Ok(())
}

fn pages(at: u64, bytes: u64) -> impl Iterator<Item = u64> {
    (0..bytes / PAGE).map(move |n| at + n * PAGE)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    const RWX: u64 = 7;
    /// SDM error code PAGE_ATTRIBUTES_MISMATCH.
    const MISMATCH: u32 = 19;

    /// EPCM entries of a few pages, with a host that may cheat.
    struct Epcm {
        pages: RefCell<Vec<u64>>,
        host: Host,
        /// Most permissions that any page had at a time since the last look, W and X together if ever.
        worst: RefCell<bool>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Host {
        Honest,
        Refuses,
        Idle,
        LessThanAsked,
        SkipsPage(usize),
    }

    impl Epcm {
        fn new(host: Host, flags: u64) -> Self {
            Epcm { pages: RefCell::new(vec![flags | REGULAR; 4]), host, worst: RefCell::new(false) }
        }

        fn note(&self) {
            if self.pages.borrow().iter().any(|page| page & 6 == 6) {
                *self.worst.borrow_mut() = true;
            }
        }
    }

    impl PageTable for Epcm {
        fn restrict(&self, at: u64, bytes: u64, to: Permissions) -> u64 {
            let to = match self.host {
                Host::Refuses => return 1,
                Host::Idle => return 0,
                Host::LessThanAsked => RWX,
                Host::Honest | Host::SkipsPage(_) => to.bits(),
            };
            for page in pages(at, bytes) {
                let index = (page / PAGE) as usize;
                if self.host != Host::SkipsPage(index) {
                    let flags = &mut self.pages.borrow_mut()[index];
                    *flags = *flags & !RWX | *flags & to | PENDING_RESTRICTION;
                }
            }
            0
        }

        fn accept(&self, page: u64, flags: u64) -> u32 {
            let entry = &mut self.pages.borrow_mut()[(page / PAGE) as usize];
            if *entry != flags {
                return MISMATCH;
            }
            *entry &= !PENDING_RESTRICTION;
            0
        }

        fn extend(&self, page: u64, by: Permissions) {
            self.pages.borrow_mut()[(page / PAGE) as usize] |= by.bits();
            self.note();
        }
    }

    #[test]
    fn pages_become_what_is_asked_and_never_both() {
        let table = Epcm::new(Host::Honest, RWX);
        assert_eq!(restrict(&table, 0, 4 * PAGE, Permissions::RW), Ok(()));
        assert_eq!(change(&table, PAGE, 2 * PAGE, Permissions::RX), Ok(()));
        let [rw, rx] = [Permissions::RW, Permissions::RX].map(|p| p.bits() | REGULAR);
        assert_eq!(*table.pages.borrow(), [rw, rx, rx, rw]);
        assert_eq!(change(&table, PAGE, PAGE, Permissions::RW), Ok(()));
        assert_eq!(*table.pages.borrow(), [rw, rw, rx, rw]);
        assert!(!*table.worst.borrow(), "writable and executable at a time");
    }

    #[test]
    fn a_lie_of_the_host_is_found_and_named() {
        let change = |host, flags| change(&Epcm::new(host, flags), 0, 2 * PAGE, Permissions::RX);
        let refused = PageError::Refused { at: 0, bytes: 2 * PAGE, to: Permissions::R, answer: 1 };
        assert_eq!(change(Host::Refuses, 3), Err(refused));
        let lied = |page| Err(PageError::Lied { page, to: Permissions::R, code: MISMATCH });
        assert_eq!(change(Host::Idle, 3), lied(0));
        assert_eq!(change(Host::LessThanAsked, 3), lied(0));
        assert_eq!(change(Host::SkipsPage(1), 3), lied(PAGE));
        // Even if the page has what was asked for: nobody said so to the other cores.
        assert_eq!(change(Host::Idle, 1), lied(0));
    }

    #[test]
    fn permissions_are_shown_as_usual() {
        let shown = [Permissions::R, Permissions::RW, Permissions::RX].map(|p| p.to_string());
        assert_eq!(shown, ["r--", "rw-", "r-x"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever the host does, an error never leaves a page with more than it had.
        #[test]
        fn no_host_can_add_a_permission(
            hosts in prop::sample::select(vec![
                Host::Honest, Host::Refuses, Host::Idle, Host::LessThanAsked, Host::SkipsPage(0), Host::SkipsPage(1),
            ]),
            flags in prop::sample::select(vec![1u64, 3, 5]),
            executable in any::<bool>(),
        ) {
            let table = Epcm::new(hosts, flags);
            let to = if executable { Permissions::RX } else { Permissions::RW };
            let result = change(&table, 0, 2 * PAGE, to);
            for page in table.pages.borrow().iter().take(2) {
                let now = page & RWX;
                match result {
                    Ok(()) => prop_assert_eq!(now, to.bits()),
                    Err(_) => prop_assert_eq!(now & !flags, 0),
                }
            }
            prop_assert!(!*table.worst.borrow());
        }
    }
}
