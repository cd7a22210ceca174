//! Dynamixel X servos on a serial port: Koch, `ViperX`, `WidowX`, ALOHA.

mod bus;
mod home;
mod port;
mod setup;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codecs::dynamixel::{self as codec, HardwareError, Model, VELOCITY_UNIT, register};
use crate::description::ArmDescription;
use crate::motors::{Alarm, Health, Identity, Motors, MotorsError, Sensed};
use port::Port;

/// What is read every period: current, velocity and position.
const SENSED_FROM: u16 = 126;
const SENSED_BYTES: u16 = 10;
/// What is read when a joint is examined: all that is RAM, up to the temperature. No other answer
/// is that long, so none can be taken for it.
const EXAMINED_FROM: u16 = 64;
const EXAMINED_BYTES: u16 = 83;
/// Farthest goal that a servo takes, in ticks to either side.
const FAR: i32 = 1_048_575;
/// Fast reads that fail in a row before plain ones are used for a while, in reads.
const PATIENCE: u32 = 3;
const PAUSE: u32 = 200;

/// What a calibration says of a joint, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calibrated {
    /// Present position is what the encoder says plus this.
    pub homing_offset: i32,
    /// Smallest position.
    pub range_min: i32,
    /// Largest position.
    pub range_max: i32,
}

/// How to treat the bus.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What is granted to an answer beyond its time on the wire.
    pub margin: Duration,
    /// Silence after which every joint with torque on stops by itself: 20 ms to 2.54 s, in steps
    /// of 20 ms.
    pub watchdog: Duration,
    /// What each joint must have in its memory, if it is known.
    pub calibration: Option<Vec<Calibrated>>,
}

impl Default for Options {
    fn default() -> Self {
        let [margin, watchdog] = [3, 100].map(Duration::from_millis);
        Self { margin, watchdog, calibration: None }
    }
}

/// What went wrong on the bus since it was opened, and was got over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transactions that were tried again.
    pub retries: u64,
    /// Answers that nobody had been asked for.
    pub strays: u64,
    /// Packets of our own that the adapter handed back.
    pub echoes: u64,
}

/// Whether a joint answered in this cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Missing,
    Good,
    /// Twice: nobody can tell which of them it was.
    Doubled,
}

#[derive(Debug)]
struct Joint {
    name: Arc<str>,
    id: u8,
    model: &'static Model,
    calibrated: Option<Calibrated>,
    mode: i64,
    profile_velocity: i64,
    profile_acceleration: i64,
    torque_limit: f64,
    /// What load 1000 ‰ is in the servo's unit.
    full_load: i64,
    fast: bool,
    return_delay: Duration,
    /// Whether RAM holds what `torque` wrote there.
    configured: bool,
    /// Whether it was found to have restarted; it gets no goals until torque is switched anew.
    lost: bool,
    answer: Answer,
    error: u8,
    found: [u8; SENSED_BYTES as usize],
}

/// The servos of an arm.
#[derive(Debug)]
pub struct DynamixelMotors {
    names: Vec<String>,
    joints: Vec<Joint>,
    path: PathBuf,
    name: Arc<str>,
    baud: u32,
    period: Duration,
    options: Options,
    port: Option<Port>,
    torque: bool,
    fast_failures: u32,
    plain: u32,
    counters: Counters,
    // Kept, so that nothing is allocated at the set-point rate.
    out: Vec<u8>,
    order: Vec<usize>,
    block: Vec<u8>,
    goals: Vec<(u8, [u8; 4])>,
}

