//! Figures as SVG: training curves, success rates, predictions beside what was executed.
//!
//! Each is a whole SVG document that also stands inside a page, and takes the page's text colour.

use engraft_core::{Rollout, wilson};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::axis::{log_ticks, short, ticks, whole_ticks};
use crate::chart::{self, Entry, INK, axis, bold, font, px, rgb, svg};
use crate::style::{EXECUTED, LIMITED, PREDICTED, series};
use crate::trace::{Line, Trace, traces};
use crate::{Bar, Curve};

const WIDTH: u32 = 940;
/// Points drawn per curve; more are averaged, since nobody sees them.
const MAX_POINTS: usize = 400;
/// Losses that span more than this are drawn on a logarithmic axis.
const LOG_SPAN: f64 = 30.0;

/// What is different among `names`, in the order of appearance.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

fn place(name: &str, names: &[&str]) -> usize {
    names.iter().position(|other| *other == name).unwrap_or(0)
}

/// Curves of several runs: a colour for each run, a stroke for each metric.
///
/// With several metrics the first, such as the training loss, is thin and pale and the others
/// are bold. The axis is logarithmic where values are positive and span more than a factor of 30.
pub fn training_curves(title: &str, curves: &[Curve]) -> String {
    let runs = distinct(curves.iter().map(|curve| curve.run.as_str()));
    let names = distinct(curves.iter().map(|curve| curve.name.as_str()));
    let shown = || {
        let points = curves.iter().flat_map(|curve| &curve.points);
        points.filter(|[x, y]| x.is_finite() && y.is_finite())
    };
    let bounds = |i: usize| {
        shown().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], point| {
            [low.min(point[i]), high.max(point[i])]
        })
    };
    let ([first, last], [low, high]) = (bounds(0), bounds(1));
    let log = low > 0.0 && high / low > LOG_SPAN;
    let height = |value: f64| if log { value.log10() } else { value };

    let stroke = |name: &str| match (place(name, &names), names.len()) {
        (0, 2..) => (0.5, 1.25),
        _ => (1.0, 2.25),
    };
    let mut entries: Vec<Entry> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        entries.push(Entry { text: (*run).into(), ink: rgb(series(i)).mix(1.0), width: 4.0 });
    }
    for name in &names {
        let (strength, width) = stroke(name);
        entries.push(Entry { text: (*name).into(), ink: INK.mix(strength * 0.8), width });
    }
    let (left, inner) = (56.0, f64::from(WIDTH) - 70.0);
    let heading = chart::heading_height(title, &entries, inner);
    svg(WIDTH, 330 + heading as u32, title, |area| {
        chart::heading(area, title, &entries, left, inner);
        let (_, area) = area.split_vertically(px(heading));
        if first > last {
            let middle = [f64::from(WIDTH) / 2.0, 150.0];
            chart::text(&area, "no points yet", middle, &font(13.0, 0.6), HPos::Center);
            return;
        }
        let xs = [first, if last > first { last } else { first + 1.0 }];
        let (low, high) = (height(low), height(high));
        let air = ((high - low) * 0.06).max(1e-9 + high.abs() * 1e-3);
        let zero = !log && low >= 0.0 && low < 0.3 * high;
        let ys = [if zero { 0.0 } else { low - air }, high + air];
        let marks = if log { log_ticks(ys[0], ys[1]) } else { ticks(ys[0], ys[1], 6) };
        let say = |value: f64| short(if log { 10.0_f64.powf(value) } else { value });
        let (x, y) = (axis(xs, ticks(xs[0], xs[1], 8)), axis(ys, marks));
        let mut chart = chart::plot(&area, x, y, [&short, &say], [left, 26.0]);
        // Thin strokes first, so that bold ones stay on top.
        let mut order: Vec<&Curve> = curves.iter().collect();
        order.sort_by_key(|curve| place(&curve.name, &names));
        for curve in order {
            let (strength, width) = stroke(&curve.name);
            let ink = rgb(series(place(&curve.run, &runs))).mix(strength);
            for points in thinned(&curve.points) {
                let points = points.into_iter().map(|[x, y]| [x, height(y)]).collect();
                chart::line(&mut chart, &points, ink, width);
            }
        }
        let place = [f64::from(WIDTH) - 12.0, 318.0];
        chart::text(&area, "step", place, &font(11.5, 0.65), HPos::Right);
    })
}

/// Unbroken lines of finite points, averaged where there are more than can be seen.
fn thinned(points: &[[f64; 2]]) -> Vec<Line> {
    let finite = |point: &[f64; 2]| point[0].is_finite() && point[1].is_finite();
    let lines = points.split(|point| !finite(point)).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let buckets = line.chunks(line.len().div_ceil(MAX_POINTS));
            let mean = |bucket: &[[f64; 2]], i: usize| {
                bucket.iter().map(|point| point[i]).sum::<f64>() / bucket.len() as f64
            };
            buckets.map(|bucket| [mean(bucket, 0), mean(bucket, 1)]).collect()
        })
        .collect()
}

