//! The cameras of the simulator that the arm is in, over a connection of their own.

use std::time::{Duration, Instant};

use engraft_core::{RobotSpec, View, ViewSpec};
use engraft_wire::simulator::{Answer, Description, Joints, Request, Sight};
use engraft_wire::{SimulatorSocket, SocketError};

use super::{Eyes, EyesError};
use crate::units::{JointScales, microradians};

/// How long it may take to connect, to place everything and to draw for the first time.
const READY: Duration = Duration::from_secs(10);
/// How long a picture may take. The arm holds long before.
const LOOK: Duration = Duration::from_secs(1);
/// How long the simulated clock may stand still.
const STILL: Duration = Duration::from_secs(1);

/// A simulator's cameras.
pub struct RemoteEyes {
    /// Where the simulator's arm listens.
    endpoint: String,
    scales: Vec<JointScales>,
    description: Description,
    /// What the policy looks through, and which of the simulator's cameras each is.
    views: Vec<ViewSpec>,
    cameras: Vec<usize>,
    socket: SimulatorSocket,
    /// The simulated time of the last picture, and since when it is that.
    seen: (f64, Instant),
    success: Option<bool>,
}

impl RemoteEyes {
    /// Those cameras that a policy with this contract looks through. Pictures get the size that it
    /// was trained with.
    ///
    /// # Errors
    ///
    /// When no simulator answers at `endpoint`, or it has no such cameras.
    pub fn connect(
        endpoint: &str,
        spec: &RobotSpec,
        scales: Vec<JointScales>,
    ) -> Result<Self, EyesError> {
        let (description, socket) = open(endpoint)?;
        let mut cameras = Vec::with_capacity(spec.views.len());
        for view in &spec.views {
            let known = description.views.iter();
            let found = known
                .clone()
                .position(|known| known.name == view.name && (known.depth || !view.depth));
            let Some(camera) = found.filter(|_| view.width > 0 && view.height > 0) else {
                let known: Vec<_> = known.map(name).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                let wanted = name(view);
                let detail = format!("the policy looks through {wanted}, there are {known}");
                return failed(endpoint, detail);
            };
            cameras.push(camera);
        }
        Ok(Self {
            endpoint: endpoint.to_owned(),
            scales,
            description,
            views: spec.views.clone(),
            cameras,
            socket,
            seen: (f64::NEG_INFINITY, Instant::now()),
            success: None,
        })
    }

    fn ask(&mut self, request: &Request, patience: Duration) -> Result<Answer, EyesError> {
        let answer = self.socket.ask(request, patience);
        match answer.map_err(|error| unanswered(&self.endpoint, &error))? {
            Answer::Error { detail } => failed(&self.endpoint, detail),
            answer => Ok(answer),
        }
    }

    fn sight(&mut self, patience: Duration) -> Result<Vec<View>, EyesError> {
        let Answer::Sight(sight) = self.ask(&Request::Look, patience)? else {
            return failed(&self.endpoint, "it answers `look` with something else");
        };
        let Sight { time_secs, success, observation } = *sight;
        let described = &self.description.views;
        let same = |(view, spec): (&View, &ViewSpec)| {
            let size = (view.rgb.width(), view.rgb.height());
            size == (spec.width, spec.height) && view.depth.is_some() == spec.depth
        };
        let all = observation.views.len() == described.len();
        if !all || !observation.views.iter().zip(described).all(same) {
            return failed(&self.endpoint, "its pictures are not those that it described");
        }
        if time_secs > self.seen.0 {
            self.seen = (time_secs, Instant::now());
        } else if self.seen.1.elapsed() > STILL {
            let detail = format!("its clock stands still at {time_secs} s: does its physics run?");
            return failed(&self.endpoint, detail);
        }
        if success.is_some() {
            self.success = Some(success == Some(true) || self.success == Some(true));
        }
        let views = self.cameras.iter().zip(&self.views).filter_map(|(&camera, spec)| {
            let seen = observation.views.get(camera)?;
            let depth = seen.depth.as_ref().filter(|_| spec.depth);
            Some(View {
                rgb: seen.rgb.resize(spec.width, spec.height),
                depth: depth.map(|depth| depth.resize(spec.width, spec.height)),
            })
        });
        Ok(views.collect())
    }

