//! A bridge's telemetry in the rerun viewer. The bridge does not wait for it, nor know of it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::bail;
use engraft_viz::{ArmMoment, ArmRecording, JointMoment, Sink};
use engraft_wire::Subscriber;
use engraft_wire::operator::{BridgeStatus, Telemetry};

use crate::progress::{interrupt_flag, note};

/// How long a bridge may take to be heard.
const SOON: Duration = Duration::from_secs(5);

/// Records what the bridge at `endpoint` says until it is silent, a signal comes, or `seconds` are
/// over.
pub(super) fn watch(endpoint: &str, sinks: &[Sink], seconds: Option<f64>) -> anyhow::Result<()> {
    let stop = interrupt_flag()?;
    let subscriber = Subscriber::connect(endpoint)?;
    let (began, mut heard) = (Instant::now(), Instant::now());
    let mut recording = None;
    while !stop.load(Ordering::SeqCst) {
        if seconds.is_some_and(|seconds| began.elapsed().as_secs_f64() >= seconds) {
            break;
        }
        let Some(telemetry) = subscriber.receive(Duration::from_millis(100))? else {
            if heard.elapsed() < SOON {
                continue;
            }
            if recording.is_none() {
                bail!(
                    "no bridge is heard at {endpoint}: start one with `engraft bridge --arm ARM`"
                );
            }
            note("the bridge is silent: the recording ends here");
            break;
        };
        heard = Instant::now();
        match (telemetry, &recording) {
            (Telemetry::State(status), Some(recording)) => moment(recording, &status)?,
            (Telemetry::State(status), None) => {
                let joints =
                    status.joints.iter().map(|joint| (joint.name.clone(), joint.bounds_rad));
                let joints: Vec<_> = joints.collect();
                let new = ArmRecording::open(&status.arm, &joints, sinks)?;
                moment(&new, &status)?;
                new.event(&status.state, false)?;
                recording = Some(new);
                note(format_args!("{} at {endpoint}: Ctrl-C ends it", status.arm));
            }
            (Telemetry::Event(occurrence), Some(recording)) => {
                let words = [occurrence.cause, occurrence.detail].into_iter().flatten();
                let why = words.fold(String::new(), |all, word| format!("{all}: {word}"));
                let bad = matches!(occurrence.to.as_str(), "Fault" | "Estop");
                recording.event(&format!("{} -> {}{why}", occurrence.from, occurrence.to), bad)?;
            }
            _ => {}
        }
    }
    recording.map_or(Ok(()), |recording| Ok(recording.finish()?))
}

fn moment(recording: &ArmRecording, status: &BridgeStatus) -> anyhow::Result<()> {
    let joints = status.joints.iter().map(|joint| JointMoment {
        position_rad: joint.position_rad,
        goal_rad: joint.goal_rad,
        load: joint.load,
        temperature_c: joint.temperature_c,
    });
    let moment = ArmMoment {
        time_secs: status.time_secs,
        ticks: status.ticks,
        joints: joints.collect(),
        lateness_micros: status.lateness_micros,
    };
    Ok(recording.moment(&moment)?)
}
