//! An xArm's control box without an arm, for trying out a client and for the judges.
//!
//! ```text
//! cargo run -p firmware-bridge --example emulate_xarm -- [CONTROL_PORT REPORT_PORT]
//! ```
//!
//! Without ports it takes any; the vendor's clients look at 502 and 30003. Prints both, then does
//! what its standard input says until that ends: `press`, `release`, `wall JOINT MICRORADIANS`,
//! `counts`; for the gripper `object PULSES`, `empty`, `fails CODE`, `slow PULSES_PER_SEC`.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};

use firmware_bridge::description::ArmDescription;
use firmware_bridge::emulate::xarm::{Controller, ControllerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let ports = std::env::args().skip(1).map(|port| port.parse());
    let ports = ports.collect::<Result<Vec<u16>, _>>()?;
    let mut options = ControllerOptions::default();
    if let [control, report] = ports[..] {
        options.control = SocketAddr::from((Ipv4Addr::UNSPECIFIED, control));
        options.report = SocketAddr::from((Ipv4Addr::UNSPECIFIED, report));
    }
    let controller = Controller::start(&ArmDescription::find("xarm7")?, options)?;
    let (control, report) = (controller.control().port(), controller.report().port());
    let mut out = io::stdout();
    writeln!(out, "{control} {report}")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["press"] => controller.with(|cabinet| cabinet.press_stop(true)),
            ["release"] => controller.with(|cabinet| cabinet.press_stop(false)),
            ["wall", joint, place] => {
                let (joint, place): (usize, f64) = (joint.parse()?, place.parse()?);
                controller.with(|cabinet| {
                    if let Some(joint) = cabinet.plant().joints.get_mut(joint) {
                        joint.wall = Some(place);
                    }
                });
            }
            ["object", place] => {
                let place = place.parse()?;
                controller.with(|cabinet| cabinet.gripper().object = Some(place));
            }
            ["empty"] => controller.with(|cabinet| cabinet.gripper().object = None),
            ["fails", code] => {
                let code = code.parse()?;
                controller.with(|cabinet| cabinet.gripper().fail(code));
            }
            ["slow", fastest] => {
                let fastest = fastest.parse()?;
                controller.with(|cabinet| cabinet.gripper().limit_speed(fastest));
            }
            ["counts"] => {}
            _ => {
                let known = "press, release, wall, object, empty, fails, slow or counts";
                return Err(format!("expected {known}, found {line:?}").into());
            }
        }
        let (taken, lost) = controller.with(|cabinet| (cabinet.taken, cabinet.lost));
        writeln!(out, "{taken} {lost}")?;
    }
    Ok(())
}
