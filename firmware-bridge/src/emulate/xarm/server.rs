//! The sockets of an emulated control box, and what goes wrong on them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::control_box::{ControlBox, patience};
use super::gripper::Gripper;
use crate::codecs::xarm::{Frames, Protocol, encode_report, function};
use crate::description::ArmDescription;

/// Between two reports.
const REPORT_PERIOD: Duration = Duration::from_millis(10);
/// How long a thread waits before it looks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);

/// Where an emulated box listens, and how it was built.
#[derive(Debug, Clone, Copy)]
pub struct ControllerOptions {
    /// Where it takes requests; port 0 is any.
    pub control: SocketAddr,
    /// Where it streams reports; port 0 is any.
    pub report: SocketAddr,
    /// How long a client that speaks protocol 3 may say nothing before it is taken for gone.
    pub keep_alive: Duration,
    /// How long a request takes on the hand's bus.
    pub hand_bus: Duration,
}

impl Default for ControllerOptions {
    /// Any port of this machine. The vendor's client takes a box for gone after 90 s, and a
    /// gripper answers after 10 to 30 ms.
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (keep_alive, hand_bus) = (Duration::from_secs(90), Duration::from_millis(15));
        Self { control: any, report: any, keep_alive, hand_bus }
    }
}

/// What can go wrong between a box and its clients. All of it can change while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControllerFaults {
    /// How late every reply comes.
    pub delay: Duration,
    /// Whether nothing comes through any more, in either direction, and nobody hangs up.
    pub black_hole: bool,
    /// Whether no report comes while replies still do.
    pub no_reports: bool,
    /// How many bytes of each reply come; the rest is lost.
    pub cut: Option<usize>,
    /// Whether nothing that goes to the hand's bus is answered any more.
    pub mute_hand: bool,
}

struct Inside {
    cabinet: ControlBox,
    faults: ControllerFaults,
    began: Instant,
    clients: Vec<TcpStream>,
}

struct Shared {
    inside: Mutex<Inside>,
    stop: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The box as it is now.
    fn now(&self) -> MutexGuard<'_, Inside> {
        let mut inside = self.lock();
        let now = inside.began.elapsed();
        inside.cabinet.advance(now);
        inside
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// A running box. Dropping it closes its ports.
pub struct Controller {
    arm: ArmDescription,
    shared: Arc<Shared>,
    options: ControllerOptions,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Controller {
    /// Switches a box on.
    ///
    /// # Errors
    ///
    /// When a port cannot be had; those below 1024 need permission.
    pub fn start(arm: &ArmDescription, options: ControllerOptions) -> io::Result<Self> {
        let inside = Inside {
            cabinet: ControlBox::new(arm),
            faults: ControllerFaults::default(),
            began: Instant::now(),
            clients: Vec::new(),
        };
        let shared = Arc::new(Shared { inside: Mutex::new(inside), stop: AtomicBool::new(false) });
        let mut controller = Self { arm: arm.clone(), shared, options, threads: Vec::new() };
        controller.listen()?;
        Ok(controller)
    }

    /// Where it takes requests.
    pub fn control(&self) -> SocketAddr {
        self.options.control
    }

    /// Where it streams reports.
    pub fn report(&self) -> SocketAddr {
        self.options.report
    }

    /// Looks at the box as it is now, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut ControlBox) -> T) -> T {
        look(&mut self.shared.now().cabinet)
    }

    /// Changes what goes wrong from now on.
    pub fn faults(&self, change: impl FnOnce(&mut ControllerFaults)) {
        change(&mut self.shared.lock().faults);
    }

    /// Closes every connection; new ones are taken.
    pub fn hang_up(&self) {
        for client in self.shared.lock().clients.drain(..) {
            let _ = client.shutdown(std::net::Shutdown::Both); // it may have hung up first
        }
    }

    /// Switches the box off: connections end, ports refuse.
    pub fn power_off(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.hang_up();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a panic there has nothing left to stop here
        }
    }

