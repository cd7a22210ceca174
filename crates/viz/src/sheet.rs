//! A whole rollout on one sheet of paper, for those without a viewer.

use embedded_graphics::text::Alignment;
use engraft_core::{AttentionMap, RgbImage, Rollout};

use crate::canvas::{Canvas, Font};
use crate::style::{Rgb, outcome};
use crate::trace::traces;
use crate::{overlay, sheet_curves, viridis};

pub(crate) const PAPER: Rgb = [0xff; 3];
pub(crate) const INK: Rgb = [0x1b, 0x1f, 0x26];
pub(crate) const MUTED: Rgb = [0x6a, 0x72, 0x80];
/// Where a picture is missing.
const BLANK: Rgb = [0xee, 0xf0, 0xf3];
const MARGIN: usize = 28;
const GAP: usize = 8;
/// From the upper edge to the first row.
const HEADER: usize = 92;
/// What a row says above its pictures.
const LABEL: usize = 22;
const MIN_WIDTH: usize = 720;

/// What a contact sheet shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetOptions {
    /// Frames side by side, from the first step to the last.
    pub num_frames: usize,
    /// Columns of each picture.
    pub tile_width: usize,
    /// Whether there is a row for each attention map.
    pub attention: bool,
    /// Whether predicted and executed actions are drawn below.
    pub curves: bool,
}

impl Default for SheetOptions {
    fn default() -> Self {
        Self { num_frames: 8, tile_width: 160, attention: true, curves: true }
    }
}

/// One row of pictures: a view, or one tap's attention over it.
struct Row {
    view: usize,
    tap: Option<String>,
    label: String,
    tile_height: usize,
}

/// Draws a rollout: task and outcome, frames evenly spaced from the first step to the last, where
/// the policy looked, and below them what it predicted beside what was executed.
///
/// An attention map is drawn over the picture that it was computed from: that of the same step,
/// or of the latest step before it that has one.
pub fn contact_sheet(rollout: &Rollout, options: &SheetOptions) -> RgbImage {
    let num_frames = options.num_frames.clamp(1, 64);
    let tile_width = options.tile_width.clamp(16, 1024);
    let frames = frame_steps(rollout.steps.len(), num_frames);
    let content = (num_frames * (tile_width + GAP) - GAP).max(MIN_WIDTH);
    let rows = rows(rollout, tile_width, options.attention);
    let traces = if options.curves { traces(rollout) } else { vec![] };

    let pictures: usize = rows.iter().map(|row| LABEL + row.tile_height + GAP).sum();
    let steps_line = if frames.is_empty() { 0 } else { LABEL };
    let curves = sheet_curves::height(traces.len(), content);
    let height = HEADER + steps_line + pictures + curves + MARGIN;
    let mut canvas = Canvas::new(content + 2 * MARGIN, height, PAPER);

    header(&mut canvas, rollout, content);
    let mut top = HEADER;
    for (column, &step) in frames.iter().enumerate() {
        let x = MARGIN + column * (tile_width + GAP);
        let number = format!("step {step}");
        canvas.text(&number, x, top, Font::Bold, INK, Alignment::Left);
        let time = format!("{:.1} s", rollout.steps[step].time_secs);
        let after = Font::Bold.width(&number) + 10;
        if after + Font::Normal.width(&time) <= tile_width {
            canvas.text(&time, x + after, top, Font::Normal, MUTED, Alignment::Left);
        }
    }
    top += steps_line;
    for row in &rows {
        row_label(&mut canvas, row, top);
        top += LABEL;
        for (column, &step) in frames.iter().enumerate() {
            let x = MARGIN + column * (tile_width + GAP);
            if let Some(picture) = tile(rollout, row, step, tile_width) {
                canvas.paste(&picture, x, top);
            } else {
                canvas.block(x, top, [tile_width, row.tile_height], 0, BLANK);
                let (x, y) = (x + tile_width / 2, top + row.tile_height / 2);
                let what = if row.tap.is_some() { "no map" } else { "no picture" };
                canvas.text(what, x, y.saturating_sub(6), Font::Small, MUTED, Alignment::Center);
            }
        }
        top += row.tile_height + GAP;
    }
    let place = sheet_curves::Place { x: MARGIN, y: top, width: content };
    sheet_curves::draw(&mut canvas, &place, &traces, rollout.steps.len(), &frames);
    canvas.into_image()
}

