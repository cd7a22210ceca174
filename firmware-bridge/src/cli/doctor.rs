//! Looks at everything between this machine and an arm, and says what to fix.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::arms::{self, scan};
use crate::calibration::Calibration;
use crate::description::ArmDescription;

use super::arm::ArmArgs;
use super::cameras::CameraArgs;

/// Look for arms, and say what to fix.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {
    /// The arm that should be there: so101, koch, xarm7, xarm7-gripper, fr3, or the path of a
    /// description. Without one, ports alone are looked at.
    #[arg(long, value_name = "ARM")]
    arm: Option<String>,
    #[command(flatten)]
    real: ArmArgs,
    /// Cameras to look through.
    #[command(flatten)]
    cameras: CameraArgs,
    /// Ask every id at every baud rate, not only those of the description. Takes a while.
    #[arg(long)]
    scan: bool,
}

/// Supply voltages below which an arm is said to be badly fed, in volts.
const LOW_VOLTS: f32 = 6.0;
/// Temperatures above which a joint is said to be hot, in degrees Celsius.
const HOT_C: f32 = 60.0;

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// Says what is there and what is wrong. 0 is well, 1 is not.
pub(super) fn doctor(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut well = true;
    let ports = serial_ports(Path::new("/dev"))?;
    if ports.is_empty() {
        say("serial ports: none; plug the adapter in, and look at `dmesg`")?;
    }
    for port in &ports {
        let access = fs::OpenOptions::new().read(true).write(true).open(port);
        let access = match access {
            Ok(_) => "may be opened".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                well = false;
                "may not be opened: `sudo usermod -aG dialout $USER`, and log in anew".into()
            }
            Err(error) => error.to_string(),
        };
        say(&format!("serial port {}: {access}", port.display()))?;
    }
    well &= args.cameras.examine(&mut say)?;
    let Some(name) = &args.arm else {
        say("give --arm ARM --port PORT to look at an arm")?;
        return Ok(ExitCode::from(u8::from(!well)));
    };
    let arm = ArmDescription::find(name)?;
    arms::check_built_in(&arm)?;
    let port = args.real.port.as_deref().context("--port is missing: say where the arm is")?;
    if args.scan {
        scan_all(&arm, port)?;
    }
    let calibration = args.real.calibration.as_deref().map(Calibration::read).transpose()?;
    if calibration.is_none() && arm.protocol.is_serial() {
        say("no calibration: angles count from the middle of each servo; give --calibration FILE")?;
    }
    let mut motors = arms::open(&arm, port, calibration.as_ref())?;
    match motors.identify() {
        Ok(identities) => {
            for (joint, identity) in arm.joints.iter().zip(identities) {
                let (name, id) = (&joint.name, joint.id);
                say(&format!(
                    "joint {name} (id {id}): {}, firmware {}",
                    identity.model, identity.firmware
                ))?;
            }
        }
        Err(error) => {
            say(&format!("the arm does not answer as described: {error}"))?;
            if !args.scan && arm.protocol.is_serial() {
                say("`--scan` asks every id at every baud rate")?;
            }
            return Ok(ExitCode::from(1));
        }
    }
    for (i, joint) in arm.joints.iter().enumerate() {
        let health = match motors.examine(i) {
            Ok(health) => health,
            Err(error) => {
                say(&error.to_string())?;
                well = false;
                continue;
            }
        };
        let mut line = format!("joint {}:", joint.name);
        let mut note = |text: String| {
            line.push(' ');
            line.push_str(&text);
        };
        note(if health.torque { "torque on".into() } else { "torque off".into() });
        if let Some(volts) = health.voltage_v {
            let low = volts < LOW_VOLTS;
            well &= !low;
            note(format!(
                "{volts:.1} V{}",
                if low { " (low: check the power supply)" } else { "" }
            ));
        }
        if let Some(celsius) = health.temperature_c {
            let hot = celsius > HOT_C;
            well &= !hot;
            note(format!("{celsius:.0} C{}", if hot { " (hot: let it cool down)" } else { "" }));
        }
        say(&line)?;
    }
    let mut sensed = crate::motors::Sensed::new(arm.joints.len());
    motors.sense(&mut sensed)?;
    let scales = arms::scales(&arm, calibration.as_ref())?;
    for ((joint, scales), &ticks) in arm.joints.iter().zip(&scales).zip(&sensed.position) {
        let angle = scales.radians.value(ticks);
        if !(joint.min_rad..=joint.max_rad).contains(&angle) {
            well = false;
            say(&format!(
                "joint {} is at {angle:.3} rad, outside {:.3} to {:.3}: move it by hand, or calibrate",
                joint.name, joint.min_rad, joint.max_rad
            ))?;
        }
    }
    say(&format!("when the bridge dies: {}", motors.when_abandoned()))?;
    say(if well { "all is well" } else { "not all is well: see above" })?;
    Ok(ExitCode::from(u8::from(!well)))
}

/// Serial ports, those with stable names first.
fn serial_ports(dev: &Path) -> io::Result<Vec<PathBuf>> {
    let mut ports = Vec::new();
    if let Ok(stable) = fs::read_dir(dev.join("serial/by-id")) {
        for entry in stable {
            ports.push(entry?.path());
        }
    }
    let known: Vec<_> = ports.iter().filter_map(|port| fs::canonicalize(port).ok()).collect();
    for entry in fs::read_dir(dev)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let serial = ["ttyUSB", "ttyACM"].iter().any(|kind| name.starts_with(kind));
        if serial && !known.contains(&path) {
            ports.push(path);
        }
    }
    ports.sort();
    Ok(ports)
}

fn scan_all(arm: &ArmDescription, port: &str) -> anyhow::Result<()> {
    if !arm.protocol.is_serial() {
        return Ok(());
    }
    let mut found = 0;
    for &baud in scan::BAUDS {
        for id in scan::scan(arm.protocol, Path::new(port), baud)? {
            found += 1;
            let known = arm.joints.iter().find(|joint| joint.id == id);
            let known = known.map_or("not in the description", |joint| joint.name.as_str());
            let right = if arm.baud == Some(baud) { "" } else { ", another baud than described" };
            say(&format!("found id {id} at {baud} baud: {known}{right}"))?;
        }
    }
    if found == 0 {
        say("nothing answers at any id and baud: is the arm powered, and the cable in?")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_once_by_their_stable_name() {
        let dev = tempfile::tempdir().unwrap();
        let by_id = dev.path().join("serial/by-id");
        fs::create_dir_all(&by_id).unwrap();
        for name in ["ttyUSB0", "ttyACM3", "tty1", "null"] {
            fs::write(dev.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(dev.path().join("ttyUSB0"), by_id.join("usb-1")).unwrap();
        let root = fs::canonicalize(dev.path()).unwrap();
        let expected = [root.join("serial/by-id/usb-1"), root.join("ttyACM3")];
        assert_eq!(serial_ports(&root).unwrap(), expected);
    }
}
