//! Recordings, written and read back.

use std::fs::File;
use std::io::BufReader;

use engraft_core::{AttentionMap, DepthImage, RgbImage, View, ViewSpec};
use rerun::external::re_log_encoding::DecoderApp;
use rerun::log::{Chunk, LogMsg};

use super::*;
use crate::trace::tests::rollout;

/// Every entity of a file's recording, with the rows that it has; blueprints are left out.
pub(crate) fn rows(path: &Path) -> std::collections::BTreeMap<String, usize> {
    let file = BufReader::new(File::open(path).unwrap());
    let mut rows = std::collections::BTreeMap::new();
    for message in DecoderApp::decode_eager(file).unwrap() {
        if let LogMsg::ArrowMsg(store, message) = message.unwrap()
            && store.is_recording()
        {
            let chunk = Chunk::from_arrow_msg(&message).unwrap();
            *rows.entry(chunk.entity_path().to_string()).or_default() += chunk.num_rows();
        }
    }
    rows
}

pub(crate) fn seen() -> Rollout {
    let mut rollout = rollout(&[(0.0, Some(&[0.0, 0.1])), (0.1, Some(&[0.5, 0.6])), (0.2, None)]);
    rollout.spec.views =
        vec![ViewSpec { name: "front cam".into(), width: 8, height: 8, depth: true }];
    for step in &mut rollout.steps {
        let depth = DepthImage::new(8, 8, vec![0.5; 64]).unwrap();
        let rgb = RgbImage::filled(8, 8, [90; 3]);
        step.observation.views = vec![View { rgb, depth: Some(depth) }];
    }
    let weights = vec![0.1; 4];
    let map = AttentionMap { view: 0, tap: "layer_4".into(), width: 2, height: 2, weights };
    rollout.steps[0].attention = vec![map];
    rollout
}

#[test]
fn a_rollout_reopens_with_everything_that_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.rrd");
    rollout_to_rrd(&seen(), &path).unwrap();
    assert_eq!(&std::fs::read(&path).unwrap()[..4], b"RRF2");
    let rows = rows(&path);
    let count = |entity: &str| rows.get(entity).copied().unwrap_or_default();
    // A series has one row more, which holds its name and colour.
    assert_eq!(count(r"/camera/front\ cam"), 3);
    assert_eq!(count(r"/depth/front\ cam"), 3);
    assert_eq!(count(r"/attention/front\ cam/layer_4"), 1);
    assert_eq!(count("/proprio/elbow"), 4);
    assert_eq!(count("/action/elbow/executed"), 4);
    assert_eq!(count("/action/elbow/limited"), 2);
    // Two chunks that overlap: a line each, with a name, two values and an end.
    assert_eq!(count("/action/elbow/predicted/00"), 4);
    assert_eq!(count("/action/elbow/predicted/01"), 4);
    assert_eq!(count("/events"), 2, "a limit and the outcome");
    assert_eq!(count("/about"), 2, "before and after");
}

#[test]
fn episodes_of_a_dataset_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.rrd");
    let steps = || seen().steps.into_iter().map(|s| (s.observation, s.action)).collect();
    let episodes = [("one".to_owned(), steps()), ("two".to_owned(), steps())];
    dataset_to_rrd("drawers", &seen().spec, episodes, &path).unwrap();
    let rows = rows(&path);
    assert_eq!(rows[r"/camera/front\ cam"], 6);
    assert_eq!(rows["/action/elbow/executed"], 7);
    assert_eq!(rows["/events"], 2);
}

#[test]
fn curves_reopen_whole_and_point_by_point() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("training.rrd");
    let curve = Curve::new("lfs", "val loss", vec![[0.0, 1.0], [1.0, f64::NAN], [2.0, 0.1]]);
    curves_to_rrd("one", &[curve], &path).unwrap();
    assert_eq!(rows(&path)[r"/training/val\ loss/lfs"], 4);

    let mut recording = TrainingRecording::open("two", &[Sink::File(path.clone())]).unwrap();
    for step in 0..5 {
        recording.point("lfs", "loss", step, 0.5).unwrap();
    }
    recording.finish().unwrap();
    assert_eq!(rows(&path)["/training/loss/lfs"], 6);
}

#[test]
fn a_viewer_that_is_not_there_is_an_error_and_no_hang() {
    // Nobody listens on the port of a listener that is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sinks = [Sink::Connect(format!("127.0.0.1:{port}"))];
    let mut recording = RolloutRecording::open(seen().spec, About::default(), &sinks).unwrap();
    recording.step(0, &seen().steps[0]).unwrap();
    let error = recording.finish(Outcome::Stopped).unwrap_err();
    assert_eq!(error.to_string(), "the recording is not complete");
}