/// Steps evenly spaced from the first to the last; all of them where there are few.
fn frame_steps(num_steps: usize, num_frames: usize) -> Vec<usize> {
    if num_steps <= num_frames {
        return (0..num_steps).collect();
    }
    if num_frames == 1 {
        return vec![num_steps - 1];
    }
    let spaces = num_frames - 1;
    (0..num_frames).map(|i| (i * (num_steps - 1) + spaces / 2) / spaces).collect()
}

/// The rows of a rollout: each view, and below it its taps in the order in which they appear.
fn rows(rollout: &Rollout, tile_width: usize, attention: bool) -> Vec<Row> {
    let seen = rollout.steps.iter().map(|step| step.observation.views.len()).max().unwrap_or(0);
    let mut rows = Vec::new();
    for view in 0..seen {
        let spec = rollout.spec.views.get(view);
        let name = spec.map_or_else(|| format!("view {view}"), |spec| spec.name.clone());
        let picture = rollout.steps.iter().find_map(|step| step.observation.views.get(view));
        let (width, height) = picture.map_or((1, 1), |view| (view.rgb.width(), view.rgb.height()));
        let tile_height = (tile_width * height / width).clamp(8, 4 * tile_width);
        rows.push(Row { view, tap: None, label: name.clone(), tile_height });
        let mut taps: Vec<&String> = Vec::new();
        for map in rollout.steps.iter().flat_map(|step| &step.attention) {
            if attention && map.view == view && !taps.contains(&&map.tap) {
                taps.push(&map.tap);
            }
        }
        rows.extend(taps.into_iter().map(|tap| Row {
            view,
            tap: Some(tap.clone()),
            label: format!("{name}: where {tap} looks"),
            tile_height,
        }));
    }
    rows
}

fn header(canvas: &mut Canvas, rollout: &Rollout, content: usize) {
    let (word, fill) = outcome(rollout.outcome);
    let badge = Font::Bold.width(word) + 24;
    canvas.block(MARGIN + content - badge, 26, [badge, 24], 12, fill);
    let middle = MARGIN + content - badge / 2;
    canvas.text(word, middle, 31, Font::Bold, PAPER, Alignment::Center);

    let title = if rollout.task.is_empty() { "rollout" } else { &rollout.task };
    let title = Font::Title.fit(title, content - badge - 16);
    canvas.text(&title, MARGIN, 28, Font::Title, INK, Alignment::Left);

    let secs = rollout.steps.last().map_or(0.0, |step| step.time_secs);
    let limited = rollout.steps.iter().filter(|step| !step.limited.is_empty()).count();
    let mut facts = vec![
        format!("instance {}", rollout.instance),
        format!("seed {}", rollout.seed),
        format!("{} steps in {secs:.1} s", rollout.steps.len()),
        rollout.spec.name.clone(),
    ];
    if limited > 0 {
        facts.push(format!("limits changed {limited} steps"));
    }
    let facts = Font::Normal.fit(&facts.join("  \u{b7}  "), content);
    canvas.text(&facts, MARGIN, 56, Font::Normal, MUTED, Alignment::Left);
}

/// The row's name; for attention, what its colours mean.
fn row_label(canvas: &mut Canvas, row: &Row, top: usize) {
    let y = top + 5;
    canvas.text(&row.label, MARGIN, y, Font::Normal, MUTED, Alignment::Left);
    if row.tap.is_some() {
        let x = MARGIN + Font::Normal.width(&row.label) + 16;
        canvas.text("least", x, y, Font::Small, MUTED, Alignment::Left);
        let bar = x + 36;
        for i in 0..64 {
            canvas.block(bar + i, y + 2, [1, 8], 0, viridis(i as f32 / 63.0));
        }
        canvas.text("most", bar + 70, y, Font::Small, MUTED, Alignment::Left);
    }
}

