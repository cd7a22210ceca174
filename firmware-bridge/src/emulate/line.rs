//! A pseudo-terminal with a device behind it, as slow as the real bus.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::Plant;
use super::faults::{Damage, Faults};
use crate::control::raise_priority;

/// A device on a serial bus: bytes in, bytes out.
pub trait Device: Send + 'static {
    /// Lets time pass until `now`, counted from the emulator's start.
    fn advance(&mut self, now: Duration);

    /// Takes bytes as they come from the host, in pieces of any size, and adds what is answered.
    fn receive(&mut self, bytes: &[u8], faults: &Faults, replies: &mut Vec<Reply>);

    /// The joints.
    fn plant(&mut self) -> &mut Plant;
}

/// What a device answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How long it waits before the first byte.
    pub after: Duration,
    /// What it sends.
    pub bytes: Vec<u8>,
}

/// How an emulator stands on the machine.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Bits per second: ten to a byte, in both directions. `None` for a wire without delay.
    pub baud: Option<u32>,
    /// A stable name for the pseudo-terminal, made anew and removed at the end.
    pub link: Option<PathBuf>,
    /// Seed of what goes wrong.
    pub seed: u64,
}

/// Why an emulator cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// There is no pseudo-terminal to be had.
    #[error("cannot open a pseudo-terminal")]
    Terminal(#[source] io::Error),
    /// The link cannot be made.
    #[error("cannot link the pseudo-terminal (path: {path:?})")]
    Link {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its thread cannot be started.
    #[error("cannot start the emulator's thread")]
    Thread(#[source] io::Error),
}

struct Inside<D> {
    device: D,
    faults: Faults,
    /// The last error of the line itself, for whoever looks.
    trouble: Option<io::Error>,
}

struct Shared<D> {
    inside: Mutex<Inside<D>>,
    stop: AtomicBool,
}

impl<D> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, Inside<D>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running emulator. Dropping it takes the pseudo-terminal away.
pub struct Emulator<D: Device> {
    shared: Arc<Shared<D>>,
    path: PathBuf,
    options: Options,
    began: Instant,
    thread: Option<JoinHandle<()>>,
}

impl<D: Device> fmt::Debug for Emulator<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<D: Device> Emulator<D> {
    /// Starts `device` on a pseudo-terminal of its own.
    ///
    /// # Errors
    ///
    /// When there is no pseudo-terminal, link or thread to be had.
    pub fn start(device: D, options: Options) -> Result<Self, EmulatorError> {
        let inside = Inside { device, faults: Faults::default(), trouble: None };
        let shared = Arc::new(Shared { inside: Mutex::new(inside), stop: AtomicBool::new(false) });
        let began = Instant::now();
        let mut emulator = Self { shared, path: PathBuf::new(), options, began, thread: None };
        emulator.plug_in()?;
        Ok(emulator)
    }

    /// The pseudo-terminal that stands for the serial port: its link, where it has one.
    pub fn path(&self) -> &Path {
        self.options.link.as_deref().unwrap_or(&self.path)
    }

    /// Looks at the device, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut D) -> T) -> T {
        look(&mut self.shared.lock().device)
    }

    /// Changes what goes wrong from now on.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.lock().faults);
    }

    /// The error that ended the line, if one did.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.as_ref().map(ToString::to_string)
    }

    /// Pulls the cable: whoever has the port open sees it hang up.
    pub fn hang_up(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has nothing left to stop here
        }
        if let Some(link) = &self.options.link {
            let _ = fs::remove_file(link); // somebody may have removed it already
        }
    }

    /// Plugs the cable in again: the same device, at another pseudo-terminal under the same link.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn plug_in(&mut self) -> Result<(), EmulatorError> {
        self.hang_up();
        let line = Line::open().map_err(|error| EmulatorError::Terminal(error.into()))?;
        self.path.clone_from(&line.path);
        if let Some(link) = &self.options.link {
            let there = link.symlink_metadata().is_ok_and(|found| found.is_symlink());
            let made = if there { fs::remove_file(link) } else { Ok(()) };
            made.and_then(|()| symlink(&line.path, link))
                .map_err(|source| EmulatorError::Link { path: link.clone(), source })?;
        }
        self.shared.stop.store(false, Ordering::Release);
        let (shared, options, began) = (self.shared.clone(), self.options.clone(), self.began);
        let thread = thread::Builder::new().name("emulator".into()).spawn(move || {
            // A real device does not wait for the host's other programs.
            let _ = raise_priority();
            if let Err(error) = line.run(&shared, &options, began) {
                shared.lock().trouble = Some(error.into());
            }
        });
        self.thread = Some(thread.map_err(EmulatorError::Thread)?);
        Ok(())
    }
}

impl<D: Device> Drop for Emulator<D> {
    fn drop(&mut self) {
        self.hang_up();
    }
}

struct Line {
    master: OwnedFd,
    /// Kept open, so that the master does not hang up when the host closes its side.
    _slave: OwnedFd,
    path: PathBuf,
}

