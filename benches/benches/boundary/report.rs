//! Figures side by side: median, spread, and a bar.

use scenarios::platform::Platform;
use serde_json::json;

const BAR: usize = 30;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    PerSecond,
    Times,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::PerSecond => "/s",
            Self::Times => "×",
        }
    }
}

/// One measure on both platforms.
pub(crate) struct Figure {
    name: &'static str,
    unit: Unit,
    native: Vec<f64>,
    /// The image, emulated or on hardware.
    image: Vec<f64>,
}

impl Figure {
    pub(crate) fn new(name: &'static str, unit: Unit) -> Self {
        Self { name, unit, native: Vec::new(), image: Vec::new() }
    }

    pub(crate) fn add(&mut self, platform: Platform, value: f64) {
        match platform {
            Platform::Native => self.native.push(value),
            Platform::Emulated | Platform::Sgx => self.image.push(value),
        }
    }
}

/// Least, median, most.
fn spread(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    [at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1))]
}

pub(crate) fn print(figures: &[Figure], image: Platform, large: usize, as_json: bool) {
    let image_name = image.name();
    if as_json {
        let rows: Vec<_> = figures
            .iter()
            .map(
                |f| json!({ "name": f.name, "unit": f.unit.name(), "native": f.native, image_name: f.image }),
            )
            .collect();
        println!("{:#}", json!({ "large_artifact_bytes": large, "figures": rows }));
        return;
    }
    println!("\nmedian (least to most) of rounds taken by turns; the large artifact has {large} bytes");
    for figure in figures {
        let (native, image) = (spread(&figure.native), spread(&figure.image));
        println!("\n{}", figure.name);
        let longest = native[1].max(image[1]);
        for (name, [least, median, most]) in [("native", native), (image_name, image)] {
            let bar = "█".repeat(((median / longest * BAR as f64) as usize).max(1));
            let unit = figure.unit.name();
            println!("  {name:<9}{bar:<BAR$} {median:>10.2} {unit}  ({least:.2} to {most:.2})");
        }
        println!("  {image_name} / native = {:.2}", image[1] / native[1]);
    }
}