/// One picture of a row, at the sheet's size.
fn tile(rollout: &Rollout, row: &Row, step: usize, tile_width: usize) -> Option<RgbImage> {
    let picture = |step: usize| {
        let view = rollout.steps[step].observation.views.get(row.view)?;
        Some(view.rgb.resize(tile_width, row.tile_height))
    };
    let Some(tap) = &row.tap else {
        return picture(step);
    };
    let wanted = |map: &&AttentionMap| map.view == row.view && map.tap == *tap;
    let (step, map) = (0..=step)
        .rev()
        .find_map(|step| Some((step, rollout.steps[step].attention.iter().find(wanted)?)))?;
    overlay(&picture(step)?, map).ok()
}

#[cfg(test)]
mod tests {
    use engraft_core::View;

    use super::*;
    use crate::trace::tests::rollout;

    fn seen() -> Rollout {
        let mut rollout = rollout(&[(0.0, Some(&[0.0, 0.1])), (0.1, None), (0.2, None)]);
        for (i, step) in rollout.steps.iter_mut().enumerate() {
            let rgb = RgbImage::filled(40, 20, [100 * i as u8; 3]);
            step.observation.views = vec![View { rgb, depth: None }];
        }
        let weights = vec![0.0, 1.0];
        let map = AttentionMap { view: 0, tap: "layer_4".into(), width: 2, height: 1, weights };
        rollout.steps[0].attention = vec![map];
        rollout
    }

    #[test]
    fn frames_run_from_the_first_step_to_the_last() {
        assert_eq!(frame_steps(101, 5), [0, 25, 50, 75, 100]);
        assert_eq!(frame_steps(3, 8), [0, 1, 2]);
        assert_eq!(frame_steps(9, 1), [8]);
        assert_eq!(frame_steps(0, 4), [] as [usize; 0]);
    }

    #[test]
    fn the_sheet_is_as_wide_as_its_frames_and_as_high_as_its_rows() {
        let options = SheetOptions { num_frames: 5, curves: false, ..SheetOptions::default() };
        let sheet = contact_sheet(&seen(), &options);
        assert_eq!(sheet.width(), 2 * 28 + 5 * 160 + 4 * 8);
        assert_eq!(sheet.height(), 92 + 22 + 2 * (22 + 80 + 8) + 28);
        let with_curves = contact_sheet(&seen(), &SheetOptions { curves: true, ..options });
        assert!(with_curves.height() > sheet.height() + 100);
    }

    #[test]
    fn pictures_stand_in_their_columns_and_maps_over_the_picture_they_were_made_from() {
        let options = SheetOptions { curves: false, ..SheetOptions::default() };
        let sheet = contact_sheet(&seen(), &options);
        let row = 92 + 22 + 22 + 40;
        assert_eq!(sheet.pixel(28 + 168 + 80, row), [100; 3]);
        assert_eq!(sheet.pixel(28 + 2 * 168 + 80, row), [200; 3]);
        // Steps 1 and 2 have no map of their own: both show that of step 0, over step 0.
        let row = row + 22 + 88;
        let yellow = viridis(1.0).map(|channel| channel.div_ceil(2));
        for column in 0..3 {
            assert_eq!(sheet.pixel(28 + column * 168 + 100, row), yellow, "column {column}");
            assert_eq!(sheet.pixel(28 + column * 168 + 60, row), [34, 1, 42]);
        }
    }

    #[test]
    fn a_rollout_of_nothing_is_a_sheet_with_a_header() {
        let mut nothing = rollout(&[]);
        nothing.spec.actions.clear();
        let sheet = contact_sheet(&nothing, &SheetOptions::default());
        assert_eq!(sheet.height(), 92 + 28);
        assert!(sheet.pixels().iter().any(|&channel| channel < 100), "the title is missing");
    }

    #[test]
    fn a_missing_view_or_a_broken_map_leaves_a_blank() {
        let mut rollout = seen();
        rollout.steps[0].attention[0].weights.clear();
        rollout.steps[1].observation.views.clear();
        let sheet =
            contact_sheet(&rollout, &SheetOptions { curves: false, ..SheetOptions::default() });
        assert_eq!(sheet.pixel(28 + 168 + 2, 92 + 22 + 22 + 2), BLANK);
        assert_eq!(sheet.pixel(30, 92 + 22 + 22 + 88 + 22 + 2), BLANK);
    }
}
