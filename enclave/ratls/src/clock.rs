//! The enclave's clock as calendars tell it.

use enclave_platform::clock::Clock;
use time::OffsetDateTime;

use crate::IdentityError;

/// Now, as the host claims.
pub(crate) fn now(clock: &Clock) -> Result<OffsetDateTime, IdentityError> {
    let seconds = i64::try_from(clock.unix().as_secs()).map_err(|_| IdentityError::Clock)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IdentityError::Clock)
}

/// Now, as the host claims; the epoch for a claim that no calendar has.
pub fn claimed_now(clock: &Clock) -> OffsetDateTime {
    now(clock).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
