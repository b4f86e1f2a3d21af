//! Moments in documents: RFC 3339 in UTC and whole seconds, `2026-11-21T17:00:00Z`, and nothing else.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// `YYYY-MM-DDTHH:MM:SSZ`; a part of a second is dropped.
pub fn format(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// Reads what [`format()`] writes; `None` for any other spelling and for moments that do not exist.
pub fn parse(text: &str) -> Option<OffsetDateTime> {
    const PATTERN: &[u8; 20] = b"dddd-dd-ddTdd:dd:ddZ";
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let fits = |(byte, pattern): (&u8, &u8)| match pattern {
        b'd' => byte.is_ascii_digit(),
        _ => byte == pattern,
    };
    if !bytes.iter().zip(PATTERN).all(fits) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u16>().ok();
    let small = |range| u8::try_from(number(range)?).ok();
    let month = Month::try_from(small(5..7)?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(0..4)?), month, small(8..10)?).ok()?;
    let time = Time::from_hms(small(11..13)?, small(14..16)?, small(17..19)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_has_one_spelling() {
        let at = OffsetDateTime::from_unix_timestamp(1_795_180_440).unwrap();
        assert_eq!(format(at), "2026-11-20T13:14:00Z");
        assert_eq!(parse("2026-11-20T13:14:00Z"), Some(at));
        for other in [
            "",
            "2026-11-20T13:14:00+00:00",
            "2026-11-20t13:14:00Z",
            "2026-11-20T13:14:00.0Z",
            "2026-11-20T13:14Z",
            "2026-02-30T13:14:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T13:14:60Z",
            "+026-11-20T13:14:00Z",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