/// Success rates as bars, grouped, each with its 95 % Wilson interval and its counts.
pub fn success_bars(title: &str, bars: &[Bar]) -> String {
    let groups = distinct(bars.iter().map(|bar| bar.group.as_str()));
    let labels = distinct(bars.iter().map(|bar| bar.label.as_str()));
    let entry = |(i, label): (usize, &&str)| Entry {
        text: (*label).into(),
        ink: rgb(series(i)).mix(1.0),
        width: 10.0,
    };
    let entries: Vec<Entry> = labels.iter().enumerate().map(entry).collect();
    let (left, inner) = (56.0, f64::from(WIDTH) - 70.0);
    let heading = chart::heading_height(title, &entries, inner);
    let (plot, foot) = (290.0, 46.0);
    svg(WIDTH, (heading + plot + foot) as u32, title, |area| {
        chart::heading(area, title, &entries, left, inner);
        let (_, area) = area.split_vertically(px(heading));
        // Above 100 % is room for what the bars say.
        let x = axis([0.0, groups.len().max(1) as f64], vec![]);
        let y = axis([0.0, 1.16], vec![0.0, 0.25, 0.5, 0.75, 1.0]);
        let percent = |rate: f64| format!("{:.0} %", rate * 100.0);
        let mut chart = chart::plot(&area, x, y, [&short, &percent], [left, foot]);
        let thick = (0.72 / labels.len().max(1) as f64).min(0.26);
        for bar in bars {
            let column = place(&bar.label, &labels);
            let middle = place(&bar.group, &groups) as f64 + 0.5;
            let middle = middle + (column as f64 - (labels.len() as f64 - 1.0) / 2.0) * thick;
            draw_bar(&area, &mut chart, bar, middle, thick * 0.84, series(column));
        }
        for (i, group) in groups.iter().enumerate() {
            let at = chart.backend_coord(&(i as f64 + 0.5, 0.0));
            let [x, y] = pixels(&area, at);
            chart::text(&area, group, [x, y + 34.0], &font(13.0, 0.9), HPos::Center);
        }
    })
}

/// A place of the whole figure as pixels within `area`.
fn pixels(area: &chart::Area<'_>, (x, y): (i32, i32)) -> [f64; 2] {
    let (left, top) = area.get_base_pixel();
    [x - left, y - top].map(|units| f64::from(units) / f64::from(chart::FINE))
}

fn draw_bar(
    area: &chart::Area<'_>,
    chart: &mut chart::Chart<'_, '_>,
    bar: &Bar,
    middle: f64,
    thick: f64,
    color: [u8; 3],
) {
    let half = thick / 2.0;
    let [low, high] = wilson(bar.successes as usize, bar.trials as usize);
    let top = if bar.trials > 0 { high } else { 0.0 };
    chart::bar(chart, [middle - half, 0.0], [middle + half, bar.rate()], rgb(color).mix(0.85));
    if bar.trials > 0 {
        let ink = INK.mix(0.75);
        chart::line(chart, &vec![[middle, low], [middle, high]], ink, 1.25);
        for end in [low, high] {
            let (from, to) = (middle - half * 0.28, middle + half * 0.28);
            chart::line(chart, &vec![[from, end], [to, end]], ink, 1.25);
        }
    }
    let count = format!("{} / {}", bar.successes, bar.trials);
    let (rate, count) = match bar.trials {
        0 => (String::new(), "none ran".into()),
        _ => (format!("{:.0} %", bar.rate() * 100.0), count),
    };
    let [x, y] = pixels(area, chart.backend_coord(&(middle, top)));
    chart::text(area, &rate, [x, y - 10.0], &bold(12.5), HPos::Center);
    let [x, y] = pixels(area, chart.backend_coord(&(middle, 0.0)));
    chart::text(area, &count, [x, y + 13.0], &font(11.0, 0.65), HPos::Center);
}

