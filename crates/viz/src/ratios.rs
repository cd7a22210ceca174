//! Ratios beside the bars that they are meant to stay below.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::axis::{log_ticks, short};
use crate::chart::{self, Entry, INK, axis, bold, font, px, rgb, svg};

const WIDTH: u32 = 980;
/// Pixels that a row takes.
const ROW: f64 = 22.0;
/// Pixels that the names take.
const NAMES: f64 = 290.0;
/// Pixels at the right for the numbers.
const NUMBERS: f64 = 60.0;

const KEPT: [u8; 3] = [0x2f, 0x9e, 0x6e];
const MISSED: [u8; 3] = [0xd6, 0x4a, 0x5c];
const UNJUDGED: [u8; 3] = [0x8a, 0x8f, 0x98];

/// How much of something one takes beside another.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratio {
    /// What of.
    pub name: String,
    /// Ours over theirs; below 1 ours takes less.
    pub ratio: f64,
    /// The most that it should be.
    pub bar: Option<f64>,
}

impl Ratio {
    fn color(&self) -> [u8; 3] {
        match self.bar {
            None => UNJUDGED,
            Some(bar) if self.ratio <= bar => KEPT,
            Some(_) => MISSED,
        }
    }
}

/// Ratios as horizontal bars on a logarithmic axis that grow from 1 to either side; a tick marks
/// the bar of each, and the colour says whether it is kept.
///
/// What is no positive number is left out.
pub fn ratio_bars(title: &str, ratios: &[Ratio]) -> String {
    let fits = |ratio: &&Ratio| ratio.ratio.is_finite() && ratio.ratio > 0.0;
    let ratios: Vec<&Ratio> = ratios.iter().filter(fits).collect();
    let entry =
        |text: &str, color| Entry { text: text.into(), ink: rgb(color).mix(0.85), width: 10.0 };
    let entries = [
        entry("within its bar", KEPT),
        entry("above its bar", MISSED),
        entry("no bar set", UNJUDGED),
        Entry { text: "the bar".into(), ink: INK.mix(0.9), width: 3.0 },
    ];
    let inner = f64::from(WIDTH) - 20.0;
    let heading = chart::heading_height(title, &entries, inner);
    let rows = ratios.len() as f64;
    let foot = 40.0;
    let height = heading + rows.max(1.0) * ROW + foot;
    svg(WIDTH, height as u32, title, |area| {
        chart::heading(area, title, &entries, 8.0, inner);
        let (_, area) = area.split_vertically(px(heading));
        if ratios.is_empty() {
            let middle = [f64::from(WIDTH) / 2.0, ROW];
            chart::text(&area, "nothing to compare", middle, &font(13.0, 0.6), HPos::Center);
            return;
        }
        let all = || ratios.iter().flat_map(|ratio| [Some(ratio.ratio), ratio.bar]).flatten();
        let low = all().fold(0.5, f64::min).log10() - 0.05;
        let high = all().fold(2.0, f64::max).log10() + 0.05;
        let (plot, numbers) = area.split_horizontally(px(f64::from(WIDTH) - NUMBERS));
        let say = |value: f64| short(10.0_f64.powf(value));
        let nothing = |_: f64| String::new();
        let x = axis([low, high], log_ticks(low, high));
        // Rows run downwards.
        let y = axis([-rows, 0.0], vec![]);
        let mut chart = chart::plot(&plot, x, y, [&say, &nothing], [NAMES, 26.0]);
        for (row, ratio) in ratios.iter().enumerate() {
            let middle = -(row as f64) - 0.5;
            let end = ratio.ratio.log10();
            let (from, to) = (end.min(0.0), end.max(0.0));
            let ink = rgb(ratio.color()).mix(0.85);
            chart::bar(&mut chart, [from, middle - 0.34], [to, middle + 0.34], ink);
            if let Some(bar) = ratio.bar {
                let at = bar.log10();
                let tick = vec![[at, middle - 0.42], [at, middle + 0.42]];
                chart::line(&mut chart, &tick, INK.mix(0.9), 2.0);
            }
            let (_, y) = chart.backend_coord(&(0.0, middle));
            let (_, top) = plot.get_base_pixel();
            let y = f64::from(y - top) / f64::from(chart::FINE);
            chart::text(&plot, &ratio.name, [NAMES - 10.0, y], &font(11.5, 0.9), HPos::Right);
            chart::text(
                &numbers,
                &format!("{:.2}", ratio.ratio),
                [4.0, y],
                &bold(11.5),
                HPos::Left,
            );
        }
        chart::line(&mut chart, &vec![[0.0, -rows], [0.0, 0.0]], INK.mix(0.8), 1.5);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(name: &str, ratio: f64, bar: Option<f64>) -> Ratio {
        Ratio { name: name.into(), ratio, bar }
    }

    #[test]
    fn colours_say_which_bars_are_kept() {
        assert_eq!(ratio("", 0.9, Some(1.0)).color(), KEPT);
        assert_eq!(ratio("", 1.0, Some(1.0)).color(), KEPT);
        assert_eq!(ratio("", 1.01, Some(1.0)).color(), MISSED);
        assert_eq!(ratio("", 5.0, None).color(), UNJUDGED);
    }

    #[test]
    fn every_ratio_has_its_name_and_number_and_what_is_none_is_left_out() {
        let ratios = [
            ratio("forward/a<b>/b1", 0.5, Some(1.0)),
            ratio("step/c/b32", 12.345, Some(1.0)),
            ratio("broken", f64::NAN, None),
            ratio("negative", -1.0, None),
        ];
        let figure = ratio_bars("ratios", &ratios);
        assert!(figure.contains("forward/a&lt;b&gt;/b1") && figure.contains("12.35"), "{figure}");
        assert!(figure.contains("0.50") && !figure.contains("broken"));
        assert!(!figure.contains("negative") && !figure.contains("NaN"));
        assert!(ratio_bars("none", &[]).contains("nothing to compare"));
    }
}
