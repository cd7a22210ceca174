//! An arm while it runs, for the rerun viewer: what its bridge says of it.

use rerun::{Scalars, SeriesLines, TextLog, TextLogLevel};

use crate::layout;
use crate::stream::{RecordingError, Sink, Stream, path, unique};
use crate::style::{EXECUTED, LIMITED, PREDICTED, Rgb, series};

/// One joint at one moment. Angles are in radians.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct JointMoment {
    /// Where it is.
    pub position_rad: f64,
    /// Where it is sent to.
    pub goal_rad: f64,
    /// How hard it pushes, as a part of its most.
    pub load: f64,
    /// How hot it is, where it says so.
    pub temperature_c: Option<f32>,
}

/// An arm at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ArmMoment {
    /// Seconds since its bridge began.
    pub time_secs: f64,
    /// Set-points since then.
    pub ticks: u64,
    /// Its joints, in order.
    pub joints: Vec<JointMoment>,
    /// How late the control loop was, in microseconds: the median, p99, p99.9 and the worst.
    pub lateness_micros: [u64; 4],
}

/// An arm that is being recorded, with bounds that are drawn beside each joint.
pub struct ArmRecording {
    stream: Stream,
    joints: Vec<String>,
    bounds_rad: Vec<[f64; 2]>,
}

/// How late the loop was, as the lines are called.
const LATENESS: [&str; 4] = ["p50", "p99", "p99.9", "worst"];

impl ArmRecording {
    /// Opens a recording of an arm, given its joints' names and bounds.
    ///
    /// # Errors
    ///
    /// When a sink cannot be opened.
    pub fn open(
        name: &str,
        joints: &[(String, [f64; 2])],
        sinks: &[Sink],
    ) -> Result<Self, RecordingError> {
        let stream = Stream::open("engraft_arm", name, sinks)?;
        let bounds_rad = joints.iter().map(|(_, bounds)| *bounds).collect();
        let joints = unique(joints.iter().map(|(name, _)| name.as_str()));
        let recording = Self { stream, joints, bounds_rad };
        let line = |parts: &[&str], name: &str, color: Rgb| {
            let style = SeriesLines::new().with_names([name]).with_colors([color]);
            recording.stream.log_static(path(parts), &style)
        };
        for (i, joint) in recording.joints.iter().enumerate() {
            for (part, color) in [
                ("position", EXECUTED),
                ("goal", PREDICTED),
                ("smallest", LIMITED),
                ("largest", LIMITED),
            ] {
                line(&["joint", joint, part], part, color)?;
            }
            line(&["load", joint], joint, series(i))?;
            line(&["temperature", joint], joint, series(i))?;
        }
        for (i, name) in LATENESS.into_iter().enumerate() {
            line(&["lateness", name], &format!("{name} (us)"), series(i))?;
        }
        recording.stream.lay_out(&layout::arm(&recording.joints))?;
        Ok(recording)
    }

    /// Records a moment.
    ///
    /// # Errors
    ///
    /// When rerun does not take it.
    pub fn moment(&self, moment: &ArmMoment) -> Result<(), RecordingError> {
        self.stream.at(usize::try_from(moment.ticks).unwrap_or(usize::MAX), moment.time_secs);
        let scalar =
            |parts: &[&str], value: f64| self.stream.log(path(parts), &Scalars::single(value));
        for ((name, joint), [min, max]) in
            self.joints.iter().zip(&moment.joints).zip(&self.bounds_rad)
        {
            scalar(&["joint", name, "position"], joint.position_rad)?;
            scalar(&["joint", name, "goal"], joint.goal_rad)?;
            scalar(&["joint", name, "smallest"], *min)?;
            scalar(&["joint", name, "largest"], *max)?;
            scalar(&["load", name], joint.load)?;
            if let Some(celsius) = joint.temperature_c {
                scalar(&["temperature", name], f64::from(celsius))?;
            }
        }
        for (name, micros) in LATENESS.into_iter().zip(moment.lateness_micros) {
            scalar(&["lateness", name], micros as f64)?;
        }
        Ok(())
    }

    /// Records in words what happened, at the time of the last moment; `bad` stands out.
    ///
    /// # Errors
    ///
    /// When rerun does not take it.
    pub fn event(&self, text: &str, bad: bool) -> Result<(), RecordingError> {
        let level = if bad { TextLogLevel::ERROR } else { TextLogLevel::INFO };
        self.stream.log(path(&["events"]), &TextLog::new(text).with_level(level))
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// When not all of it reached its place.
    pub fn finish(self) -> Result<(), RecordingError> {
        self.stream.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::tests::rows;

    #[test]
    fn an_arm_reopens_with_everything_that_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("arm.rrd");
        let joints = [("elbow".to_owned(), [-1.0, 1.0]), ("wrist".to_owned(), [-2.0, 2.0])];
        let recording = ArmRecording::open("so101", &joints, &[Sink::File(file.clone())]).unwrap();
        let cold = JointMoment { position_rad: 0.1, goal_rad: 0.2, ..JointMoment::default() };
        let hot = JointMoment { temperature_c: Some(40.0), ..cold };
        for ticks in 0..5 {
            let time_secs = ticks as f64 * 0.02;
            let joints = vec![cold, hot];
            let moment = ArmMoment { time_secs, ticks, joints, lateness_micros: [1, 2, 3, 4] };
            recording.moment(&moment).unwrap();
        }
        recording.event("Ready -> Fault (HungUp)", true).unwrap();
        recording.finish().unwrap();
        let rows = rows(&file);
        let count = |entity: &str| rows.get(entity).copied().unwrap_or_default();
        // A series has one row more, which holds its name and colour.
        for part in ["position", "goal", "smallest", "largest"] {
            assert_eq!(count(&format!("/joint/elbow/{part}")), 6, "{part}");
        }
        assert_eq!([count("/temperature/elbow"), count("/temperature/wrist")], [1, 6]);
        assert_eq!([count("/lateness/p50"), count("/load/wrist"), count("/events")], [6, 6, 1]);
    }
}
