//! The enclave's clock as calendars tell it.

use enclave_platform::clock::Clock;
use time::{OffsetDateTime, UtcOffset};

use crate::IdentityError;

/// Now, as the host claims.
pub(crate) fn now(clock: &Clock) -> Result<OffsetDateTime, IdentityError> {
    let seconds = i64::try_from(clock.unix().as_secs()).map_err(|_| IdentityError::Clock)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IdentityError::Clock)
}

/// `YYYY-MM-DDTHH:MM:SSZ` (RFC 3339).
pub fn rfc3339(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Now, as the host claims, in RFC 3339; a clock out of range is at the epoch.
pub fn now_rfc3339(clock: &Clock) -> String {
    rfc3339(now(clock).unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_others_write_it() {
        // date -u -d @1795180455 +%FT%TZ
        let at = OffsetDateTime::from_unix_timestamp(1_795_180_455).unwrap();
        assert_eq!(rfc3339(at), "2026-11-20T13:14:15Z");
        let east = at.to_offset(UtcOffset::from_hms(2, 0, 0).unwrap());
        assert_eq!(rfc3339(east), "2026-11-20T13:14:15Z");
    }
}