    /// Switches it on again, at the same ports. The arm is where it was, motors off.
    ///
    /// # Errors
    ///
    /// When a port was taken by another in between.
    pub fn power_on(&mut self) -> io::Result<()> {
        self.power_off();
        {
            let mut inside = self.shared.lock();
            let mut fresh = ControlBox::new(&self.arm);
            fresh.version.clone_from(&inside.cabinet.version);
            let joints = fresh.plant().joints.iter_mut().zip(&inside.cabinet.plant().joints);
            for (joint, before) in joints {
                (joint.position, joint.goal) = (before.position, before.position);
            }
            *fresh.gripper() = Gripper::at(inside.cabinet.gripper().position);
            (inside.cabinet, inside.began) = (fresh, Instant::now());
        }
        self.shared.stop.store(false, Ordering::Release);
        self.listen()
    }

    fn listen(&mut self) -> io::Result<()> {
        let control = TcpListener::bind(self.options.control)?;
        let report = TcpListener::bind(self.options.report)?;
        control.set_nonblocking(true)?;
        report.set_nonblocking(true)?;
        self.options.control = control.local_addr()?;
        self.options.report = report.local_addr()?;
        let (shared, options) = (self.shared.clone(), self.options);
        self.threads.push(
            thread::Builder::new()
                .name("xarm-control".into())
                .spawn(move || accept(&control, &shared, options))?,
        );
        let shared = self.shared.clone();
        self.threads.push(
            thread::Builder::new()
                .name("xarm-report".into())
                .spawn(move || stream_reports(&report, &shared))?,
        );
        Ok(())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.power_off();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, options: ControllerOptions) {
    let mut threads = Vec::new();
    while !shared.stopped() {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Ok(copy) = stream.try_clone() {
                    shared.lock().clients.push(copy);
                }
                let shared = shared.clone();
                let thread = thread::Builder::new()
                    .name("xarm-client".into())
                    .spawn(move || drop(serve(stream, &shared, options)));
                threads.extend(thread);
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
    for thread in threads {
        let _ = thread.join(); // as above
    }
}

/// Answers one client until it or the box goes.
fn serve(mut stream: TcpStream, shared: &Shared, options: ControllerOptions) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    let (mut frames, mut buffer) = (Frames::requests(), [0; 1024]);
    let (mut heard, mut protocol) = (Instant::now(), Protocol::Plain);
    while !shared.stopped() {
        if shared.lock().faults.black_hole {
            thread::sleep(LOOK);
            continue;
        }
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if patience(protocol, options.keep_alive).is_some_and(|most| heard.elapsed() > most)
                {
                    return stream.shutdown(std::net::Shutdown::Both);
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        heard = Instant::now();
        let mut bytes = buffer.get(..count).unwrap_or_default();
        while !bytes.is_empty() {
            bytes = bytes.get(frames.feed(bytes)..).unwrap_or_default();
            loop {
                let frame = match frames.take() {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    // Whoever sends what is no frame is hung up on.
                    Err(_) => return stream.shutdown(std::net::Shutdown::Both),
                };
                protocol = frame.protocol;
                let to_hand = frame.function == function::RS485;
                let (reply, faults) = {
                    let mut inside = shared.now();
                    (inside.cabinet.answer(frame), inside.faults.clone())
                };
                let bus = if to_hand { options.hand_bus } else { Duration::ZERO };
                thread::sleep(faults.delay + bus);
                if !(faults.black_hole || faults.mute_hand && to_hand) {
                    stream.write_all(
                        reply.get(..faults.cut.unwrap_or(reply.len())).unwrap_or(&reply),
                    )?;
                }
            }
        }
    }
    Ok(())
}

fn stream_reports(listener: &TcpListener, shared: &Shared) {
    let mut clients: Vec<TcpStream> = Vec::new();
    let mut due = Instant::now();
    while !shared.stopped() {
        due += REPORT_PERIOD;
        let now = Instant::now();
        match due.checked_duration_since(now) {
            Some(early) => thread::sleep(early),
            None => due = now,
        }
        while let Ok((stream, _)) = listener.accept() {
            if let Ok(copy) = stream.try_clone() {
                shared.lock().clients.push(copy);
            }
            if stream.set_nonblocking(true).and(stream.set_nodelay(true)).is_ok() {
                clients.push(stream);
            }
        }
        let inside = shared.now();
        if inside.faults.black_hole || inside.faults.no_reports {
            continue;
        }
        let report = encode_report(&inside.cabinet.report());
        drop(inside);
        // Who does not read fast enough to take a whole report is hung up on.
        clients.retain_mut(|client| client.write(&report).is_ok_and(|sent| sent == report.len()));
    }
}
