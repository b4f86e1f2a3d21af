//! Titles out of an RSS feed: just enough XML for that.

/// The first `most` titles of items.
pub fn titles(feed: &str, most: usize) -> Vec<String> {
    let items = feed.split("<item").skip(1);
    items.filter_map(title).filter(|title| !title.is_empty()).take(most).collect()
}

fn title(item: &str) -> Option<String> {
    let item = item.split("</item>").next()?;
    let (_, rest) = item.split_once("<title")?;
    let (_, rest) = rest.split_once('>')?;
    let (text, _) = rest.split_once("</title>")?;
    let text = text.trim();
    let text = match text.strip_prefix("<![CDATA[").and_then(|text| text.strip_suffix("]]>")) {
        Some(verbatim) => verbatim.to_owned(),
        None => without_entities(text),
    };
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn without_entities(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, entity)) = rest.split_once('&') {
        out.push_str(before);
        match entity.split_once(';').and_then(|(name, after)| Some((character(name)?, after))) {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => {
                out.push('&');
                rest = entity;
            }
        }
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    let code = match name {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => name.strip_prefix('#')?,
    };
    let code = match code.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => code.parse(),
    };
    char::from_u32(code.ok()?)
}
