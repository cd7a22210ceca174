//! The lower half of a contact sheet: one panel per action dimension.

use embedded_graphics::text::Alignment;

use crate::axis::{short, ticks, whole_ticks};
use crate::canvas::{Canvas, Font};
use crate::sheet::{INK, MUTED};
use crate::style::{EXECUTED, LIMITED, PREDICTED, Rgb};
use crate::trace::{Line, Trace};

/// Panels are drawn this many times larger and shrunk, which smooths their lines.
const FINE: usize = 4;
/// The legend's height, with the air above it.
const LEGEND: usize = 44;
const PLOT: usize = 104;
/// A panel's title above its plot, and its ticks below.
const TITLE: usize = 20;
const FOOT: usize = 22;
/// Room for the values' ticks.
const GUTTER: usize = 46;
const GAP: usize = 20;
const MIN_PANEL: usize = 250;

const GROUND: Rgb = [0xf6, 0xf7, 0xf9];
const GRID: Rgb = [0xe2, 0xe5, 0xea];
const FRAME: Rgb = [0xd3, 0xd8, 0xe0];

/// Where the panels go.
pub(crate) struct Place {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
}

/// Rows and columns of panels that fill `width` evenly.
fn grid(num_panels: usize, width: usize) -> (usize, usize) {
    let most = ((width + GAP) / (MIN_PANEL + GAP)).max(1);
    let rows = num_panels.div_ceil(most).max(1);
    (rows, num_panels.div_ceil(rows).max(1))
}

/// The height that the panels need.
pub(crate) fn height(num_panels: usize, width: usize) -> usize {
    if num_panels == 0 { 0 } else { LEGEND + grid(num_panels, width).0 * (TITLE + PLOT + FOOT) }
}

/// Draws all panels; `frames` are the steps whose pictures stand above.
pub(crate) fn draw(
    canvas: &mut Canvas,
    place: &Place,
    traces: &[Trace],
    num_steps: usize,
    frames: &[usize],
) {
    if traces.is_empty() {
        return;
    }
    legend(canvas, place, traces);
    let (_, columns) = grid(traces.len(), place.width);
    let panel = (place.width - (columns - 1) * GAP) / columns;
    for (i, trace) in traces.iter().enumerate() {
        let x = place.x + i % columns * (panel + GAP);
        let y = place.y + LEGEND + i / columns * (TITLE + PLOT + FOOT);
        let title = Font::Bold.fit(&trace.title, panel - GUTTER);
        canvas.text(&title, x + GUTTER, y, Font::Bold, INK, Alignment::Left);
        let scale = Scale {
            width: panel - GUTTER,
            last: num_steps.saturating_sub(1).max(1) as f64,
            range: trace.range,
        };
        canvas.paste(&plot(trace, &scale, frames), x + GUTTER, y + TITLE);
        for tick in ticks(trace.range[0], trace.range[1], 4) {
            let at = y + TITLE + scale.y(tick) as usize / FINE;
            let at = at.saturating_sub(6);
            canvas.text(&short(tick), x + GUTTER - 5, at, Font::Small, MUTED, Alignment::Right);
        }
        for tick in whole_ticks(0.0, scale.last, 5) {
            let text = short(tick);
            let half = Font::Small.width(&text) / 2;
            let at = (scale.x(tick) as usize / FINE).clamp(half, scale.width - half);
            let (x, y) = (x + GUTTER + at, y + TITLE + PLOT + 3);
            canvas.text(&text, x, y, Font::Small, MUTED, Alignment::Center);
        }
    }
}

fn legend(canvas: &mut Canvas, place: &Place, traces: &[Trace]) {
    let y = place.y + 12;
    canvas.text("actions by step", place.x, y, Font::Normal, MUTED, Alignment::Left);
    let mut x = place.x + GUTTER + 90;
    let mut entry = |canvas: &mut Canvas, text: &str, ink: Rgb, thick: usize| {
        canvas.block(x, y + 7 - thick / 2, [22, thick], 0, ink);
        canvas.text(text, x + 30, y, Font::Normal, INK, Alignment::Left);
        x += 30 + Font::Normal.width(text) + 28;
    };
    entry(canvas, "executed", EXECUTED, 3);
    if traces.iter().any(|trace| !trace.predicted.is_empty()) {
        entry(canvas, "predicted chunks", PREDICTED, 2);
    }
    if traces.iter().any(|trace| !trace.limited.is_empty()) {
        entry(canvas, "changed by a limit", LIMITED, 5);
    }
}

/// From steps and values to fine pixels.
struct Scale {
    width: usize,
    last: f64,
    range: [f64; 2],
}

impl Scale {
    fn x(&self, step: f64) -> i32 {
        let inside = (self.width - 1) as f64;
        ((0.5 + step / self.last * inside) * FINE as f64).round() as i32
    }

    fn y(&self, value: f64) -> i32 {
        let [min, max] = self.range;
        ((max - value) / (max - min) * (PLOT * FINE) as f64).round() as i32
    }

    fn line(&self, line: &Line) -> Vec<[i32; 2]> {
        let mut points: Vec<_> = line.iter().map(|&[x, y]| [self.x(x), self.y(y)]).collect();
        points.dedup();
        points
    }
}

fn plot(trace: &Trace, scale: &Scale, frames: &[usize]) -> engraft_core::RgbImage {
    let (width, height) = (scale.width * FINE, PLOT * FINE);
    let mut fine = Canvas::new(width, height, GROUND);
    let thin = FINE as u32;
    for tick in ticks(trace.range[0], trace.range[1], 4) {
        let y = scale.y(tick);
        fine.line([0, y], [width as i32, y], thin, GRID);
    }
    for &step in frames {
        let x = scale.x(step as f64);
        fine.line([x, 0], [x, height as i32], thin, FRAME);
    }
    for line in &trace.executed {
        fine.polyline(&scale.line(line), 2 * thin, EXECUTED);
    }
    for line in &trace.predicted {
        let points = scale.line(line);
        fine.polyline(&points, thin + 1, PREDICTED);
        fine.dot(points[0], 4 * thin, PREDICTED);
    }
    for &[step, value] in &trace.limited {
        fine.dot([scale.x(step), scale.y(value)], 5 * thin, LIMITED);
    }
    fine.into_image().resize(scale.width, PLOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_fill_their_rows_evenly() {
        assert_eq!(grid(1, 1336), (1, 1));
        assert_eq!(grid(5, 1336), (1, 5));
        assert_eq!(grid(7, 1336), (2, 4));
        assert_eq!(grid(7, 100), (7, 1));
        assert_eq!(height(0, 1336), 0);
    }

    #[test]
    fn the_largest_value_is_at_the_top_and_the_last_step_at_the_right() {
        let scale = Scale { width: 101, last: 100.0, range: [-1.0, 1.0] };
        assert_eq!((scale.y(1.0), scale.y(-1.0)), (0, (PLOT * FINE) as i32));
        assert_eq!((scale.x(0.0), scale.x(100.0)), (2, 402));
    }
}
