//! What the viewer shows where.

use std::collections::BTreeSet;

use rerun::blueprint::{
    Blueprint, BlueprintPanel, ContainerLike, Grid, Horizontal, SelectionPanel, Spatial2DView,
    Tabs, TextDocumentView, TextLogView, TimePanel, TimeSeriesView, Vertical,
    components::PanelState,
};

use crate::robot_log::RobotLog;
use crate::stream::path;

fn grid(name: &str, columns: usize, views: Vec<ContainerLike>) -> ContainerLike {
    let columns = columns.clamp(1, views.len().max(1));
    Grid::new(views).with_name(name).with_grid_columns(columns as u32).into()
}

/// `root` with the side panels out of the way, on the timeline `step`.
fn laid_out(root: impl Into<ContainerLike>) -> Blueprint {
    laid_out_on("step", root)
}

fn laid_out_on(timeline: &str, root: impl Into<ContainerLike>) -> Blueprint {
    let time = TimePanel::new().with_timeline(timeline).with_state(PanelState::Collapsed);
    Blueprint::new(root)
        .with_auto_views(false)
        .with_auto_layout(false)
        .with_blueprint_panel(BlueprintPanel::from_state(PanelState::Collapsed))
        .with_selection_panel(SelectionPanel::from_state(PanelState::Collapsed))
        .with_time_panel(time)
}

/// Pictures at the left; actions and proprio at the right.
pub(crate) fn robot(log: &RobotLog, attention: &BTreeSet<(String, String)>) -> Blueprint {
    let mut pictures = Vec::new();
    let camera = |view: &String| {
        Spatial2DView::new(view.clone()).with_origin(path(&["camera", view])).into()
    };
    pictures.push(grid("cameras", 2, log.views.iter().map(camera).collect()));
    if !attention.is_empty() {
        let map = |(view, tap): &(String, String)| {
            let origin = path(&["attention", view, tap]);
            Spatial2DView::new(format!("{view} {tap}")).with_origin(origin).into()
        };
        // A row for each view, where all views have the same taps.
        let taps: BTreeSet<&String> = attention.iter().map(|(_, tap)| tap).collect();
        pictures.push(grid("attention", taps.len(), attention.iter().map(map).collect()));
    }
    let deep = log.views.iter().zip(&log.spec.views).filter(|(_, spec)| spec.depth);
    let depth: Vec<ContainerLike> = deep
        .map(|(view, _)| {
            Spatial2DView::new(format!("{view} depth")).with_origin(path(&["depth", view])).into()
        })
        .collect();
    if !depth.is_empty() {
        pictures.push(grid("depth", 2, depth));
    }
    let words = Tabs::new([
        TextDocumentView::new("about").with_origin("about").into(),
        TextLogView::new("events").with_origin("events").into(),
    ]);
    let shares: Vec<f32> = pictures.iter().map(|_| 1.0).chain([0.5]).collect();
    let left = Vertical::new(pictures.into_iter().chain([words.into()])).with_row_shares(shares);

    let action = |name: &String| {
        TimeSeriesView::new(name.clone()).with_origin(path(&["action", name])).into()
    };
    let actions = grid("actions", 2, log.actions.iter().map(action).collect());
    let proprio = TimeSeriesView::new("proprio").with_origin("proprio");
    let right = Vertical::new([actions, proprio.into()]).with_row_shares([2.0, 1.0]);
    laid_out(Horizontal::new([left.into(), right.into()]).with_column_shares([1.0, 1.2]))
}

/// A plot per joint at the left; loads, temperatures, lateness and events at the right.
pub(crate) fn arm(joints: &[String]) -> Blueprint {
    let joint = |name: &String| {
        TimeSeriesView::new(name.clone()).with_origin(path(&["joint", name])).into()
    };
    let left = grid("joints", 2, joints.iter().map(joint).collect());
    let plot = |name: &str| TimeSeriesView::new(name).with_origin(name).into();
    let right = Vertical::new([
        plot("load"),
        plot("temperature"),
        plot("lateness"),
        TextLogView::new("events").with_origin("events").into(),
    ]);
    laid_out_on("time", Horizontal::new([left, right.into()]).with_column_shares([1.6, 1.0]))
}

/// One plot per metric.
pub(crate) fn training(metrics: &BTreeSet<String>) -> Blueprint {
    let plot = |metric: &String| {
        TimeSeriesView::new(metric.clone()).with_origin(path(&["training", metric])).into()
    };
    let columns = if metrics.len() > 2 { 2 } else { 1 };
    laid_out(Vertical::new([grid("training", columns, metrics.iter().map(plot).collect())]))
}
