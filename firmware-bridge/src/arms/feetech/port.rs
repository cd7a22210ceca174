//! A serial port that answers in time or says that it did not.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::termios::ioctl_tiocexcl;
use serial2::{CharSize, FlowControl, Parity, SerialPort, Settings, StopBits};

use crate::motors::MotorsError;

/// Longest time that an FTDI adapter may keep bytes to itself, in milliseconds.
const MAX_LATENCY_MS: u32 = 2;

/// Longest time that a write may wait for room.
const WRITE_TIMEOUT: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Port {
    serial: SerialPort,
    name: Arc<str>,
    baud: u32,
}

impl Port {
    /// Opens it for this process alone, 8 bits, no parity, one stop bit, nothing interpreted.
    pub(super) fn open(path: &Path, baud: u32) -> Result<Self, MotorsError> {
        let name = path.display().to_string();
        let failed = |detail: &str, source| {
            Err(MotorsError::Port { port: name.clone(), detail: detail.into(), source })
        };
        check_latency(Path::new("/sys/class/tty"), path)?;
        let settings = |mut settings: Settings| {
            settings.set_raw();
            settings.set_char_size(CharSize::Bits8);
            settings.set_parity(Parity::None);
            settings.set_stop_bits(StopBits::One);
            settings.set_flow_control(FlowControl::None);
            settings.set_baud_rate(baud)?;
            Ok(settings)
        };
        let mut port = match SerialPort::open(path, settings) {
            Ok(port) => port,
            Err(source) => {
                let detail = match source.kind() {
                    io::ErrorKind::NotFound => "it is not there: plug the adapter in",
                    io::ErrorKind::PermissionDenied => {
                        "it may not be opened: type `sudo usermod -aG dialout $USER`, log in anew"
                    }
                    _ => "it cannot be opened",
                };
                return failed(detail, source);
            }
        };
        if let Err(error) = flock(&port, FlockOperation::NonBlockingLockExclusive) {
            return failed("another process has it: end that one", error.into());
        }
        // A pseudo-terminal outlives us, and the mark with it; there the lock has to do.
        let pseudo = fs::canonicalize(path).is_ok_and(|path| path.starts_with("/dev/pts"));
        if !pseudo && let Err(error) = ioctl_tiocexcl(&port) {
            return failed("it cannot be kept from other processes", error.into());
        }
        if let Err(source) = port.set_write_timeout(WRITE_TIMEOUT) {
            return failed("its timeout cannot be set", source);
        }
        Ok(Self { serial: port, name: name.into(), baud })
    }

    /// How long so many bytes take on the wire.
    pub(super) fn wire(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 10_000_000_000 / u64::from(self.baud.max(1)))
    }

    /// Throws away what has come so far, without waiting for more.
    pub(super) fn discard(&self) -> Result<(), MotorsError> {
        let (mut bytes, now) = ([0; 512], Instant::now());
        // A device that never stops talking must not keep us here.
        for _ in 0..16 {
            if self.read(&mut bytes, now)? == 0 {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), MotorsError> {
        self.serial.write_all(bytes).map_err(|source| self.broken(source, "it takes no bytes"))
    }

    /// What has come by `until`, as soon as there is some: 0 bytes when nothing came.
    pub(super) fn read(&self, bytes: &mut [u8], until: Instant) -> Result<usize, MotorsError> {
        let left = until.saturating_duration_since(Instant::now());
        let patience = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut ready = [PollFd::new(&self.serial, PollFlags::IN)];
        let failed = |error: rustix::io::Errno| self.broken(error.into(), "it cannot be read");
        match poll(&mut ready, Some(&patience)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(0),
            Ok(_) => {}
            Err(error) => return Err(failed(error)),
        }
        match rustix::io::read(&self.serial, bytes) {
            Ok(0) => Err(MotorsError::HungUp { port: self.name.clone() }),
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(failed(error)),
        }
    }

    fn broken(&self, source: io::Error, detail: &str) -> MotorsError {
        let gone = [rustix::io::Errno::IO, rustix::io::Errno::NODEV, rustix::io::Errno::NXIO];
        let port = self.name.clone();
        if gone.iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error())) {
            return MotorsError::HungUp { port };
        }
        let port = port.to_string();
        MotorsError::Port { port, detail: detail.into(), source }
    }
}

/// Refuses an FTDI adapter that keeps what it hears longer than a control period allows. Other
/// adapters have no such setting.
fn check_latency(class: &Path, port: &Path) -> Result<(), MotorsError> {
    let device = fs::canonicalize(port).unwrap_or_else(|_| port.into());
    let Some(name) = device.file_name() else { return Ok(()) };
    let setting = class.join(name).join("device/latency_timer");
    let Ok(text) = fs::read_to_string(&setting) else { return Ok(()) };
    match text.trim().parse::<u32>() {
        Ok(found) if found > MAX_LATENCY_MS => {
            let setting = setting.display();
            let detail = format!(
                "its adapter keeps bytes for {found} ms, expected at most {MAX_LATENCY_MS}: \
                 type `echo 1 | sudo tee {setting}`"
            );
            let source = io::Error::other(format!("latency_timer is {found}"));
            Err(MotorsError::Port { port: port.display().to_string(), detail, source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_that_keeps_bytes_is_refused_with_the_line_to_type() {
        let class = tempfile::tempdir().unwrap();
        let device = class.path().join("ttyUSB7/device");
        fs::create_dir_all(&device).unwrap();
        let port = Path::new("/dev/ttyUSB7");
        check_latency(class.path(), port).unwrap();
        for (found, fine) in [("1\n", true), ("2\n", true), ("16\n", false)] {
            fs::write(device.join("latency_timer"), found).unwrap();
            assert_eq!(check_latency(class.path(), port).is_ok(), fine, "{found}");
        }
        let error = check_latency(class.path(), port).unwrap_err().to_string();
        assert!(error.starts_with("/dev/ttyUSB7: its adapter keeps bytes for 16 ms"), "{error}");
        assert!(error.contains("ttyUSB7/device/latency_timer`"), "{error}");
    }

    #[test]
    fn what_is_not_there_is_said_so() {
        let error = Port::open(Path::new("/dev/ttyNone"), 1_000_000).unwrap_err().to_string();
        assert_eq!(error, "/dev/ttyNone: it is not there: plug the adapter in");
    }
}