    /// Simulated angles in the policy's units.
    fn start(&self, start_rad: &Joints) -> Result<Vec<f32>, EyesError> {
        let angles = start_rad.as_slice();
        if angles.len() != self.scales.len() {
            let (expected, found) = (self.scales.len(), angles.len());
            return failed(
                &self.endpoint,
                format!("start_rad: expected {expected}, found {found}"),
            );
        }
        let mut start = Vec::with_capacity(angles.len());
        for (scales, angle_rad) in self.scales.iter().zip(angles) {
            let Some(ticks) = microradians(*angle_rad) else {
                return failed(
                    &self.endpoint,
                    format!("start_rad: no joint is at {angle_rad} rad"),
                );
            };
            start.push(scales.policy.value(ticks) as f32);
        }
        Ok(start)
    }
}

/// Finds the cameras' socket by the arm's.
fn open(endpoint: &str) -> Result<(Description, SimulatorSocket), EyesError> {
    let unanswered = |error| unanswered(endpoint, &error);
    let mut arm = SimulatorSocket::connect(endpoint).map_err(unanswered)?;
    let Answer::Description(description) =
        arm.ask(&Request::Describe, READY).map_err(unanswered)?
    else {
        return failed(endpoint, "it does not describe itself");
    };
    let host = endpoint.strip_prefix("tcp://").and_then(|address| address.rsplit_once(':'));
    let (Some(port), Some((host, _))) = (description.eyes_port, host) else {
        return failed(endpoint, "it has no eyes: does it draw, and was it given cameras?");
    };
    let eyes = SimulatorSocket::connect(&format!("tcp://{host}:{port}")).map_err(unanswered)?;
    Ok((*description, eyes))
}

fn name(view: &ViewSpec) -> String {
    if view.depth { format!("{} with depth", view.name) } else { view.name.clone() }
}

fn failed<T>(endpoint: &str, detail: impl Into<String>) -> Result<T, EyesError> {
    Err(EyesError::Simulator { endpoint: endpoint.to_owned(), detail: detail.into() })
}

fn unanswered(endpoint: &str, error: &SocketError) -> EyesError {
    EyesError::Simulator { endpoint: endpoint.to_owned(), detail: error.to_string() }
}

impl Eyes for RemoteEyes {
    fn views(&self) -> &[ViewSpec] {
        &self.views
    }

    fn task(&self) -> &str {
        &self.description.task
    }

    fn begin(&mut self, instance: usize, seed: u64) -> Result<Option<Vec<f32>>, EyesError> {
        // A simulator that began anew may draw at another port.
        if !self.socket.is_connected().unwrap_or(false) {
            let (description, socket) = open(&self.endpoint)?;
            if description.views != self.description.views {
                return failed(&self.endpoint, "it has other cameras than before");
            }
            (self.description, self.socket) = (description, socket);
        }
        let request = Request::Reset { instance: instance as u64, seed };
        let Answer::Placed { start_rad } = self.ask(&request, READY)? else {
            return failed(&self.endpoint, "it answers `reset` with something else");
        };
        self.seen = (f64::NEG_INFINITY, Instant::now());
        // The first picture takes longest, and the arm still stands.
        self.sight(READY)?;
        self.success = None;
        start_rad.map(|start_rad| self.start(&start_rad)).transpose()
    }

    fn instance_name(&self, instance: usize) -> String {
        let name = self.description.instances.get(instance);
        name.cloned().unwrap_or_else(|| format!("instance {instance}"))
    }

    fn num_instances(&self) -> usize {
        self.description.instances.len()
    }

    fn look(&mut self, _proprio: &[f32]) -> Result<Vec<View>, EyesError> {
        self.sight(LOOK)
    }