impl DynamixelMotors {
    /// Opens the port of an arm. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the port cannot be had, is in use or is too slow, or a model is not known.
    pub fn open(
        description: &ArmDescription,
        port: &Path,
        options: Options,
    ) -> Result<Self, MotorsError> {
        let baud = description.baud.unwrap_or(1_000_000);
        let calibrated = |at: usize| options.calibration.as_ref().and_then(|all| all.get(at));
        let joints = description.joints.iter().enumerate();
        let joints: Vec<_> = joints
            .map(|(at, joint)| Joint::new(joint, calibrated(at).copied()))
            .collect::<Result<_, _>>()?;
        let count = joints.len();
        Ok(Self {
            names: joints.iter().map(|joint| joint.name.to_string()).collect(),
            joints,
            path: port.into(),
            name: port.display().to_string().into(),
            baud,
            period: Duration::from_secs_f64(description.period_secs()),
            options,
            port: Some(Port::open(port, baud, Path::new(port::SYSFS))?),
            torque: false,
            fast_failures: 0,
            plain: 0,
            counters: Counters::default(),
            out: Vec::with_capacity(codec::MAX_PACKET),
            order: Vec::with_capacity(count),
            block: Vec::with_capacity(codec::MAX_PACKET),
            goals: Vec::with_capacity(count),
        })
    }

    /// What went wrong and was got over.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the next [`sense`](Motors::sense) is one fast sync read.
    pub fn reads_fast(&self) -> bool {
        self.plain == 0 && self.joints.iter().all(|joint| joint.fast)
    }

    /// Looks at an examined joint's registers, and says what is wrong.
    fn diagnose(&mut self, at: usize) -> Result<Health, MotorsError> {
        let block = &self.block;
        let value = |register: codec::Register| register.within(block, EXAMINED_FROM).unwrap_or(0);
        let joint = &mut self.joints[at];
        let torque = value(register::TORQUE_ENABLE) == 1;
        let watchdog = value(register::BUS_WATCHDOG);
        let health = Health {
            voltage_v: Some(value(register::PRESENT_VOLTAGE) as f32 * 0.1),
            temperature_c: Some(value(register::PRESENT_TEMPERATURE) as f32),
            current_a: (joint.model.current_unit_a)
                .map(|unit| value(register::PRESENT_CURRENT) as f32 * unit),
            torque,
            goal: i32::try_from(value(register::GOAL_POSITION)).ok(),
        };
        let hardware = value(register::HARDWARE_ERROR);
        if hardware != 0 {
            return Err(joint.alarm(hardware as u8));
        }
        if watchdog < 0 {
            return Err(MotorsError::Alarm {
                joint: joint.name.clone(),
                id: joint.id,
                detail: Alarm::Watchdog,
            });
        }
        let forgot = value(register::PROFILE_VELOCITY) != joint.profile_velocity
            || value(register::PROFILE_ACCELERATION) != joint.profile_acceleration;
        let dropped = self.torque && (!torque || watchdog == 0);
        if joint.lost || (joint.configured && (forgot || dropped)) {
            joint.lost = true;
            return Err(MotorsError::Restarted { joint: joint.name.clone(), id: joint.id });
        }
        Ok(health)
    }
}

impl Joint {
    /// A latched hardware error.
    fn alarm(&self, bits: u8) -> MotorsError {
        let (joint, id) = (self.name.clone(), self.id);
        MotorsError::Alarm { joint, id, detail: Alarm::Dynamixel(HardwareError(bits)) }
    }
}

impl Motors for DynamixelMotors {
    fn joints(&self) -> &[String] {
        &self.names
    }

    fn identify(&mut self) -> Result<Vec<Identity>, MotorsError> {
        if self.port.is_none() {
            self.port = Some(Port::open(&self.path, self.baud, Path::new(port::SYSFS))?);
        }
        (self.fast_failures, self.plain) = (0, 0);
        (0..self.joints.len()).map(|at| self.identify_joint(at)).collect()
    }

