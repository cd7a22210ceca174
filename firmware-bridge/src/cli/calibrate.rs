//! Calibrates an arm with the help of a person: where each joint's middle and ends are.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::arms;
use crate::calibration::{Calibration, JointCalibration};
use crate::description::{ArmDescription, JointDescription};
use crate::motors::{Calibrate, Sensed};

/// Calibrate an arm.
#[derive(Debug, Clone, clap::Args)]
pub struct CalibrateArgs {
    /// The arm: so101, koch, or the path of a description.
    #[arg(long, value_name = "ARM")]
    arm: String,
    /// Its serial port, best by its name under /dev/serial/by-id.
    #[arg(long, value_name = "PORT")]
    port: String,
    /// Where the calibration goes, as LeRobot writes it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write over a file that exists.
    #[arg(long)]
    yes: bool,
}

/// How often joints are looked at while they are moved by hand, and how often that is shown.
const LOOK: Duration = Duration::from_millis(10);
const SHOW: Duration = Duration::from_millis(100);
/// A joint that was moved by fewer ticks was forgotten.
const LEAST_TICKS: i32 = 100;
/// The ends of a turn, in ticks.
const TURN: [i32; 2] = [0, 4095];
/// Readings in a row that may fail.
const MISSES: u32 = 10;

/// Who moves the arm.
trait Person {
    /// Says what to do, and waits until it is done.
    fn confirm(&mut self, what: &str) -> anyhow::Result<()>;

    /// Says something.
    fn tell(&mut self, what: &str) -> io::Result<()>;

    /// Shows where the joints are and have been.
    fn show(&mut self, spans: &[Span]) -> io::Result<()>;

    /// Whether it was said to be done, within so long.
    fn is_done(&mut self, patience: Duration) -> anyhow::Result<bool>;
}

/// Where a joint is and has been, in ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    name: String,
    min: i32,
    now: i32,
    max: i32,
    full_turn: bool,
}

impl Span {
    fn new(joint: &JointDescription, now: i32) -> Self {
        let (name, full_turn) = (joint.name.clone(), joint.full_turn);
        Self { name, min: now, now, max: now, full_turn }
    }

    fn take(&mut self, ticks: i32) -> anyhow::Result<()> {
        let [first, last] = TURN;
        let jumped = (ticks - self.now).abs() > (last - first) / 2;
        ensure!(
            self.full_turn || (!jumped && (first..=last).contains(&ticks)),
            "{} went past the end of its turn, from {} to {ticks} ticks: begin anew with it in the \
             middle of its range, or say `full_turn = true` in the arm's description",
            self.name,
            self.now
        );
        (self.min, self.now, self.max) = (self.min.min(ticks), ticks, self.max.max(ticks));
        Ok(())
    }

    fn range(&self) -> [i32; 2] {
        if self.full_turn { TURN } else { [self.min, self.max] }
    }

    fn is_short(&self) -> bool {
        !self.full_turn && self.max - self.min < LEAST_TICKS
    }
}

