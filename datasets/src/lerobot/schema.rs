//! The data table that we write: features as LeRobot announces them, columns as it reads them.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, FixedSizeListArray, Float32Array, Float64Array, Int64Array, RecordBatch,
    StringArray, StructArray,
};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};
use engraft_core::{Dimension, RobotSpec};
use serde_json::{Value, json};

use super::features::{ACTION, CAPTURES, DEPTH, Feature, IMAGES, INDICES, STATE};
use super::json::{Names, Ordered};

/// One episode on its way to disk.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) num_steps: usize,
    pub(super) proprio: Vec<f32>,
    pub(super) actions: Vec<f32>,
    /// One per view: a PNG per step.
    pub(super) rgb: Vec<Vec<Vec<u8>>>,
    /// One per view, empty where it measures no depth.
    pub(super) depth: Vec<Vec<Vec<u8>>>,
    /// When its steps were captured, where that is kept.
    pub(super) capture: Option<Capture>,
}

/// When the steps of an episode were captured.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Capture {
    /// Seconds since the first step.
    pub(super) secs: Vec<f64>,
    /// Nominal frames that were skipped before each step.
    pub(super) dropped: Vec<i64>,
}

/// Where an episode stands in its dataset.
pub(super) struct Place {
    pub(super) episode: usize,
    /// Steps of all episodes before.
    pub(super) first_index: usize,
    pub(super) task: usize,
}

/// The column of a view's picture.
pub(super) fn rgb_column(view: &str) -> String {
    format!("{IMAGES}{view}")
}

/// The column of a view's depth.
pub(super) fn depth_column(view: &str) -> String {
    format!("{DEPTH}{view}")
}

/// The features of a robot's dataset, in the order of their columns.
pub(super) fn features(spec: &RobotSpec, has_capture: bool) -> Ordered<Feature> {
    let vector = |dims: &[Dimension]| Feature {
        dtype: "float32".into(),
        shape: vec![dims.len()],
        names: Names::list(dims.iter().map(|dimension| &*dimension.name)),
        info: None,
    };
    let picture = |height, width, channels| Feature {
        dtype: "image".into(),
        shape: vec![height, width, channels],
        names: Names::list(["height", "width", "channels"]),
        info: None,
    };
    let mut all = Vec::new();
    if spec.proprio_dim() > 0 {
        all.push((STATE.to_owned(), vector(&spec.proprio)));
    }
    all.push((ACTION.to_owned(), vector(&spec.actions)));
    for view in &spec.views {
        all.push((rgb_column(&view.name), picture(view.height, view.width, 3)));
    }
    for view in spec.views.iter().filter(|view| view.depth) {
        let info = Some(json!({ "is_depth_map": true, "depth_unit": "mm" }));
        let depth = Feature { info, ..picture(view.height, view.width, 1) };
        all.push((depth_column(&view.name), depth));
    }
    let captures = CAPTURES.into_iter().filter(|_| has_capture);
    for (name, dtype) in captures.chain(INDICES) {
        let scalar =
            Feature { dtype: dtype.into(), shape: vec![1], names: Names::default(), info: None };
        all.push((name.to_owned(), scalar));
    }
    Ordered(all)
}

/// Frame times as LeRobot computes them: the index over the rate, in single precision.
pub(super) fn timestamps(num_steps: usize, fps: f32) -> Vec<f32> {
    (0..num_steps).map(|step| (step as f64 / f64::from(fps)) as f32).collect()
}