    fn sense(&mut self, sensed: &mut Sensed) -> Result<(), MotorsError> {
        let began = Instant::now();
        let budget = began + 2 * self.period;
        for joint in &mut self.joints {
            (joint.answer, joint.error) = (Answer::Missing, 0);
        }
        let fast = self.reads_fast();
        self.plain = self.plain.saturating_sub(1);
        self.order.clear();
        self.order.extend(0..self.joints.len());
        self.gather(fast, budget)?;
        let skipped = self.skipped();
        let missing = self.joints.iter().position(|joint| joint.answer != Answer::Good);
        if fast {
            self.fast_failures = if missing.is_some() { self.fast_failures + 1 } else { 0 };
            if self.fast_failures >= PATIENCE {
                (self.fast_failures, self.plain) = (0, PAUSE);
            }
        }
        if let Some(first) = missing {
            self.counters.retries += 1;
            let doubled = self.joints.iter_mut().filter(|joint| joint.answer == Answer::Doubled);
            doubled.for_each(|joint| joint.answer = Answer::Missing);
            // Behind a silent servo nobody may answer: the first that was missing goes last.
            let joints = &self.joints;
            self.order.retain(|&at| joints[at].answer != Answer::Good);
            if !fast && self.order.first() == Some(&first) {
                self.order.rotate_left(1);
            }
            self.gather(false, budget)?;
        }
        let mut alarmed = None;
        let mut failed = missing.filter(|&at| self.joints[at].answer != Answer::Good);
        for (at, joint) in self.joints.iter().enumerate() {
            if joint.answer != Answer::Good {
                failed = failed.or(Some(at));
                continue;
            }
            let value =
                |register: codec::Register| register.within(&joint.found, SENSED_FROM).unwrap_or(0);
            let places = (
                sensed.position.get_mut(at),
                sensed.velocity.get_mut(at),
                sensed.load_permille.get_mut(at),
            );
            if let (Some(position), Some(velocity), Some(load)) = places {
                *position = value(register::PRESENT_POSITION) as i32;
                let ticks = value(register::PRESENT_VELOCITY) as f64 * VELOCITY_UNIT;
                *velocity = ticks.round() as i32;
                let permille = value(register::PRESENT_CURRENT) * 1000 / joint.full_load;
                *load = permille.clamp(-1000, 1000) as i16;
            }
            if joint.error & 0x80 != 0 {
                alarmed = alarmed.or(Some(at));
            }
        }
        if let Some(at) = failed {
            return Err(self.missing(at, began.elapsed(), self.skipped() > skipped));
        }
        match alarmed {
            Some(at) => self
                .read_register(at, register::HARDWARE_ERROR)
                .and_then(|bits| Err(self.joints[at].alarm(bits as u8))),
            None => Ok(()),
        }
    }

    fn command(&mut self, goals: &[i32]) -> Result<(), MotorsError> {
        if goals.len() != self.joints.len() {
            let (expected, found) = (self.joints.len(), goals.len());
            let detail = format!("expected {expected} goals, found {found}: give each joint one");
            return Err(MotorsError::Refused { detail: detail.into() });
        }
        self.goals.clear();
        for (joint, &goal) in self.joints.iter().zip(goals) {
            if !(-FAR..=FAR).contains(&goal) {
                let detail = format!(
                    "joint {} (id {}) takes goals from -{FAR} to {FAR}, found {goal}: nothing was sent",
                    joint.name, joint.id
                );
                return Err(MotorsError::Refused { detail: detail.into() });
            }
            if !joint.lost {
                self.goals.push((joint.id, goal.to_le_bytes()));
            }
        }
        self.out.clear();
        let all = self.goals.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
        let goal = register::GOAL_POSITION;
        codec::sync_write(&mut self.out, goal.address, goal.width, all)
            .map_err(|error| MotorsError::Refused { detail: error.to_string().into() })?;
        self.send()
    }

    fn torque(&mut self, on: bool) -> Result<(), MotorsError> {
        if on { self.torque_on() } else { self.torque_off() }
    }

    fn examine(&mut self, joint: usize) -> Result<Health, MotorsError> {
        if joint >= self.joints.len() {
            let detail = format!("expected a joint below {}, found {joint}", self.joints.len());
            return Err(MotorsError::Refused { detail: detail.into() });
        }
        self.read(joint, EXAMINED_FROM, EXAMINED_BYTES)?;
        self.diagnose(joint)
    }

    fn when_abandoned(&self) -> &'static str {
        "with torque on, every joint stops by itself within its bus watchdog's time, 100 ms unless \
         set otherwise, and holds there"
    }
}
