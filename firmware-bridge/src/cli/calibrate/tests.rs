//! Emulated arms, calibrated by a scripted person.

use std::f64::consts::TAU;

use super::*;
use crate::arms::dynamixel::{self, DynamixelMotors};
use crate::arms::feetech::FeetechMotors;
use crate::codecs::dynamixel::register;
use crate::codecs::feetech::register as reg;
use crate::emulate::{self, Device, Emulator, Options};
use crate::motors::{Motors, MotorsError};

/// Where joint number `i` has its middle, in ticks of its encoder, and how far it goes from there.
fn middle(i: usize) -> i32 {
    [2047, 300, 3900, 1000, 3000, 2500][i]
}

fn reach(i: usize) -> [i32; 2] {
    [[-1000, 900], [-250, 800], [-700, 150], [-60, 60], [-500, 500], [0, 1200]][i]
}

/// Moves the joints of an emulated arm when told to, one after the other.
struct Scripted<'a, D: Device> {
    emulator: &'a Emulator<D>,
    said: Vec<String>,
    /// Enter is pressed before the third joint has been moved, once.
    hasty: bool,
    steps: Vec<(usize, i32)>,
    shown: Vec<Span>,
}

impl<'a, D: Device> Scripted<'a, D> {
    fn new(emulator: &'a Emulator<D>) -> Self {
        let steps = (0..6).flat_map(|i| [0, 1, 2].map(|at| (i, [0, reach(i)[0], reach(i)[1]][at])));
        let steps = steps.collect();
        Self { emulator, said: Vec::new(), hasty: true, steps, shown: Vec::new() }
    }

    fn place(&self, i: usize, ticks: i32) {
        self.emulator.with(|bus| {
            if let Some(joint) = bus.plant().joints.get_mut(i) {
                joint.position = f64::from(ticks);
            }
        });
    }
}

impl<D: Device> Person for Scripted<'_, D> {
    fn confirm(&mut self, what: &str) -> anyhow::Result<()> {
        self.said.push(what.into());
        if what.contains("middle") {
            (0..6).for_each(|i| self.place(i, middle(i)));
        }
        Ok(())
    }

    fn tell(&mut self, what: &str) -> io::Result<()> {
        self.said.push(what.into());
        Ok(())
    }

    fn show(&mut self, spans: &[Span]) -> io::Result<()> {
        self.shown = spans.to_vec();
        Ok(())
    }

    fn is_done(&mut self, _: Duration) -> anyhow::Result<bool> {
        if self.hasty && self.steps.first().is_some_and(|(i, _)| *i == 2) {
            self.hasty = false;
            return Ok(true);
        }
        if self.steps.is_empty() {
            return Ok(true);
        }
        let (i, by) = self.steps.remove(0);
        self.place(i, middle(i) + by);
        Ok(false)
    }
}

fn slow(name: &str) -> ArmDescription {
    let mut arm = ArmDescription::find(name).unwrap();
    arm.setpoint_hz = 10; // a busy machine may take long to answer
    arm
}

/// What the scripted person's arm must come to.
fn expected(i: usize) -> (i32, i32) {
    let [low, high] = reach(i);
    (2047 + low, 2047 + high)
}

fn check(arm: &ArmDescription, calibration: &Calibration, sense: i32) {
    for (i, (name, joint)) in calibration.joints.iter().enumerate() {
        assert_eq!((name, joint.id), (&arm.joints[i].name, arm.joints[i].id));
        assert_eq!(joint.homing_offset, sense * (middle(i) - 2047), "{name}");
        let range = (joint.range_min, joint.range_max);
        let full = arm.joints[i].full_turn;
        assert_eq!(range, if full { (0, 4095) } else { expected(i) }, "{name}");
    }
}

