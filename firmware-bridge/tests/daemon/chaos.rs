//! Whatever operators, wires, servos and cables may do, drawn from a seed.

use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use engraft_wire::operator::{BridgeStatus, Verb, encode_verb};
use firmware_bridge::emulate::feetech::Bus;
use firmware_bridge::emulate::{Device, Faults};
use rand::RngExt;
use rand::seq::{IndexedMutRandom, IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Numbers that are none, or absurd.
const ODD: [f64; 7] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -1e30, 1e-310, 0.0];

/// What goes wrong between the arm and the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing any more.
    Fine,
    /// Flipped, lost and inserted bytes.
    Noise,
    /// A servo says nothing.
    Silence,
    /// A servo answers in the place of another.
    Impostor,
    /// Bytes of before.
    Stale,
    /// Answers come late.
    Delay,
    /// A servo reports something.
    Alarm,
    /// A servo's power fails for a moment.
    BrownOut,
    /// Something stands in the way of a joint.
    Wall,
    /// An encoder says the same for ever.
    StuckEncoder,
    /// The cable is pulled.
    Unplugged,
    /// The daemon's machine sleeps for a while.
    Suspended,
}

impl Weather {
    const BAD: [Self; 11] = [
        Self::Noise,
        Self::Silence,
        Self::Impostor,
        Self::Stale,
        Self::Delay,
        Self::Alarm,
        Self::BrownOut,
        Self::Wall,
        Self::StuckEncoder,
        Self::Unplugged,
        Self::Suspended,
    ];

    /// Another: fine as often as not.
    pub(crate) fn draw(random: &mut ChaCha8Rng) -> Self {
        if random.random_bool(0.5) {
            return Self::Fine;
        }
        *Self::BAD.choose(random).unwrap_or(&Self::Fine)
    }

    /// What it does to the wire.
    pub(crate) fn faults(self, random: &mut ChaCha8Rng, faults: &mut Faults) {
        let mut id = || random.random_range(1..=7_u8);
        match self {
            Self::Fine => *faults = Faults::default(),
            Self::Noise => {
                let mut part = || 10_f64.powf(random.random_range(-4.0..-2.0));
                (faults.flip, faults.lose, faults.insert) = (part(), part(), part());
            }
            Self::Silence => faults.silent = vec![id()],
            Self::Impostor => faults.impostor = Some((id(), id())),
            Self::Stale => {
                let length = random.random_range(1..60);
                faults.stale = (0..length).map(|_| random.random()).collect();
            }
            Self::Delay => faults.delay = Duration::from_millis(random.random_range(1..30)),
            _ => {}
        }
    }

    /// Whether joints can still be asked, and answer in time.
    pub(crate) fn is_audible(self) -> bool {
        matches!(self, Self::Fine | Self::Alarm | Self::BrownOut | Self::Wall | Self::StuckEncoder)
    }

    /// What it does to a servo or a joint; which servo has forgotten what it was told.
    pub(crate) fn servos(self, random: &mut ChaCha8Rng, bus: &mut Bus) -> Option<u8> {
        let id = random.random_range(1..=7_u8);
        match self {
            Self::Fine => {
                for joint in &mut bus.plant().joints {
                    (joint.wall, joint.stuck_encoder) = (None, None);
                }
                for id in 1..=7 {
                    if let Some(servo) = bus.servo(id) {
                        (servo.alarms, servo.temperature_c, servo.voltage_decivolt) = (0, 30, 74);
                    }
                }
            }
            Self::Alarm => {
                if let Some(servo) = bus.servo(id) {
                    match random.random_range(0..3) {
                        0 => servo.alarms = 1 << 5,
                        1 => servo.temperature_c = 80,
                        _ => servo.voltage_decivolt = 30,
                    }
                }
            }
            Self::BrownOut => {
                bus.restart(id);
                return Some(id);
            }
            Self::Wall | Self::StuckEncoder => {
                let joints = &mut bus.plant().joints;
                if let Some(joint) = joints.choose_mut(random) {
                    if self == Self::Wall {
                        joint.wall = Some(joint.position + random.random_range(-60.0..60.0));
                    } else {
                        joint.stuck_encoder = Some(joint.position);
                    }
                }
            }
            _ => {}
        }
        None
    }
}

/// Two operators' next verbs.
pub(crate) struct Hands {
    /// Leases that one of them had or has.
    leases: Vec<u64>,
}

impl Hands {
    pub(crate) fn new() -> Self {
        Self { leases: vec![1] }
    }

    /// A lease was given.
    pub(crate) fn got(&mut self, lease: u64) {
        if self.leases.len() > 6 {
            self.leases.remove(0);
        }
        self.leases.push(lease);
    }