/// Calibrates an arm and writes the file.
pub(super) fn calibrate(args: &CalibrateArgs) -> anyhow::Result<ExitCode> {
    check_out(&args.out, args.yes)?;
    let arm = ArmDescription::find(&args.arm)?;
    let mut motors = arms::open_to_calibrate(&arm, &args.port)?;
    let mut person = Terminal::new(io::BufReader::new(io::stdin()), io::stdout())?;
    let calibration = guide(&arm, motors.as_mut(), &mut person)?;
    save(&calibration, &args.out, args.yes)?;
    let out = args.out.display();
    person.tell(&format!(
        "written to {out}; try `firmware-bridge run --arm {} --port {} --calibration {out} \
         --no-policy`",
        args.arm, args.port
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn check_out(out: &Path, yes: bool) -> anyhow::Result<()> {
    ensure!(yes || !out.exists(), "{} exists: give --yes to write over it", out.display());
    let folder = folder(out);
    ensure!(folder.is_dir(), "there is no folder {}: make it first", folder.display());
    Ok(())
}

fn folder(out: &Path) -> &Path {
    out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whole or not at all: written beside it, then moved there.
fn save(calibration: &Calibration, out: &Path, yes: bool) -> anyhow::Result<()> {
    let name = out.file_name().context("--out names no file")?.to_string_lossy();
    let part = folder(out).join(format!(".{name}.{}.part", std::process::id()));
    let written = calibration.write(&part).map_err(anyhow::Error::from).and_then(|()| {
        File::open(&part)?.sync_all()?;
        check_out(out, yes)?; // somebody may have written it in the meantime
        Ok(fs::rename(&part, out)?)
    });
    if written.is_err() {
        let _ = fs::remove_file(&part); // it may never have been made
    }
    written.with_context(|| format!("cannot write {}", out.display()))
}

/// Leads a person through it; what the servos now know is what is returned.
fn guide(
    arm: &ArmDescription,
    motors: &mut dyn Calibrate,
    person: &mut dyn Person,
) -> anyhow::Result<Calibration> {
    motors.identify()?;
    let mut held = false;
    for joint in 0..arm.joints.len() {
        held |= motors.examine(joint)?.torque;
    }
    if held {
        person.confirm("torque goes off now: hold the arm, it falls")?;
    }
    motors.torque(false)?;
    person.confirm("move every joint to the middle of its range")?;
    let offsets: Vec<_> =
        (0..arm.joints.len()).map(|joint| motors.home(joint)).collect::<Result<_, _>>()?;
    let spans = watch(arm, motors, person)?;
    let mut calibration = Calibration::default();
    for (i, ((joint, span), homing_offset)) in
        arm.joints.iter().zip(&spans).zip(offsets).enumerate()
    {
        let [range_min, range_max] = span.range();
        motors.set_range(i, range_min, range_max)?;
        let (id, drive_mode) = (joint.id, 0);
        let joint_calibration =
            JointCalibration { id, drive_mode, homing_offset, range_min, range_max };
        calibration.joints.push((joint.name.clone(), joint_calibration));
    }
    Ok(calibration)
}

/// Looks at the joints until the person says that each has been everywhere, and it has.
fn watch(
    arm: &ArmDescription,
    motors: &mut dyn Calibrate,
    person: &mut dyn Person,
) -> anyhow::Result<Vec<Span>> {
    let free: Vec<_> = arm.joints.iter().filter(|joint| joint.full_turn).collect();
    let free: Vec<_> = free.iter().map(|joint| joint.name.as_str()).collect();
    let but =
        if free.is_empty() { String::new() } else { format!(" (not {})", free.join(" and ")) };
    person.tell(&format!(
        "move every joint{but} through its whole range, gently to either end; Enter when done"
    ))?;
    let mut sensed = Sensed::new(arm.joints.len());
    motors.sense(&mut sensed)?;
    let joints = arm.joints.iter().zip(&sensed.position);
    let mut spans: Vec<_> = joints.map(|(joint, &ticks)| Span::new(joint, ticks)).collect();
    let (mut shown, mut misses) = (None::<Instant>, 0);
    loop {
        match motors.sense(&mut sensed) {
            Ok(()) => misses = 0,
            Err(_) if misses < MISSES => misses += 1,
            Err(error) => return Err(error.into()),
        }
        for (span, &ticks) in spans.iter_mut().zip(&sensed.position) {
            span.take(ticks)?;
        }
        if shown.is_none_or(|shown| shown.elapsed() >= SHOW) {
            person.show(&spans)?;
            shown = Some(Instant::now());
        }
        if !person.is_done(LOOK)? {
            continue;
        }
        let short = spans.iter().filter(|span| span.is_short());
        let short: Vec<_> =
            short.map(|span| format!("{} by {} ticks", span.name, span.max - span.min)).collect();
        if short.is_empty() {
            return Ok(spans);
        }
        person.tell(&format!(
            "moved too little: {}; at least {LEAST_TICKS} are needed, so go on, and Enter when done",
            short.join(", ")
        ))?;
        shown = None;
    }
}

/// A person at a terminal, or a script in a person's place.
struct Terminal<W> {
    /// What was typed, and the end of it.
    lines: Receiver<io::Result<String>>,
    out: W,
    /// Whether the table is drawn over itself.
    live: bool,
    /// Lines of the table that stands at the end.
    drawn: u16,
}

impl<W: Write> Terminal<W> {
    fn new(source: impl BufRead + Send + 'static, out: W) -> io::Result<Self> {
        let (typed, lines) = channel();
        // It ends with the input or with this process, whichever comes first.
        thread::Builder::new().name("keyboard".into()).spawn(move || {
            for line in source.lines() {
                if typed.send(line).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { lines, out, live: io::stdout().is_terminal(), drawn: 0 })
    }
}

impl<W: Write> Person for Terminal<W> {
    fn confirm(&mut self, what: &str) -> anyhow::Result<()> {
        self.tell(&format!("{what}; then press Enter"))?;
        while !self.is_done(Duration::from_secs(1))? {}
        Ok(())
    }

    fn tell(&mut self, what: &str) -> io::Result<()> {
        self.drawn = 0;
        writeln!(self.out, "{what}")?;
        self.out.flush()
    }

    fn show(&mut self, spans: &[Span]) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        if self.drawn > 0 {
            write!(self.out, "{}", crossterm::cursor::MoveUp(self.drawn))?;
        }
        write!(self.out, "{}", page(spans))?;
        self.drawn = u16::try_from(spans.len() + 1).unwrap_or(u16::MAX);
        self.out.flush()
    }

    fn is_done(&mut self, patience: Duration) -> anyhow::Result<bool> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                line.context("the keyboard cannot be read")?;
                self.drawn = 0; // Enter moved the cursor on
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the input ended before Enter was pressed: no file is written, begin anew")
            }
        }
    }
}

/// One line per joint, below a heading.
fn page(spans: &[Span]) -> String {
    let width = spans.iter().map(|span| span.name.len()).max().unwrap_or_default();
    let mut page = format!("{:width$}    min    now    max\n", "");
    for Span { name, min, now, max, full_turn } in spans {
        let note = match full_turn {
            true => "turns all the way",
            false if max - min < LEAST_TICKS => "not yet",
            false => "",
        };
        // The spaces wipe out what stood there before.
        let row = format!("{name:width$} {min:>6} {now:>6} {max:>6}  {note:<17}\n");
        page += &row;
    }
    page
}
