//! Recording that never holds its caller up.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use engraft_core::{Outcome, RobotSpec, RolloutStep};

use crate::recording::{About, RolloutRecording};
use crate::stream::{FINISH_SECS, RecordingError, Sink};

/// Records a rollout on a thread of its own, while it happens.
///
/// Steps pass through a bounded channel: one that finds it full is dropped and counted, so that a
/// slow disk or a viewer that is gone never slows the control loop.
///
/// ```no_run
/// use engraft_core::Outcome;
/// use engraft_viz::{About, Recorder, Sink};
/// # fn run(spec: engraft_core::RobotSpec, steps: Vec<engraft_core::RolloutStep>)
/// #     -> Result<(), engraft_viz::RecordingError> {
/// let sinks = [Sink::File("rollout.rrd".into()), Sink::Connect("127.0.0.1:9876".into())];
/// let mut recorder = Recorder::start(spec, About::default(), &sinks, 64)?;
/// for step in steps {
///     recorder.step(step);
/// }
/// let dropped = recorder.finish(Outcome::Success)?;
/// # Ok(())
/// # }
/// ```
pub struct Recorder {
    steps: SyncSender<(usize, RolloutStep)>,
    outcome: Arc<Mutex<Outcome>>,
    done: Receiver<Result<(), RecordingError>>,
    next_index: usize,
    dropped: u64,
}

impl Recorder {
    /// Opens `sinks` and starts the thread; `capacity` steps may wait.
    ///
    /// # Errors
    ///
    /// When a sink cannot be opened, or the thread cannot be started.
    pub fn start(
        spec: RobotSpec,
        about: About,
        sinks: &[Sink],
        capacity: usize,
    ) -> Result<Self, RecordingError> {
        let recording = RolloutRecording::open(spec, about, sinks)?;
        let (steps, waiting) = sync_channel(capacity.max(1));
        let (say_done, done) = sync_channel(1);
        let outcome = Arc::new(Mutex::new(Outcome::Unknown));
        let judged = Arc::clone(&outcome);
        thread::Builder::new()
            .name("viz-recorder".into())
            .spawn(move || {
                let result = record(recording, &waiting, &judged);
                // Nobody listens where the recorder was dropped; what there is, is written.
                let _ = say_done.send(result);
            })
            .map_err(|source| RecordingError::Thread { source })?;
        Ok(Self { steps, outcome, done, next_index: 0, dropped: 0 })
    }

    /// Hands a step over, without waiting. Returns whether there was room for it.
    pub fn step(&mut self, step: RolloutStep) -> bool {
        let index = self.next_index;
        self.next_index += 1;
        match self.steps.try_send((index, step)) {
            Ok(()) => true,
            // The thread ends early on an error only, which `finish` returns.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped += 1;
                false
            }
        }
    }

    /// Steps that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Waits until everything is written, and returns how many steps were dropped.
    ///
    /// A recorder that is dropped instead leaves the outcome open, and the end of its file to
    /// luck.
    ///
    /// # Errors
    ///
    /// What went wrong since the start.
    pub fn finish(self, outcome: Outcome) -> Result<u64, RecordingError> {
        if let Ok(mut judged) = self.outcome.lock() {
            *judged = outcome;
        }
        drop(self.steps);
        // Flushing has its own limit; this one is for a sink that takes nothing at all.
        let secs = 2 * FINISH_SECS;
        match self.done.recv_timeout(Duration::from_secs(secs)) {
            Ok(result) => result.map(|()| self.dropped),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(RecordingError::Stuck { secs })
            }
        }
    }
}

fn record(
    mut recording: RolloutRecording,
    waiting: &Receiver<(usize, RolloutStep)>,
    judged: &Mutex<Outcome>,
) -> Result<(), RecordingError> {
    for (index, step) in waiting {
        recording.step(index, &step)?;
    }
    recording.finish(judged.lock().map_or(Outcome::Unknown, |judged| *judged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::tests::{rows, seen};

    #[test]
    fn what_is_recorded_aside_equals_what_is_recorded_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let [aside, at_once] = ["aside.rrd", "at_once.rrd"].map(|name| folder.path().join(name));
        let rollout = seen();
        let about = About { instance: rollout.instance.clone(), ..About::default() };
        let sinks = [Sink::File(aside.clone())];
        let mut recorder = Recorder::start(rollout.spec.clone(), about, &sinks, 8).unwrap();
        for step in rollout.steps.clone() {
            assert!(recorder.step(step));
        }
        assert_eq!(recorder.finish(Outcome::Success).unwrap(), 0);
        crate::rollout_to_rrd(&rollout, &at_once).unwrap();
        assert_eq!(rows(&aside), rows(&at_once));
    }

    #[test]
    fn a_full_channel_drops_and_counts_and_later_steps_keep_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollout.rrd");
        let rollout = seen();
        let sinks = [Sink::File(path.clone())];
        let mut recorder =
            Recorder::start(rollout.spec.clone(), About::default(), &sinks, 1).unwrap();
        let taken = (0..2000).filter(|_| recorder.step(rollout.steps[2].clone())).count();
        let dropped = recorder.dropped();
        assert_eq!(taken as u64 + dropped, 2000);
        assert!(dropped > 0, "2000 steps at once went through a channel of one");
        assert_eq!(recorder.finish(Outcome::Unknown).unwrap(), dropped);
        assert_eq!(rows(&path)["/action/elbow/executed"], taken + 1);
    }
}