impl Line {
    fn open() -> rustix::io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&*name, flags, Mode::empty())?;
        let mut attributes = tcgetattr(&slave)?;
        attributes.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &attributes)?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        Ok(Self { master, _slave: slave, path })
    }

    fn run<D: Device>(
        &self,
        shared: &Shared<D>,
        options: &Options,
        began: Instant,
    ) -> rustix::io::Result<()> {
        let mut damage = Damage::new(options.seed);
        let mut buffer = vec![0; 4096];
        let mut replies = Vec::new();
        let wire = |bytes: usize| {
            let bits = bytes as f64 * 10.0;
            options
                .baud
                .map_or(Duration::ZERO, |baud| Duration::from_secs_f64(bits / f64::from(baud)))
        };
        while !shared.stop.load(Ordering::Acquire) {
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            let patience = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
            if poll(&mut ready, Some(&patience))? == 0 {
                shared.lock().device.advance(began.elapsed());
                continue;
            }
            let count = rustix::io::read(&self.master, &mut buffer)?;
            let heard = buffer.get(..count).unwrap_or_default();
            // The device has heard all of it when the last bit has gone over the wire.
            let mut due = Instant::now() + wire(count);
            let arriving: Vec<Vec<u8>> = {
                let mut inside = shared.lock();
                let Inside { device, faults, .. } = &mut *inside;
                device.advance(began.elapsed());
                if faults.both_ways {
                    device.receive(&damage.damage(faults, heard), faults, &mut replies);
                } else {
                    device.receive(heard, faults, &mut replies);
                }
                due += faults.delay;
                let mut arriving = Vec::with_capacity(replies.len() + 2);
                if faults.echo {
                    arriving.push(heard.to_vec());
                }
                if !replies.is_empty() && !faults.stale.is_empty() {
                    arriving.push(std::mem::take(&mut faults.stale));
                }
                for Reply { after, bytes } in replies.drain(..) {
                    due += after + wire(bytes.len());
                    arriving.push(damage.damage(faults, &bytes));
                }
                arriving
            };
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() && !arriving.is_empty() {
                thread::sleep(early);
            }
            for bytes in arriving {
                self.write(&bytes, shared)?;
            }
        }
        Ok(())
    }

    fn write<D>(&self, mut bytes: &[u8], shared: &Shared<D>) -> rustix::io::Result<()> {
        while !bytes.is_empty() && !shared.stop.load(Ordering::Acquire) {
            let mut ready = [PollFd::new(&self.master, PollFlags::OUT)];
            // A host that does not read must not keep the emulator from stopping.
            let patience = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
            if poll(&mut ready, Some(&patience))? == 0 {
                continue;
            }
            let written = rustix::io::write(&self.master, bytes)?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulate::PlantJoint;

    /// Answers each byte with the one after it.
    struct Successor(Plant);

    impl Device for Successor {
        fn advance(&mut self, now: Duration) {
            self.0.advance(now);
        }

        fn receive(&mut self, bytes: &[u8], _: &Faults, replies: &mut Vec<Reply>) {
            let bytes = bytes.iter().map(|byte| byte.wrapping_add(1)).collect();
            replies.push(Reply { after: Duration::ZERO, bytes });
        }

        fn plant(&mut self) -> &mut Plant {
            &mut self.0
        }
    }

    fn successor() -> Successor {
        Successor(Plant::new(vec![PlantJoint::new(0.0, 1.0, 1.0)]))
    }

    fn open(path: &Path) -> serial2::SerialPort {
        let mut port = serial2::SerialPort::open(path, 1_000_000).unwrap();
        port.set_read_timeout(Duration::from_secs(2)).unwrap();
        port
    }

    #[test]
    fn bytes_go_in_and_answers_come_out_at_the_speed_of_the_bus() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("arm");
        let options = Options { baud: Some(100_000), link: Some(link.clone()), seed: 0 };
        let mut emulator = Emulator::start(successor(), options).unwrap();
        assert_eq!(emulator.path(), link);
        let port = open(&link);
        let began = Instant::now();
        port.write_all(&[13; 100]).unwrap();
        let mut answer = [0; 100];
        port.read_exact(&mut answer).unwrap();
        // All 256 values pass unchanged in a raw terminal; here the one that a cooked one eats.
        assert_eq!(answer, [14; 100]);
        assert!(began.elapsed() >= Duration::from_millis(20), "200 bytes at 10 kB/s");

        // A cable pulled and plugged in again.
        emulator.hang_up();
        assert!(!link.exists());
        assert!(port.read_exact(&mut answer).is_err());
        emulator.plug_in().unwrap();
        let port = open(&link);
        port.write_all(&[1]).unwrap();
        port.read_exact(&mut answer[..1]).unwrap();
        assert_eq!(answer[0], 2);
        drop(emulator);
        assert!(!link.exists());
    }

    #[test]
    fn the_adapter_may_echo_and_hold_bytes_of_before() {
        let emulator = Emulator::start(successor(), Options::default()).unwrap();
        emulator.faults(|faults| (faults.echo, faults.stale) = (true, vec![99]));
        let port = open(emulator.path());
        for expected in [&[7, 99, 8][..], &[7, 8]] {
            port.write_all(&[7]).unwrap();
            let mut answer = vec![0; expected.len()];
            port.read_exact(&mut answer).unwrap();
            assert_eq!(answer, expected);
        }
    }
}
