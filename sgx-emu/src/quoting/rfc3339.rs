//! Dates as the PCS writes them: `YYYY-MM-DDTHH:MM:SSZ`.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

pub(super) fn format(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
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

/// `None` for everything that is not of exactly this form.
pub(super) fn parse(text: &str) -> Option<OffsetDateTime> {
    let form = "dddd-dd-ddTdd:dd:ddZ";
    let fits = text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(c, f)| if f == b'd' { c.is_ascii_digit() } else { c == f });
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let month = Month::try_from(number(5, 7)?).ok()?;
    let date = Date::from_calendar_date(text.get(..4)?.parse().ok()?, month, number(8, 10)?).ok()?;
    let time = Time::from_hms(number(11, 13)?, number(14, 16)?, number(17, 19)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_back_and_others_do_not() {
        let at = OffsetDateTime::from_unix_timestamp(1_793_491_199).unwrap();
        assert_eq!(format(at), "2026-10-31T23:59:59Z");
        assert_eq!(parse(&format(at)), Some(at));
        for bad in [
            "",
            "2026-10-31",
            "2026-10-31T23:59:59+00:00",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2O26-10-31T23:59:59Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