/// What a policy predicted beside what was executed, one panel per action dimension.
pub fn rollout_curves(title: &str, rollout: &Rollout) -> String {
    let traces = traces(rollout);
    let mut entries = vec![entry("executed", EXECUTED, 3.0)];
    if traces.iter().any(|trace| !trace.predicted.is_empty()) {
        entries.push(entry("predicted chunks", PREDICTED, 2.0));
    }
    if traces.iter().any(|trace| !trace.limited.is_empty()) {
        entries.push(entry("changed by a limit", LIMITED, 5.0));
    }
    let columns = traces.len().clamp(1, 3);
    let rows = traces.len().div_ceil(columns);
    let (panel, width) = (174, WIDTH);
    let heading = chart::heading_height(title, &entries, f64::from(width) - 20.0);
    let last = rollout.steps.len().saturating_sub(1).max(1) as f64;
    svg(width, heading as u32 + 8 + panel * rows as u32, title, |area| {
        chart::heading(area, title, &entries, 8.0, f64::from(width) - 20.0);
        let (_, area) = area.split_vertically(px(heading + 8.0));
        for (trace, area) in traces.iter().zip(area.split_evenly((rows.max(1), columns))) {
            draw_panel(&area, trace, last);
        }
    })
}

fn entry(text: &str, color: [u8; 3], width: f64) -> Entry {
    Entry { text: text.into(), ink: rgb(color).mix(1.0), width }
}

fn draw_panel(area: &chart::Area<'_>, trace: &Trace, last: f64) {
    let room = 48.0;
    chart::text(area, &trace.title, [room, 14.0], &bold(12.0), HPos::Left);
    let (_, area) = area.split_vertically(px(22.0));
    let x = axis([0.0, last], whole_ticks(0.0, last, 5));
    let y = axis(trace.range, ticks(trace.range[0], trace.range[1], 4));
    let mut chart = chart::plot(&area, x, y, [&short, &short], [room, 22.0]);
    for line in &trace.executed {
        chart::line(&mut chart, line, rgb(EXECUTED).mix(1.0), 2.25);
    }
    for line in &trace.predicted {
        let inside: Line = line.iter().copied().filter(|[step, _]| *step <= last).collect();
        chart::line(&mut chart, &inside, rgb(PREDICTED).mix(0.9), 1.25);
        chart::dot(&mut chart, line[0], rgb(PREDICTED).mix(1.0), 1.75);
    }
    for &point in &trace.limited {
        chart::dot(&mut chart, point, rgb(LIMITED).mix(1.0), 2.25);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tests::rollout;

    #[test]
    fn names_are_escaped() {
        let curves = [Curve::new("a<b>", "loss & co", vec![[0.0, 1.0], [1.0, 0.5]])];
        let figure = training_curves("\"t\" > 1", &curves);
        assert!(figure.contains("a&lt;b&gt;") && figure.contains("loss &amp; co"));
        assert!(figure.contains("&quot;t&quot; &gt; 1") && !figure.contains("<b>"));

        let bar = Bar { group: "g<".into(), label: "l&".into(), successes: 3, trials: 4 };
        let figure = success_bars("", &[bar]);
        assert!(figure.contains("g&lt;") && figure.contains("l&amp;"));
        assert!(figure.contains("75 %") && figure.contains("3 / 4"));

        let mut rollout = rollout(&[(0.0, Some(&[0.0, 0.1])), (0.1, None)]);
        rollout.spec.actions[0].name = "el<bow".into();
        assert!(rollout_curves("", &rollout).contains("el&lt;bow [rad]"));
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let points = vec![[0.0, 1.0], [1.0, f64::NAN], [2.0, f64::INFINITY], [3.0, 0.5]];
        let figure = training_curves("", &[Curve::new("run", "loss", points)]);
        assert!(!figure.contains("NaN") && !figure.contains("inf"));
    }

    #[test]
    fn nothing_to_draw_is_said_or_left_empty() {
        assert!(training_curves("", &[]).contains("no points yet"));
        let bar = Bar { group: "g".into(), label: "l".into(), successes: 0, trials: 0 };
        assert!(success_bars("", &[bar]).contains("none ran"));
        assert!(success_bars("", &[]).ends_with("</svg>\n"));
        assert!(rollout_curves("", &rollout(&[])).ends_with("</svg>\n"));
        let mut nothing = rollout(&[]);
        nothing.spec.actions.clear();
        assert!(rollout_curves("", &nothing).ends_with("</svg>\n"));
    }

    #[test]
    fn a_loss_that_falls_far_gets_a_logarithmic_axis() {
        let falling = vec![[0.0, 1.0], [1.0, 0.001]];
        let figure = training_curves("", &[Curve::new("run", "loss", falling)]);
        assert!(figure.contains("0.01\n"));
        let flat = vec![[0.0, 1.0], [1.0, 0.5]];
        let figure = training_curves("", &[Curve::new("run", "loss", flat)]);
        assert!(figure.contains("0.6\n"));
    }

    #[test]
    fn many_points_are_averaged() {
        let points: Vec<_> = (0..1000).map(|i| [f64::from(i), f64::from(i % 2)]).collect();
        let lines = thinned(&points);
        assert_eq!((lines.len(), lines[0].len()), (1, 334));
        assert_eq!(lines[0][0], [1.0, 1.0 / 3.0]);
    }
}