#[test]
fn a_person_calibrates_an_so101_and_its_angles_come_out() {
    let arm = slow("so101");
    let emulator = Emulator::start(emulate::feetech::Bus::new(&arm), Options::default()).unwrap();
    let mut motors = FeetechMotors::new(&arm, emulator.path());
    motors.identify().unwrap();
    motors.torque(true).unwrap();
    let mut person = Scripted::new(&emulator);
    let calibration = guide(&arm, &mut motors, &mut person).unwrap();
    assert!(person.said[0].starts_with("torque goes off now"), "{:?}", person.said);
    assert!(person.said[2].contains("(not wrist_roll)"), "{:?}", person.said);
    assert!(person.said[3].contains("elbow_flex by 0 ticks, wrist_flex by 0"), "{:?}", person.said);
    check(&arm, &calibration, 1);
    let [first, .., last] = person.shown.as_slice() else { panic!("nothing was shown") };
    assert_eq!((first.min, first.max, last.name.as_str()), (1047, 2947, "gripper"));

    // The same again writes nothing, since nothing differs.
    let worn = |id| emulator.with(|bus| bus.servo(id).unwrap().eeprom_writes());
    let before: Vec<_> = (1..=6).map(worn).collect();
    let again = guide(&arm, &mut motors, &mut Scripted::new(&emulator)).unwrap();
    assert_eq!(again, calibration);
    assert_eq!((1..=6).map(worn).collect::<Vec<_>>(), before);
    emulator.with(|bus| {
        assert!((1..=6).all(|id| bus.registers(id, reg::LOCK, 1) == [1]), "left open");
    });

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("arm.json");
    save(&calibration, &out, false).unwrap();
    let read = Calibration::read(&out).unwrap();
    assert_eq!(read, calibration);
    drop(motors);
    let mut motors = FeetechMotors::new(&arm, emulator.path()).calibrated(&arm, &read).unwrap();
    motors.identify().unwrap();
    // Every joint at the upper end of its range.
    for i in 0..6 {
        emulator.with(|bus| {
            bus.plant().joints[i].position = f64::from(middle(i) + reach(i)[1]);
        });
    }
    let mut sensed = Sensed::new(6);
    motors.sense(&mut sensed).unwrap();
    let scales = arms::scales(&arm, Some(&read)).unwrap();
    for (i, (scales, &ticks)) in scales.iter().zip(&sensed.position).enumerate() {
        let [low, high] = reach(i);
        let half = f64::from(high - low) / 2.0 * TAU / 4096.0;
        let angle = match i {
            4 => (500.0 - 0.5) * TAU / 4096.0, // it turns all the way: zero is in the turn's middle
            5 => arm.joints[5].max_rad - 2.0 * half, // an inverted gripper is open there
            _ => half,
        };
        assert!((scales.radians.value(ticks) - angle).abs() < 1e-9, "joint {i} at {ticks}");
    }
}

#[test]
fn a_person_calibrates_a_koch_whose_offsets_have_the_other_sign() {
    let arm = slow("koch");
    let bus = emulate::dynamixel::Bus::new(&arm).unwrap();
    let emulator = Emulator::start(bus, Options::default()).unwrap();
    let options = |calibration| dynamixel::Options {
        margin: Duration::from_millis(80),
        watchdog: Duration::from_millis(2540),
        calibration,
    };
    let path = emulator.path().to_owned();
    let mut motors = DynamixelMotors::open(&arm, &path, options(None)).unwrap();
    let calibration = guide(&arm, &mut motors, &mut Scripted::new(&emulator)).unwrap();
    check(&arm, &calibration, -1);
    emulator.with(|bus| {
        assert_eq!(bus.register(2, register::HOMING_OFFSET), Some(1747));
        assert_eq!(bus.register(2, register::MIN_POSITION), Some(1797));
        assert_eq!(bus.register(5, register::MAX_POSITION), Some(4095));
    });
    drop(motors);
    let calibrated = calibration.joints.iter().map(|(_, joint)| dynamixel::Calibrated {
        homing_offset: joint.homing_offset,
        range_min: joint.range_min,
        range_max: joint.range_max,
    });
    let calibrated = Some(calibrated.collect());
    let mut motors = DynamixelMotors::open(&arm, &path, options(calibrated)).unwrap();
    motors.identify().unwrap();
    // One that has turned too far since power-on has no offset that would outlive it.
    emulator.with(|bus| bus.plant().joints[1].position = 5000.0);
    let error = motors.home(1).unwrap_err().to_string();
    let expected = "joint shoulder_lift (id 2) has turned past its end since power-on, to 5000";
    assert!(error.contains(expected), "{error}");
    let error = motors.set_range(0, 5, 5).unwrap_err().to_string();
    assert!(error.contains("takes a range within 0 to 4095, found 5 to 5"), "{error}");
}

