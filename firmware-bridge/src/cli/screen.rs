//! A bridge on one screen.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use engraft_wire::operator::{BridgeStatus, Telemetry, Verb};
use engraft_wire::{OperatorSocket, Subscriber};

/// Characters of a joint's bar.
const BAR: usize = 41;
/// Silence of the telemetry after which it is said.
const SILENT: Duration = Duration::from_secs(1);

/// A bridge, as a page of text.
pub(super) fn page(status: &BridgeStatus) -> String {
    let mut page = String::new();
    let cause = status.cause.as_ref().map_or(String::new(), |cause| format!(": {cause}"));
    let torque = if status.torque { "torque on" } else { "torque off" };
    let holder = status.holder.as_deref().unwrap_or("nobody");
    // Writing into a string cannot fail.
    let _ = writeln!(page, "{}  {}{cause}  ({torque}, lease: {holder})", status.arm, status.state);
    if let Some(trouble) = &status.trouble {
        let _ = writeln!(page, "  {trouble}");
    }
    let [p50, p99, p999, worst] = status.lateness_micros;
    let _ = writeln!(
        page,
        "  {:.0} Hz, {} set-points; late by {p50} us p50, {p99} p99, {p999} p99.9, {worst} at worst",
        status.setpoint_hz, status.ticks
    );
    let _ = writeln!(
        page,
        "  plans {} taken, {} refused; set-points limited {}; readings missed {}",
        status.plans, status.refused, status.limited, status.misses
    );
    let width = status.joints.iter().map(|joint| joint.name.len()).max().unwrap_or_default();
    for joint in &status.joints {
        let [min, max] = joint.bounds_rad;
        let _ = write!(
            page,
            "  {:width$} {min:>7.2} {} {max:>6.2}  at {:>7.3} to {:>7.3} rad  load {:>4.0} %",
            joint.name,
            bar(joint.position_rad, joint.goal_rad, min, max),
            joint.position_rad,
            joint.goal_rad,
            joint.load * 100.0,
        );
        if let Some(volts) = joint.voltage_v {
            let _ = write!(page, "  {volts:.1} V");
        }
        if let Some(celsius) = joint.temperature_c {
            let _ = write!(page, "  {celsius:.0} C");
        }
        page.push('\n');
    }
    page
}

/// Where a joint is, `o`, and where it is sent to, `+`, between its bounds.
fn bar(position: f64, goal: f64, min: f64, max: f64) -> String {
    let cell = |angle: f64| {
        let part = ((angle - min) / (max - min)).clamp(0.0, 1.0);
        (part * (BAR - 1) as f64).round() as usize
    };
    let (at, to) = (cell(position), cell(goal));
    (0..BAR)
        .map(|i| match i {
            i if i == at => 'o',
            i if i == to => '+',
            _ => '.',
        })
        .collect()
}

/// Raw mode for as long as it lives.
pub(super) struct Raw;

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = disable_raw_mode(); // nothing is left to be done about it
    }
}

/// Shows a bridge until somebody leaves. Space is an emergency stop.
pub(super) fn watch(socket: &mut OperatorSocket, telemetry: &str) -> anyhow::Result<ExitCode> {
    ensure!(
        io::stdin().is_terminal() && io::stdout().is_terminal(),
        "--watch needs a terminal: use --json in a script"
    );
    let subscriber = Subscriber::connect(telemetry)?;
    enable_raw_mode()?;
    let _raw = Raw;
    let (mut heard, mut shown) = (Instant::now(), Instant::now());
    let mut status = None;
    let mut said = String::new();
    loop {
        match subscriber.receive(Duration::from_millis(20))? {
            Some(Telemetry::State(state)) => {
                heard = Instant::now();
                status = Some(*state);
            }
            Some(Telemetry::Event(occurrence)) => {
                let cause = occurrence.cause.map_or(String::new(), |cause| format!(" ({cause})"));
                said = format!("{} -> {}{cause}", occurrence.from, occurrence.to);
            }
            _ => {}
        }
        while event::poll(Duration::ZERO)? {
            let Event::Key(key) = event::read()? else { continue };
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(ExitCode::SUCCESS),
                KeyCode::Char('c') if control => return Ok(ExitCode::SUCCESS),
                KeyCode::Char(' ') => {
                    let stopped = socket.ask(&Verb::Estop, Duration::from_secs(1));
                    said = stopped.map_or_else(|error| error.to_string(), |_| "stopped".into());
                }
                _ => {}
            }
        }
        if shown.elapsed() >= Duration::from_millis(100) {
            shown = Instant::now();
            let silent = heard.elapsed() > SILENT;
            let quiet = if silent { "no telemetry: does the bridge run?" } else { "" };
            let body = status.as_ref().map_or(String::new(), page);
            let screen = format!("{body}\n{said}\n{quiet}\nspace: emergency stop   q: leave\n");
            // Raw mode needs the carriage back at each line's end.
            let screen = screen.replace('\n', "\x1b[K\r\n");
            write!(io::stdout(), "\x1b[H{screen}\x1b[J")?;
            io::stdout().flush()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft_wire::operator::JointStatus;

    #[test]
    fn a_page_shows_where_each_joint_is_between_its_bounds() {
        assert_eq!(bar(-1.0, 1.0, -1.0, 1.0), format!("o{}+", ".".repeat(BAR - 2)));
        assert_eq!(bar(f64::NAN, 0.0, -1.0, 1.0).len(), BAR);
        let joint = JointStatus {
            name: "elbow".into(),
            position_rad: 0.5,
            goal_rad: 0.5,
            bounds_rad: [-1.0, 1.0],
            voltage_v: Some(7.4),
            ..Default::default()
        };
        let status = BridgeStatus {
            arm: "so101".into(),
            state: "Fault".into(),
            cause: Some("a joint does not follow".into()),
            joints: vec![joint],
            ..Default::default()
        };
        let page = page(&status);
        assert!(page.starts_with("so101  Fault: a joint does not follow  (torque off"), "{page}");
        assert!(page.contains("7.4 V"), "{page}");
    }
}
