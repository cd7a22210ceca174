//! Everything that may go wrong, mixed at random, for as long as somebody asks.
//!
//! A round is one daemon and its journal. The emulated arm outlives the rounds. Half of them have a
//! policy that is in one mood after the other. In all of them two operators want things, the wire
//! and the servos fail and recover, and the auditor reads along. The seed leads to the same
//! schedule; how it falls together with the clocks is in the journal, which is kept when something
//! is wrong.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use engraft_wire::operator::{Answer, Verb};
use firmware_bridge::emulate::Device;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;

use super::audit::{Audit, Checked};
use super::chaos::{Hands, Weather, garbage};
use super::policy::{Mood, Policy, contract, start_rad};
use super::rig::{Arm, Daemon, Operator, SOON, verify};

/// How long it takes in every `cargo test`.
const SECS: u64 = 30;
/// The seed of a check.
const SEED: u64 = 1;
/// Set-points a second: what a machine that builds and tests meanwhile can keep up with.
const SETPOINT_HZ: u32 = 100;
/// A verb, a weather or an end that takes longer is a hang.
const HANG: Duration = Duration::from_mins(1);
/// Longest that all verbs may stay unanswered: stealing a lease takes some steps of three seconds.
const UNANSWERED: Duration = Duration::from_secs(15);
/// A verb that was not answered may still be waiting, and do what it says for so long.
const WAITING: Duration = UNANSWERED;

/// What came of it all.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    verbs: u64,
    weathers: u64,
    moods: u64,
    asked: u64,
    faults: u64,
    deaths: u64,
    estops: u64,
    worst_answer: Duration,
}

/// Ends the process when nothing happens any more, and says where.
struct Watchdog {
    began: Instant,
    fed: Arc<AtomicU64>,
    doing: Arc<Mutex<String>>,
}

