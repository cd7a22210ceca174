//! `meta/modality.json`, by which GR00T finds its way in a LeRobot dataset.

use engraft_core::{Dimension, RobotSpec};
use serde_json::{Map, Value, json};

/// Where it lies.
pub(crate) const MODALITY_PATH: &str = "meta/modality.json";

/// GR00T's description of a dataset of this robot that we wrote: one slice for each vector, the
/// cameras by their names, and the task.
///
/// ```
/// # use engraft_core::{Dimension, RobotSpec};
/// # let dimension = Dimension::new("elbow", "rad");
/// # let spec = RobotSpec {
/// #     name: "arm".into(), control_hz: 10.0, views: vec![],
/// #     proprio: vec![dimension.clone(), dimension.clone()], actions: vec![dimension],
/// # };
/// let modality = engraft_datasets::modality(&spec);
/// assert_eq!(modality["state"]["state"]["end"], 2);
/// assert_eq!(modality["action"]["action"]["original_key"], "action");
/// ```
pub fn modality(spec: &RobotSpec) -> Value {
    let slice = |name: &str, key: &str, dimensions: &[Dimension]| {
        let slice = json!({ "start": 0, "end": dimensions.len(), "original_key": key });
        let named = (!dimensions.is_empty()).then(|| (name.to_owned(), slice));
        Value::Object(named.into_iter().collect())
    };
    let view = |name: &String| {
        (name.clone(), json!({ "original_key": format!("observation.images.{name}") }))
    };
    let video: Map<String, Value> = spec.views.iter().map(|spec| view(&spec.name)).collect();
    json!({
        "state": slice("state", "observation.state", &spec.proprio),
        "action": slice("action", "action", &spec.actions),
        "video": video,
        "annotation": { "human.action.task_description": { "original_key": "task_index" } },
    })
}
