//! Which arm, where it is connected, and what it is calibrated to.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use engraft_wire::journal::JournalWriter;
use engraft_wire::{OperatorDesk, Publisher};

use crate::arms;
use crate::calibration::Calibration;
use crate::control::{Control, ControlOptions, Controls, Granted, Heading, grant};
use crate::description::ArmDescription;
use crate::hub::{Board, Hub};
use crate::kinematics::chain::Chain;
use crate::operator::{self, Leases};
use crate::pilot::{Pilot, PilotConfig};
use crate::units::JointScales;

/// A real arm, or an emulated one.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ArmArgs {
    /// The arm's serial port, best by its name under /dev/serial/by-id, HOST for an xArm or a
    /// Franka, or tcp://HOST:PORT for a simulator.
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// The arm's calibration, as LeRobot writes it.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
}

/// How a bridge runs and is reached.
#[derive(Debug, Clone, clap::Args)]
pub struct BridgeArgs {
    /// Where operators' verbs are listened to.
    #[arg(long, value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:5557")]
    pub control: String,
    /// Where telemetry goes out.
    #[arg(long, value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:5556")]
    pub telemetry: String,
    /// Let other machines reach both: nothing is encrypted, and who reaches them moves the arm.
    #[arg(long)]
    pub insecure_plaintext: bool,
    /// Keep every input and set-point of the control loop in this new file, for `firmware-bridge
    /// verify`.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Do not ask for real-time scheduling and locked memory.
    #[arg(long)]
    pub no_realtime: bool,
}

/// A bridge that owns an arm.
pub(super) struct Bridge {
    /// The arm.
    pub arm: ArmDescription,
    /// Its joints' scales.
    pub scales: Vec<JointScales>,
    /// The way to its control thread.
    pub controls: Controls,
    /// What it says.
    pub board: Board,
    /// Who may move it.
    pub leases: Leases,
    /// What the arm does when this process dies.
    pub when_abandoned: &'static str,
    /// What the system granted.
    pub granted: Option<Granted>,
    /// Where operators' verbs are listened to.
    pub control_endpoint: String,
    /// Where telemetry goes out.
    pub telemetry_endpoint: String,
    control: Control,
    hub: Hub,
    operator: std::thread::JoinHandle<Result<(), engraft_wire::SocketError>>,
}

impl Bridge {
    /// Opens the arm called `name` and starts every thread but the policy's.
    pub(super) fn start(
        name: &str,
        args: &ArmArgs,
        bridge: &BridgeArgs,
        config: PilotConfig,
    ) -> anyhow::Result<Self> {
        let arm = ArmDescription::find(name)?;
        arms::check_built_in(&arm)?;
        let calibration = args.calibration.as_deref().map(Calibration::read).transpose()?;
        let scales = arms::scales(&arm, calibration.as_ref())?;
        let chain = chain(&arm)?;
        let port = args.port.as_deref().with_context(|| {
            format!("--port is missing: say where the {name} is, `firmware-bridge doctor` finds it")
        })?;
        let motors = arms::open(&arm, port, calibration.as_ref())?;
        let when_abandoned = motors.when_abandoned();
        let radians: Vec<_> = scales.iter().map(|scales| scales.radians).collect();
        let pilot = Pilot::new(&arm, &radians, chain, config)?;
        let desk = OperatorDesk::bind(&bridge.control, bridge.insecure_plaintext)?;
        let publisher = Publisher::bind(&bridge.telemetry, bridge.insecure_plaintext)?;
        let mut journal = bridge.journal.as_deref().map(JournalWriter::create).transpose()?;
        if let Some(journal) = &mut journal {
            journal.write(&Heading { arm: arm.clone(), scales: radians, config })?;
        }
        let [control_endpoint, telemetry_endpoint] =
            [desk.endpoint(), publisher.endpoint()].map(str::to_owned);
        // Locked memory is the whole process's; the priority is asked for in the thread itself.
        let granted = (!bridge.no_realtime).then(probe);
        let options =
            ControlOptions { setpoint_hz: arm.setpoint_hz, realtime: !bridge.no_realtime };
        let (control, happenings) = Control::start(motors, pilot, options)?;
        let controls = control.controls();
        let board = Board::default();
        board.set_plan_period(config.plan_period_secs);
        let hub = Hub::start(
            &arm,
            &scales,
            happenings,
            &controls,
            board.clone(),
            Some(publisher),
            journal,
        )?;
        let leases = Leases::new(controls.clone(), board.clone());
        let operator = operator::serve(desk, leases.clone(), config.plan_period_secs)?;
        Ok(Self {
            arm,
            scales,
            controls,
            board,
            leases,
            when_abandoned,
            granted,
            control_endpoint,
            telemetry_endpoint,
            control,
            hub,
            operator,
        })
    }

    /// Whether the control thread has ended by itself.
    pub(super) fn is_finished(&self) -> bool {
        self.control.is_finished()
    }

    /// Brings the arm to rest and ends every thread.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.control.stop();
        let told = self.operator.join();
        self.hub.finish()?;
        ensure!(told.is_ok(), "the operator's thread panicked");
        if let Ok(told) = told {
            told?;
        }
        Ok(())
    }
}

/// What the system grants, tried on a thread that ends at once.
fn probe() -> Granted {
    let tried = std::thread::spawn(grant).join();
    tried.unwrap_or(Granted { priority: false, memory: false })
}

/// The links of an arm that has a workspace to keep.
pub(super) fn chain(arm: &ArmDescription) -> anyhow::Result<Option<Chain>> {
    Ok(if arm.workspace.is_some() { Chain::of(arm)? } else { None })
}
