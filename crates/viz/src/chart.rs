//! What figures share: fine SVG through plotters, its ink, its text, its legend.
//!
//! plotters rounds to whole units and knows no page colour. So everything is drawn [`FINE`] times
//! larger than it is shown, and what is drawn in [`INK`] takes the colour of the page's text.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::style::Rgb;
use crate::trace::Line;

/// Units per pixel.
pub(crate) const FINE: i32 = 4;
/// Stands for the colour of the page's text.
pub(crate) const INK: RGBColor = RGBColor(1, 2, 3);
const INK_WRITTEN: &str = "#010203";
const FONTS: &str = "Inter, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif";

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// Drawing into text cannot fail; what could (numbers that are none) is sorted out before.
const DRAWN: &str = "SVG is drawn into memory";

/// Pixels to units.
pub(crate) fn px(pixels: f64) -> i32 {
    (pixels * f64::from(FINE)).round() as i32
}

pub(crate) fn rgb([r, g, b]: Rgb) -> RGBColor {
    RGBColor(r, g, b)
}

/// A figure of `width` by `height` pixels; `label` is what a screen reader says.
pub(crate) fn svg(width: u32, height: u32, label: &str, draw: impl FnOnce(&Area<'_>)) -> String {
    let mut text = String::new();
    let fine = FINE as u32;
    {
        let backend = SVGBackend::with_string(&mut text, (width * fine, height * fine));
        let area = backend.into_drawing_area();
        draw(&area);
        area.present().expect(DRAWN);
    }
    let body = text.split_once('>').map_or("", |(_, body)| body);
    let body = body.replace(INK_WRITTEN, "currentColor");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"figure\" role=\"img\" \
         aria-label=\"{}\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" \
         stroke-linejoin=\"round\" stroke-linecap=\"round\" \
         style=\"max-width:100%;height:auto\">{body}",
        escape(label),
        width * fine,
        height * fine,
    )
}

/// Text that stands in HTML or XML as it is, with what XML cannot hold left out.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A text style: size in pixels, and how much of the ink.
pub(crate) fn font(size: f64, strength: f64) -> TextStyle<'static> {
    styled(size, FontStyle::Normal, strength)
}

/// The same in full ink, bold.
pub(crate) fn bold(size: f64) -> TextStyle<'static> {
    styled(size, FontStyle::Bold, 1.0)
}

fn styled(size: f64, style: FontStyle, strength: f64) -> TextStyle<'static> {
    // plotters divides by 1.24 when it writes.
    let font = (FONTS, size * 1.24 * f64::from(FINE), style).into_font();
    let color = INK.mix(strength).to_backend_color();
    TextStyle { font, color, pos: Pos::new(HPos::Left, VPos::Center) }
}

/// Draws text at a place in pixels.
pub(crate) fn text(area: &Area<'_>, said: &str, at: [f64; 2], style: &TextStyle<'_>, to: HPos) {
    // plotters escapes markup; what XML cannot hold at all goes here.
    let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let style = style.pos(Pos::new(to, VPos::Center));
    area.draw_text(&said, &style, (px(at[0]), px(at[1]))).expect(DRAWN);
}

/// Roughly how wide text is, in pixels.
pub(crate) fn text_width(said: &str, size: f64) -> f64 {
    said.chars().count() as f64 * size * 0.56
}

/// A range with its ticks.
pub(crate) fn axis(range: [f64; 2], ticks: Vec<f64>) -> Axis {
    Axis { coord: (range[0]..range[1]).into(), ticks }
}

/// A range of numbers, with ticks where we want them.
pub(crate) struct Axis {
    coord: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.coord.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { vec![] } else { self.ticks.clone() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.coord.range()
    }
}

/// The plot's frame within `area`: room for ticks at the left and below, grid and ticks drawn.
pub(crate) fn plot<'a, 'b>(
    area: &'a Area<'b>,
    x: Axis,
    y: Axis,
    say: [&dyn Fn(f64) -> String; 2],
    room: [f64; 2],
) -> Chart<'a, 'b> {
    let mut chart = ChartBuilder::on(area)
        .margin_right(px(10.0))
        .margin_top(px(8.0))
        .y_label_area_size(px(room[0]))
        .x_label_area_size(px(room[1]))
        .build_cartesian_2d(x, y)
        .expect(DRAWN);
    chart
        .configure_mesh()
        .bold_line_style(INK.mix(0.12).stroke_width(FINE as u32))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.mix(0.35).stroke_width(FINE as u32))
        .label_style(font(11.5, 0.65))
        .set_all_tick_mark_size(px(3.0))
        .x_label_formatter(&|value| say[0](*value))
        .y_label_formatter(&|value| say[1](*value))
        .draw()
        .expect(DRAWN);
    chart
}