impl Watchdog {
    fn start(seed: u64) -> Self {
        let (fed, doing) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(String::new())));
        let began = Instant::now();
        let (food, what) = (Arc::downgrade(&fed), doing.clone());
        thread::spawn(move || {
            // It ends with the one that it watches.
            while let Some(fed) = food.upgrade() {
                let fed = Duration::from_millis(fed.load(Ordering::Relaxed));
                if began.elapsed().saturating_sub(fed) > HANG {
                    let _ = writeln!(io::stderr(), "seed {seed}: hung in {:?}", what.lock());
                    std::process::exit(101);
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self { began, fed, doing }
    }

    fn feed(&self, doing: &str) {
        doing.clone_into(&mut self.doing.lock().unwrap());
        self.fed.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

struct Soak {
    random: ChaCha8Rng,
    arm: Arm,
    start_rad: Vec<f64>,
    began: Instant,
    audit: Audit,
    tally: Tally,
    watchdog: Watchdog,
    /// Until when a verb may still wait to be done.
    waiting: Instant,
    /// Whether a status may be of before the last reset: looking for an arm takes a moment.
    old: bool,
    /// Since when no verb was answered.
    unanswered: Option<Instant>,
}

impl Soak {
    fn new(seed: u64, folder: &Path) -> Self {
        let arm = Arm::new(folder, SETPOINT_HZ);
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            began: Instant::now(),
            audit: Audit::new(&arm.description),
            arm,
            start_rad: start_rad(),
            tally: Tally::default(),
            watchdog: Watchdog::start(seed),
            waiting: Instant::now(),
            old: true,
            unanswered: None,
        }
    }

    /// The auditor reads what was heard.
    fn look(&mut self) -> Result<(), String> {
        let Self { arm, audit, .. } = self;
        arm.emulator.with(|bus| {
            let now = bus.now();
            audit.look(bus, now)
        })
    }

    fn weather(&mut self, weather: Weather, daemon: &Daemon) -> Result<(), String> {
        self.look()?;
        self.watchdog.feed(&format!("{weather:?}"));
        self.tally.weathers += 1;
        let Self { arm, random, audit, .. } = self;
        arm.emulator.faults(|faults| weather.faults(random, faults));
        arm.emulator.with(|bus| {
            if let Some(id) = weather.servos(random, bus) {
                audit.forgot(id, bus.now());
            }
            match weather {
                Weather::Fine => audit.cured(bus.now()),
                Weather::StuckEncoder => audit.runs_away(),
                _ => {}
            }
        });
        if !weather.is_audible() {
            audit.set_audible(false);
        }
        if weather == Weather::Unplugged {
            self.arm.emulator.hang_up();
            thread::sleep(Duration::from_millis(self.random.random_range(0..1500)));
            self.arm.emulator.plug_in().unwrap();
        }
        if weather == Weather::Suspended {
            daemon.signal(Signal::STOP);
            thread::sleep(Duration::from_millis(self.random.random_range(0..1500)));
            daemon.signal(Signal::CONT);
        }
        self.look()?;
        if weather == Weather::Fine {
            self.audit.set_audible(true);
        }
        Ok(())
    }

    /// Something leads out of what latched, or may.
    fn unlatched_for(&mut self, time: Duration) {
        self.audit.release();
        (self.old, self.waiting) = (true, self.waiting.max(Instant::now() + time));
    }

    /// Somebody asks for something, and it is answered.
    fn ask(&mut self, operator: &mut Operator, verb: &Verb) -> Result<Option<Answer>, String> {
        self.watchdog.feed(&format!("{verb:?}"));
        self.look()?;
        if *verb == Verb::Reset {
            self.unlatched_for(Duration::ZERO);
        }
        let asked = Instant::now();
        let answer = operator.ask(verb);
        self.tally.verbs += 1;
        self.tally.worst_answer = self.tally.worst_answer.max(asked.elapsed());
        let Some(told) = &answer else {
            self.unlatched_for(WAITING);
            let since = *self.unanswered.get_or_insert(asked);
            if since.elapsed() > UNANSWERED {
                return Err(format!("nothing is answered any more, as {verb:?}"));
            }
            return Ok(None);
        };
        self.unanswered = None;
        let latched = ["Fault", "Estop"].contains(&told.status.state.as_str());
        let asked_for_it = *verb == Verb::Status;
        self.old &= latched || !asked_for_it;
        let told = latched && asked_for_it && !self.old;
        if Instant::now() > self.waiting && (*verb == Verb::Estop || told) {
            let now = self.arm.emulator.with(|bus| bus.now());
            self.audit.latch(now);
        }
        if *verb == Verb::Estop {
            self.tally.estops += 1;
            // Now and then nobody resets it for a moment.
            if self.random.random_bool(0.3) {
                thread::sleep(Duration::from_millis(self.random.random_range(0..2500)));
            }
        }
        self.look()?;
        Ok(answer)
    }

    /// One daemon, from its start to its end.
    fn round(&mut self) -> Result<(), String> {
        let journal = self.arm.file(&format!("{}.journal", self.tally.rounds));
        let journal_path = journal.display().to_string();
        let policy = self
            .random
            .random_bool(0.5)
            .then(|| Policy::start(contract(), Mood::Good, self.random.random()));
        // A policy takes its time to go to where it begins from afar.
        self.arm.place(if policy.is_some() { &self.start_rad } else { &[] });
        let mut args = vec!["--journal", &journal_path];
        match &policy {
            Some(policy) => args.extend([
                "--eyes",
                "sim",
                "--torque-on",
                "--episodes",
                "1000",
                "--max-steps",
                "40",
                "--policy",
                &policy.endpoint,
            ]),
            None => args.push("--no-policy"),
        }
        // Whatever was latched ended with the daemon that latched it.
        self.unlatched_for(Duration::ZERO);
        (self.waiting, self.unanswered) = (Instant::now(), None);
        self.watchdog.feed("a start");
        let mut daemon = self.arm.daemon(&args);
        let lasts = Duration::from_millis(self.random.random_range(3000..12_000));
        let began = Instant::now();
        self.play(&mut daemon, policy.as_ref(), began, lasts)?;
        self.watchdog.feed("an end");
        // Now and then it dies in the middle of what it does.
        let dies = self.random.random_bool(0.1);
        if dies {
            drop(daemon);
        } else {
            daemon.signal(Signal::TERM);
            self.tally.faults += u64::from(daemon.ended().is_err());
        }
        self.tally.deaths += u64::from(dies);
        self.tally.asked += policy.as_ref().map_or(0, Policy::asked);
        self.look()?;
        self.rests()?;
        if journal.exists() {
            let verified = verify(&journal);
            // What dies at its start has kept nothing yet.
            let nothing = |error: &String| {
                ["is empty", "no journal"].iter().any(|words| error.contains(words))
            };
            if !(dies && verified.as_ref().is_err_and(nothing)) {
                verified.map_err(|error| format!("{}: {error}", journal.display()))?;
            }
        }
        let _ = std::fs::remove_file(&journal); // the next one is as large
        Ok(())
    }

    fn play(
        &mut self,
        daemon: &mut Daemon,
        policy: Option<&Policy>,
        began: Instant,
        lasts: Duration,
    ) -> Result<(), String> {
        let mut operators = [daemon.operator(), daemon.operator()];
        let mut hands = Hands::new();
        self.weather(Weather::Fine, daemon)?;
        // A policy ends with its first fault, so it gets better weather.
        let bad = if policy.is_some() { 0.015 } else { 0.05 };
        while began.elapsed() < lasts && !daemon.is_finished() {
            if self.random.random_bool(bad) {
                let weather = Weather::draw(&mut self.random);
                self.weather(weather, daemon)?;
            }
            if let Some(policy) = policy
                && self.random.random_bool(0.06)
            {
                // Good as often as not, or it gets nowhere.
                let other = Mood::ALL.choose(&mut self.random).copied().unwrap_or(Mood::Good);
                policy.set(if self.random.random_bool(0.6) { Mood::Good } else { other });
                self.tally.moods += 1;
            }
            if self.random.random_bool(0.05) {
                garbage(&mut self.random, &self.arm.file("control"));
            }
            let who = usize::from(self.random.random_bool(0.3));
            let Some(answer) = self.ask(&mut operators[who], &Verb::Status)? else { continue };
            // With a policy at the wheel an operator interferes now and then.
            if policy.is_none() || self.random.random_bool(0.04) {
                let verb = hands.verb(&mut self.random, &answer.status);
                let answer = self.ask(&mut operators[who], &verb)?;
                if let Some(lease) = answer.and_then(|answer| answer.lease) {
                    hands.got(lease);
                }
            }
            thread::sleep(Duration::from_millis(self.random.random_range(0..60)));
        }
        Ok(())
    }

    /// The daemon is gone, and the arm stands.
    fn rests(&mut self) -> Result<(), String> {
        // What was sent last may still be on its way; servos run to where it sends them.
        thread::sleep(Duration::from_millis(200));
        self.look()?;
        let began = Instant::now();
        while began.elapsed() < SOON {
            thread::sleep(Duration::from_millis(50));
            let moves = |bus: &mut firmware_bridge::emulate::feetech::Bus| {
                bus.plant().joints.iter().any(|joint| joint.velocity.abs() > 8.0)
            };
            if !self.arm.emulator.with(moves) {
                let heard = self.arm.emulator.with(|bus| bus.writes().count());
                return if heard == 0 {
                    Ok(())
                } else {
                    Err(format!("{heard} writes after the daemon's end"))
                };
            }
        }
        Err("the arm does not come to rest after the daemon's end".into())
    }
}

/// Plays rounds until the time is over; what is wrong is told with the seed, and kept.
fn soak(seed: u64, lasts: Duration) -> (Checked, Tally) {
    let folder = tempfile::tempdir().unwrap();
    let mut soak = Soak::new(seed, folder.path());
    while soak.began.elapsed() < lasts {
        if let Err(wrong) = soak.round() {
            let round = soak.tally.rounds;
            drop(soak);
            let kept = folder.keep();
            panic!("seed {seed}, round {round}: {wrong}; its journal is in {}", kept.display());
        }
        soak.tally.rounds += 1;
    }
    (soak.audit.checked, soak.tally)
}

#[test]
fn whatever_goes_wrong_together_the_wire_hears_nothing_that_is_not_allowed() {
    let _alone = super::alone();
    let asked = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let secs = asked("ENGRAFT_SOAK_SECS");
    // A check has the same seed every time; a soak that somebody asks for has another.
    let usual = || secs.map_or(SEED, |_| rand::rng().random());
    let seed = asked("ENGRAFT_SOAK_SEED").unwrap_or_else(usual);
    let secs = secs.unwrap_or(SECS);
    println!("soak: seed {seed}, {secs} s");
    let (checked, tally) = soak(seed, Duration::from_secs(secs));
    println!("soak: seed {seed}: {checked:?}, {tally:?}");
    assert!(checked.goals > 1000 && checked.torque_on > 0, "seed {seed}: {checked:?}");
}