    fn lease(&self, random: &mut ChaCha8Rng) -> u64 {
        // The newest, mostly.
        let any =
            if random.random_bool(0.8) { self.leases.last() } else { self.leases.choose(random) };
        any.copied().unwrap_or(1)
    }

    /// What somebody asks for, with the arm as it is.
    pub(crate) fn verb(&self, random: &mut ChaCha8Rng, status: &BridgeStatus) -> Verb {
        match random.random_range(0..100) {
            0..4 => Verb::Torque { on: false },
            4..8 => Verb::Estop,
            8..14 => Verb::Stop,
            14..18 => Verb::Start,
            18..22 => Verb::Release { lease: self.lease(random) },
            22..28 => Verb::Keep { lease: self.lease(random) },
            28..36 => self.odd(random, status),
            36..44 => Self::take(random),
            // What leads on from where it is.
            _ => match status.state.as_str() {
                "Fault" | "Estop" => Verb::Reset,
                "Idle" => Verb::Torque { on: true },
                "Ready" => Self::take(random),
                _ => self.go(random, status),
            },
        }
    }

    fn take(random: &mut ChaCha8Rng) -> Verb {
        let holder = ["one", "other"].choose(random).copied().unwrap_or_default().to_owned();
        Verb::Take { holder, steal: random.random_bool(0.3) }
    }

    /// Somewhere within reach, or a little beyond.
    fn go(&self, random: &mut ChaCha8Rng, status: &BridgeStatus) -> Verb {
        let mut waypoint = |_| {
            let joints = status.joints.iter();
            let angle = joints.map(|joint| {
                let [min, max] = joint.bounds_rad;
                random.random_range(min - 0.2..max + 0.2)
            });
            angle.collect()
        };
        let waypoints_rad = (0..3).map(&mut waypoint).collect::<Vec<Vec<f64>>>();
        let waypoints = random.random_range(1..=waypoints_rad.len());
        Verb::Go {
            lease: self.lease(random),
            period_secs: random.random_range(0.05..2.0),
            waypoints_rad: waypoints_rad.into_iter().take(waypoints).collect(),
            last: random.random_bool(0.7),
        }
    }

    /// Somewhere that is nowhere.
    fn odd(&self, random: &mut ChaCha8Rng, status: &BridgeStatus) -> Verb {
        let mut verb = self.go(random, status);
        if let Verb::Go { period_secs, waypoints_rad, .. } = &mut verb {
            match random.random_range(0..5) {
                0 => *period_secs = *ODD.choose(random).unwrap_or(&0.0),
                1 => waypoints_rad.clear(),
                2 => waypoints_rad.iter_mut().for_each(|row| row.truncate(3)),
                3 => *waypoints_rad = vec![waypoints_rad[0].clone(); 500],
                _ => {
                    let value = *ODD.choose(random).unwrap_or(&0.0);
                    if let Some(angle) = waypoints_rad[0].choose_mut(random) {
                        *angle = value;
                    }
                }
            }
        }
        verb
    }
}

/// How a peer of ZeroMQ's begins: signature, version 3.0, no security.
fn greeting() -> Vec<u8> {
    let mut greeting = vec![0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 3, 0];
    greeting.extend_from_slice(b"NULL");
    greeting.resize(64, 0);
    greeting.extend_from_slice(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ");
    greeting
}

/// Somebody who connects to `socket` and sends what is no verb.
pub(crate) fn garbage(random: &mut ChaCha8Rng, socket: &Path) {
    // A daemon that is on its way out listens no more.
    let Ok(mut stream) = UnixStream::connect(socket) else { return };
    let noise: Vec<u8> = (0..random.random_range(1..2000)).map(|_| random.random()).collect();
    let message = |payload: &[u8]| {
        let mut message = greeting();
        message.extend_from_slice(&[1, 0, 2]); // an empty frame, then a long one
        message.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        message.extend_from_slice(payload);
        message
    };
    let verb = encode_verb(&Verb::Torque { on: true }).unwrap_or_default();
    let bytes = match random.random_range(0..6) {
        0 => noise,
        1 => message(&noise),
        2 => message(&verb[..random.random_range(0..verb.len())]),
        3 => message(&vec![0x91; 60_000]),    // lists in lists
        4 => message(&vec![0x80; 200 << 10]), // longer than a verb may be
        _ => {
            let mut bytes = greeting();
            bytes.extend_from_slice(&[2, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
            bytes
        }
    };
    let short = Some(Duration::from_millis(20));
    let _ = stream.set_write_timeout(short).and_then(|()| stream.set_read_timeout(short));
    // It may be hung up on in the middle.
    let _ = stream.write_all(&bytes);
    let _ = stream.read(&mut [0; 512]);
}