/// A line through `points`, `width` pixels thick.
pub(crate) fn line(chart: &mut Chart<'_, '_>, points: &Line, ink: RGBAColor, width: f64) {
    let style = ink.stroke_width(px(width) as u32);
    if points.len() == 1 {
        dot(chart, points[0], ink, width);
    } else {
        let path = PathElement::new(points.iter().map(|&[x, y]| (x, y)).collect::<Vec<_>>(), style);
        chart.draw_series([path]).expect(DRAWN);
    }
}

/// A filled circle, `radius` pixels large.
pub(crate) fn dot(chart: &mut Chart<'_, '_>, [x, y]: [f64; 2], ink: RGBAColor, radius: f64) {
    chart.draw_series([Circle::new((x, y), px(radius), ink.filled())]).expect(DRAWN);
}

/// A filled rectangle between two points.
pub(crate) fn bar(chart: &mut Chart<'_, '_>, low: [f64; 2], high: [f64; 2], ink: RGBAColor) {
    let corners = [(low[0], low[1]), (high[0], high[1])];
    chart.draw_series([Rectangle::new(corners, ink.filled())]).expect(DRAWN);
}

/// What a stroke means.
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) ink: RGBAColor,
    pub(crate) width: f64,
}

const ENTRY: f64 = 12.5;

/// Entries in lines of at most `width` pixels, each with its place.
fn entries_placed(entries: &[Entry], width: f64) -> (Vec<[f64; 2]>, f64) {
    let (mut x, mut y) = (0.0, 0.0);
    let places = entries.iter().map(|entry| {
        let wide = 24.0 + text_width(&entry.text, ENTRY) + 20.0;
        if x > 0.0 && x + wide > width {
            (x, y) = (0.0, y + 19.0);
        }
        let place = [x, y];
        x += wide;
        place
    });
    let places: Vec<_> = places.collect();
    let height = places.last().map_or(0.0, |place| place[1] + 19.0);
    (places, height)
}

/// The title and legend of a figure, and the height that they take in pixels.
pub(crate) fn heading_height(title: &str, entries: &[Entry], width: f64) -> f64 {
    let title = if title.is_empty() { 0.0 } else { 26.0 };
    4.0 + title + entries_placed(entries, width).1
}

/// Draws title and legend at the upper left, `left` pixels in.
pub(crate) fn heading(area: &Area<'_>, title: &str, entries: &[Entry], left: f64, width: f64) {
    let mut top = 4.0;
    if !title.is_empty() {
        text(area, title, [left, top + 10.0], &bold(15.0), HPos::Left);
        top += 26.0;
    }
    let (places, _) = entries_placed(entries, width);
    for (entry, [x, y]) in entries.iter().zip(places) {
        let (x, y) = (left + x, top + y + 8.0);
        let half = entry.width / 2.0;
        let corners = [(px(x), px(y - half)), (px(x + 16.0), px(y + half))];
        area.draw(&Rectangle::new(corners, entry.ink.filled())).expect(DRAWN);
        text(area, &entry.text, [x + 22.0, y], &font(ENTRY, 0.85), HPos::Left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_takes_the_colour_of_the_page() {
        let figure = svg(10, 10, "a <b>", |area| {
            text(area, "x & <y>", [1.0, 1.0], &font(10.0, 1.0), HPos::Left);
        });
        assert!(figure.contains("fill=\"currentColor\""));
        assert!(figure.contains("aria-label=\"a &lt;b&gt;\""));
        assert!(figure.contains("x &amp; &lt;y&gt;"));
        assert!(figure.contains("viewBox=\"0 0 40 40\"") && figure.ends_with("</svg>\n"));
    }

    #[test]
    fn entries_that_do_not_fit_start_a_line() {
        let entry = |text: &str| Entry { text: text.into(), ink: INK.mix(1.0), width: 2.0 };
        let entries = [entry("one"), entry("two"), entry("three")];
        let (places, height) = entries_placed(&entries, 140.0);
        assert_eq!(places[0], [0.0, 0.0]);
        assert_eq!(places[2], [0.0, 19.0]);
        assert_eq!(height, 38.0);
    }

    #[test]
    fn what_xml_cannot_hold_is_left_out() {
        assert_eq!(escape("a\u{0}b'\""), "a b&#39;&quot;");
    }
}
