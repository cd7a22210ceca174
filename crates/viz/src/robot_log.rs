//! How what a robot senses and does is logged, in datasets and rollouts alike.

use std::collections::BTreeSet;

use engraft_core::{ActionChunk, AttentionMap, Observation, RgbImage, RobotSpec};
use rerun::components::{MarkerShape, MediaType};
use rerun::datatypes::ChannelDatatype;
use rerun::{Clear, DepthImage, EncodedImage, Scalars, SeriesLines, SeriesPoints};

use crate::stream::{RecordingError, Stream, path, unique};
use crate::style::{EXECUTED, LIMITED, PREDICTED, series};
use crate::trace::title;
use crate::{overlay, png_bytes};

/// The names of a robot's parts, as its entities have them.
pub(crate) struct RobotLog {
    pub(crate) spec: RobotSpec,
    pub(crate) views: Vec<String>,
    proprio: Vec<String>,
    pub(crate) actions: Vec<String>,
    lanes: Lanes,
}

/// Lines for predicted chunks. Chunks that overlap need a line each, or they would be joined.
#[derive(Default)]
struct Lanes {
    /// For each line, the step at which its latest chunk is cleared.
    cleared: Vec<usize>,
}

impl Lanes {
    /// A line that is free from `first` to `cleared`, and whether it is new.
    fn take(&mut self, first: usize, cleared: usize) -> (usize, bool) {
        let free = self.cleared.iter().position(|end| *end < first);
        let lane = free.unwrap_or_else(|| {
            self.cleared.push(0);
            self.cleared.len() - 1
        });
        self.cleared[lane] = cleared;
        (lane, free.is_none())
    }
}

fn picture(image: &RgbImage) -> EncodedImage {
    EncodedImage::new(png_bytes(image)).with_media_type(MediaType::png())
}

impl RobotLog {
    /// Names every series, once and for all.
    pub(crate) fn new(spec: RobotSpec, stream: &Stream) -> Result<Self, RecordingError> {
        let log = Self {
            views: unique(spec.views.iter().map(|view| view.name.as_str())),
            proprio: unique(spec.proprio.iter().map(|dimension| dimension.name.as_str())),
            actions: unique(spec.actions.iter().map(|dimension| dimension.name.as_str())),
            spec,
            lanes: Lanes::default(),
        };
        for (i, (name, dimension)) in log.proprio.iter().zip(&log.spec.proprio).enumerate() {
            let style = SeriesLines::new().with_names([title(dimension)]).with_colors([series(i)]);
            stream.log_static(path(&["proprio", name]), &style)?;
        }
        for name in &log.actions {
            let style = SeriesLines::new().with_names(["executed"]).with_colors([EXECUTED]);
            let executed = path(&["action", name, "executed"]);
            stream.log_static(executed, &style.with_widths([2.5]))?;
            let style = SeriesPoints::new().with_names(["changed by a limit"]);
            let style = style.with_colors([LIMITED]).with_markers([MarkerShape::Circle]);
            let limited = path(&["action", name, "limited"]);
            stream.log_static(limited, &style.with_marker_sizes([4.0]))?;
        }
        Ok(log)
    }

    /// The name of a view.
    pub(crate) fn view(&self, view: usize) -> String {
        self.views.get(view).cloned().unwrap_or_else(|| format!("view {view}"))
    }

    /// Pictures, depths and proprio.
    pub(crate) fn observation(
        &self,
        stream: &Stream,
        observation: &Observation,
    ) -> Result<(), RecordingError> {
        for (i, view) in observation.views.iter().enumerate() {
            let name = self.view(i);
            stream.log(path(&["camera", &name]), &picture(&view.rgb))?;
            if let Some(depth) = &view.depth {
                let bytes: Vec<u8> = depth.metres().iter().flat_map(|m| m.to_le_bytes()).collect();
                let size = [depth.width() as u32, depth.height() as u32];
                let image = DepthImage::from_data_type_and_bytes(bytes, size, ChannelDatatype::F32);
                stream.log(path(&["depth", &name]), &image.with_meter(1.0))?;
            }
        }
        for (name, value) in self.proprio.iter().zip(&observation.proprio) {
            stream.log(path(&["proprio", name]), &Scalars::single(f64::from(*value)))?;
        }
        Ok(())
    }

    /// What was sent to the arm, and which dimensions a limit changed.
    pub(crate) fn action(
        &self,
        stream: &Stream,
        action: &[f32],
        limited: &[usize],
    ) -> Result<(), RecordingError> {
        for (i, (name, value)) in self.actions.iter().zip(action).enumerate() {
            let value = Scalars::single(f64::from(*value));
            stream.log(path(&["action", name, "executed"]), &value)?;
            if limited.contains(&i) {
                stream.log(path(&["action", name, "limited"]), &value)?;
            }
        }
        Ok(())
    }

    /// A chunk, drawn over the steps for which it is meant.
    pub(crate) fn chunk(
        &mut self,
        stream: &Stream,
        chunk: &ActionChunk,
        step: usize,
        secs: f64,
    ) -> Result<(), RecordingError> {
        let horizon = chunk.horizon();
        let (lane, new) = self.lanes.take(step, step + horizon);
        let lane = format!("{lane:02}");
        let period = self.spec.period_secs();
        let secs_at = |ahead: usize| secs + ahead as f64 * period;
        for (i, name) in self.actions.iter().enumerate().take(chunk.action_dim()) {
            let path = path(&["action", name, "predicted", &lane]);
            if new {
                let style = SeriesLines::new().with_names(["predicted"]).with_colors([PREDICTED]);
                stream.log_static(path.clone(), &style.with_widths([1.25]))?;
            }
            let steps = (0..horizon).map(|ahead| (step + ahead) as i64);
            let secs = (0..horizon).map(secs_at).collect::<Vec<_>>();
            let secs = secs.iter().all(|secs| secs.is_finite()).then_some(secs);
            let values = chunk.actions().map(|action| f64::from(action[i]));
            stream.log_series(path.clone(), steps, secs, values)?;
            stream.at(step + horizon, secs_at(horizon));
            stream.log(path, &Clear::flat())?;
        }
        stream.at(step, secs);
        Ok(())
    }

    /// Attention maps, each over the picture that it was made from. A map that does not fit its
    /// own size, or has no picture, is left out. Says which views and taps there were.
    pub(crate) fn attention(
        &self,
        stream: &Stream,
        observation: &Observation,
        maps: &[AttentionMap],
    ) -> Result<BTreeSet<(String, String)>, RecordingError> {
        let mut seen = BTreeSet::new();
        for map in maps {
            let Some(view) = observation.views.get(map.view) else { continue };
            if let Ok(blend) = overlay(&view.rgb, map) {
                let name = self.view(map.view);
                stream.log(path(&["attention", &name, &map.tap]), &picture(&blend))?;
                seen.insert((name, map.tap.clone()));
            }
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_overlap_get_a_line_each_and_others_share() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.take(0, 8), (0, true));
        assert_eq!(lanes.take(4, 12), (1, true));
        assert_eq!(lanes.take(8, 16), (2, true)); // line 0 is cleared at 8 itself
        assert_eq!(lanes.take(9, 17), (0, false));
        assert_eq!(lanes.take(13, 21), (1, false));
    }
}