    fn success(&self) -> Option<bool> {
        self.success
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arms;
    use crate::driver::robot_spec;
    use crate::testing::simulator::{Double, Manner, arm};

    const SOON: Duration = Duration::from_secs(5);

    /// Eyes of a policy that was trained with pictures of another size.
    fn eyes(double: &Double, camera: &str) -> Result<RemoteEyes, EyesError> {
        let views = vec![ViewSpec { name: camera.into(), width: 16, height: 12, depth: false }];
        let spec = RobotSpec { views, ..crate::testing::spec() };
        let scales = arms::scales(&arm(), None).unwrap();
        RemoteEyes::connect(&double.endpoint(), &spec, scales)
    }

    #[test]
    fn an_episode_begins_where_the_simulator_says_and_pictures_have_the_policy_s_size() {
        let double = Double::start();
        let mut eyes = eyes(&double, "front").unwrap();
        assert_eq!((eyes.num_instances(), &*eyes.instance_name(1)), (2, "right"));
        let start = eyes.begin(1, 7).unwrap().unwrap();
        // The gripper's joint is at -0.5 rad, which is half closed.
        assert_eq!(start, [0.0, 0.1, 0.5]);
        assert_eq!(double.world().resets, [(1, 7)]);
        assert_eq!(eyes.success(), None);
        let views = eyes.look(&[]).unwrap();
        assert_eq!((views[0].rgb.width(), views[0].rgb.height()), (16, 12));
        assert_eq!(eyes.success(), Some(false));
        double.world().done_rad = -1.0;
        eyes.look(&[]).unwrap();
        double.world().done_rad = 1.0;
        eyes.look(&[]).unwrap();
        assert_eq!(eyes.success(), Some(true), "what was done stays done");
        let spec = robot_spec(&arm(), &eyes.scales, 10.0, &eyes, None);
        assert_eq!(spec.views, eyes.views);
    }

    #[test]
    fn a_camera_that_is_not_there_is_named_with_those_that_are() {
        let double = Double::start();
        let error = eyes(&double, "wrist").err().unwrap().to_string();
        assert!(error.ends_with("the policy looks through wrist, there are front"), "{error}");
        double.world().description.views.clear();
        let error = eyes(&double, "front").err().unwrap().to_string();
        assert!(error.ends_with("there are none"), "{error}");
        double.world().description.eyes_port = None;
        let error = eyes(&double, "front").err().unwrap().to_string();
        assert!(error.contains("it has no eyes"), "{error}");
    }

    #[test]
    fn a_picture_that_is_late_or_wrong_is_an_error_in_time_and_a_simulator_that_is_back_is_found() {
        let double = Double::start();
        let endpoint = double.endpoint();
        let mut eyes = eyes(&double, "front").unwrap();
        eyes.begin(0, 1).unwrap();
        for manner in [Manner::Refusing, Manner::Short] {
            double.world().eyes = manner;
            assert!(eyes.look(&[]).is_err(), "{manner:?}");
        }
        double.world().eyes = Manner::Silent;
        let began = Instant::now();
        let error = eyes.look(&[]).unwrap_err().to_string();
        assert!(error.contains("no answer") && began.elapsed() < SOON, "{error}");
        double.world().eyes = Manner::Well;
        double.world().description.views[0].width = 8;
        let error = eyes.look(&[]).unwrap_err().to_string();
        assert!(error.ends_with("not those that it described"), "{error}");

        drop(double);
        let began = Instant::now();
        while eyes.look(&[]).is_ok() {
            assert!(began.elapsed() < SOON, "it is not missed");
        }
        let double = Double::at(&endpoint, crate::testing::simulator::description());
        while eyes.begin(0, 2).is_err() {
            assert!(began.elapsed() < 4 * SOON, "it is not found");
        }
        assert_eq!(double.world().resets, [(0, 2)]);
        eyes.look(&[]).unwrap();
    }
}