#[test]
fn a_joint_at_the_very_end_of_its_turn_is_homed_one_tick_off() {
    let arm = slow("so101");
    let emulator = Emulator::start(emulate::feetech::Bus::new(&arm), Options::default()).unwrap();
    let mut motors = FeetechMotors::new(&arm, emulator.path());
    motors.identify().unwrap();
    let mut sensed = Sensed::new(6);
    for (at, offset, reads) in
        [(0.0, -2047, 2047), (4094.0, 2047, 2047), (4095.0, 2047, 2048), (2000.0, -47, 2047)]
    {
        emulator.with(|bus| bus.plant().joints[0].position = at);
        assert_eq!(motors.home(0).unwrap(), offset);
        motors.sense(&mut sensed).unwrap();
        assert_eq!(sensed.position[0], reads);
    }
    motors.torque(true).unwrap();
    emulator.with(|bus| bus.plant().joints[0].position = 2100.0);
    let error = motors.home(0).unwrap_err();
    assert!(matches!(error, MotorsError::Refused { .. }), "{error}");
    assert!(error.to_string().ends_with("but its torque is on: switch it off"), "{error}");
    assert!(motors.home(6).is_err());
}

#[test]
fn a_joint_that_goes_past_the_end_of_its_turn_is_named() {
    let mut joint = ArmDescription::find("so101").unwrap().joints.remove(0);
    let mut span = Span::new(&joint, 4000);
    span.take(4095).unwrap();
    let error = span.take(3).unwrap_err().to_string();
    assert!(error.starts_with("shoulder_pan went past the end of its turn, from 4095"), "{error}");
    assert!(Span::new(&joint, 4000).take(4096).is_err());
    joint.full_turn = true;
    let mut span = Span::new(&joint, 4000);
    span.take(3).unwrap();
    assert_eq!(span.range(), [0, 4095]);
}

#[test]
fn a_file_that_exists_is_not_written_over_without_asking() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("arm.json");
    let calibration = Calibration::default();
    save(&calibration, &out, false).unwrap();
    let error = format!("{:#}", save(&calibration, &out, false).unwrap_err());
    assert!(error.ends_with("exists: give --yes to write over it"), "{error}");
    save(&calibration, &out, true).unwrap();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left beside it");
    let error = check_out(&folder.path().join("no/arm.json"), false).unwrap_err().to_string();
    assert!(error.contains("there is no folder"), "{error}");
}

#[test]
fn a_keyboard_that_ends_is_an_error_and_a_line_is_enter() {
    let mut person = Terminal::new(io::Cursor::new("\n"), Vec::new()).unwrap();
    person.live = true;
    person.confirm("move it").unwrap();
    let joint = ArmDescription::find("so101").unwrap().joints.remove(0);
    let spans = [Span::new(&joint, 7)];
    person.show(&spans).unwrap();
    person.show(&spans).unwrap();
    let error = person.confirm("again").unwrap_err().to_string();
    assert!(error.starts_with("the input ended before Enter was pressed"), "{error}");
    let text = String::from_utf8(person.out).unwrap();
    assert!(text.starts_with("move it; then press Enter\n"), "{text}");
    assert!(text.contains("shoulder_pan      7      7      7  not yet"), "{text}");
    assert!(text.contains("\u{1b}[2A"), "drawn over itself: {text:?}");
}