/// The columns of an episode.
pub(super) fn batch(
    spec: &RobotSpec,
    rows: &Rows,
    place: &Place,
) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    if spec.proprio_dim() > 0 {
        columns.push((STATE.into(), vectors(&rows.proprio, spec.proprio_dim())?));
    }
    columns.push((ACTION.into(), vectors(&rows.actions, spec.action_dim())?));
    for (view, rgb) in spec.views.iter().zip(&rows.rgb) {
        columns.push((rgb_column(&view.name), pictures(rgb)?));
    }
    for (view, depth) in spec.views.iter().zip(&rows.depth).filter(|(view, _)| view.depth) {
        columns.push((depth_column(&view.name), pictures(depth)?));
    }
    if let Some(capture) = &rows.capture {
        let [(secs, _), (dropped, _)] = CAPTURES;
        columns.push((secs.into(), Arc::new(Float64Array::from(capture.secs.clone()))));
        columns.push((dropped.into(), Arc::new(Int64Array::from(capture.dropped.clone()))));
    }
    let num_steps = rows.num_steps as i64;
    let first = place.first_index as i64;
    let whole = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let constant = |value: usize| whole(vec![value as i64; rows.num_steps]);
    let time = Float32Array::from(timestamps(rows.num_steps, spec.control_hz));
    for (name, _) in INDICES {
        let column = match name {
            "timestamp" => Arc::new(time.clone()),
            "frame_index" => whole((0..num_steps).collect()),
            "episode_index" => constant(place.episode),
            "index" => whole((first..first + num_steps).collect()),
            _ => constant(place.task),
        };
        columns.push((name.into(), column));
    }
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
        .collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn vectors(values: &[f32], width: usize) -> Result<ArrayRef, ArrowError> {
    let values: ArrayRef = Arc::new(Float32Array::from(values.to_vec()));
    if width == 1 {
        return Ok(values);
    }
    let item = Arc::new(Field::new("element", DataType::Float32, true));
    Ok(Arc::new(FixedSizeListArray::try_new(item, width as i32, values, None)?))
}

fn pictures(bytes: &[Vec<u8>]) -> Result<ArrayRef, ArrowError> {
    let total: usize = bytes.iter().map(Vec::len).sum();
    if i32::try_from(total).is_err() {
        let found = format!("an episode with {total} bytes of pictures in one column");
        return Err(ArrowError::InvalidArgumentError(found));
    }
    let names = (0..bytes.len()).map(|step| Some(format!("frame-{step:06}.png")));
    let names: StringArray = names.collect();
    let bytes = BinaryArray::from_iter_values(bytes);
    let fields = Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]);
    Ok(Arc::new(StructArray::try_new(fields, vec![Arc::new(bytes), Arc::new(names)], None)?))
}

/// What the `datasets` package wants to find in the footer.
pub(super) fn hugging_face(features: &Ordered<Feature>) -> String {
    let value = |dtype: &str| json!({ "dtype": dtype, "_type": "Value" });
    let typed = |feature: &Feature| -> Value {
        match (&*feature.dtype, &*feature.shape) {
            ("image", _) => json!({ "_type": "Image" }),
            (dtype, [1]) => value(dtype),
            (dtype, shape) => json!({
                "feature": value(dtype),
                "length": shape[0],
                "_type": "Sequence",
            }),
        }
    };
    let all = features.0.iter().map(|(name, feature)| (name.clone(), typed(feature)));
    let all = serde_json::to_string(&Ordered(all.collect())).expect("plain JSON");
    format!(r#"{{"info": {{"features": {all}}}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_steps_in_single_precision() {
        assert_eq!(timestamps(4, 10.0), [0.0, 0.1, 0.2, 0.3]);
        assert_eq!(timestamps(3, 30.0)[2], (2.0_f64 / 30.0) as f32);
    }

    #[test]
    fn hugging_face_finds_its_own_types_in_the_order_of_the_columns() {
        let feature = |dtype: &str, shape: &[usize]| Feature {
            dtype: dtype.into(),
            shape: shape.to_vec(),
            names: Names::default(),
            info: None,
        };
        let features = Ordered(vec![
            ("z".into(), feature("image", &[4, 4, 3])),
            ("a".into(), feature("float32", &[1])),
        ]);
        assert_eq!(
            hugging_face(&features),
            r#"{"info": {"features": {"z":{"_type":"Image"},"a":{"_type":"Value","dtype":"float32"}}}}"#
        );
    }
}
