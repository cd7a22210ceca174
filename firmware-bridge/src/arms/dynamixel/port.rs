//! The serial port: opened by nobody else, and never waited for longer than agreed.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::termios::{ioctl_tiocexcl, ioctl_tiocnxcl};
use serial2::SerialPort;

use crate::codecs::dynamixel::{Decoder, Packet};
use crate::motors::MotorsError;

/// Where the system tells of USB adapters.
pub(super) const SYSFS: &str = "/sys/bus/usb-serial/devices";
/// An adapter that keeps bytes longer than this caps the cycle, in milliseconds.
const MAX_LATENCY_MS: u32 = 2;

#[derive(Debug)]
pub(super) struct Port {
    serial: SerialPort,
    name: Arc<str>,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Port {
    pub(super) fn open(path: &Path, baud: u32, sysfs: &Path) -> Result<Self, MotorsError> {
        check_latency(path, sysfs)?;
        let failed = |detail: String, source: io::Error| MotorsError::Port {
            port: path.display().to_string(),
            detail,
            source,
        };
        let mut serial = SerialPort::open(path, baud).map_err(|source| {
            failed(format!("cannot be opened at {baud} baud: is it plugged in and yours?"), source)
        })?;
        // One keeps others out that run as somebody, the other those that run as root.
        let alone = flock(&serial, FlockOperation::NonBlockingLockExclusive);
        alone.and_then(|()| ioctl_tiocexcl(&serial)).map_err(|source| {
            failed("is in use by another program: stop that first".into(), source.into())
        })?;
        let quick = serial.set_write_timeout(Duration::from_millis(50));
        quick.map_err(|source| failed("cannot be set up".into(), source))?;
        let (decoder, buffer) = (Decoder::default(), vec![0; 1024]);
        Ok(Self { serial, name: path.display().to_string().into(), decoder, buffer })
    }

    /// Forgets what came before and sends `bytes`.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), MotorsError> {
        self.decoder.clear();
        let sent = self.serial.discard_input_buffer().and_then(|()| self.serial.write_all(bytes));
        sent.map_err(|source| self.broken(source))
    }

    /// Waits for the next packet; whether there is one for [`packet`](Self::packet).
    pub(super) fn advance(&mut self, until: Instant) -> Result<bool, MotorsError> {
        loop {
            if self.decoder.advance() {
                return Ok(true);
            }
            let rest = until.saturating_duration_since(Instant::now());
            let patience =
                Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() };
            let mut ready = [PollFd::new(&self.serial, PollFlags::IN)];
            let count = match poll(&mut ready, Some(&patience)) {
                Ok(0) => return Ok(self.rest()),
                Ok(_) => rustix::io::read(&self.serial, &mut self.buffer),
                Err(error) => Err(error),
            };
            match count {
                Ok(0) => return Err(self.hung_up()),
                Ok(count) => self.decoder.feed(self.buffer.get(..count).unwrap_or_default()),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) if !rest.is_zero() => {}
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(self.rest()),
                Err(error) => return Err(self.broken(error.into())),
            }
        }
    }

    /// Nothing more comes: what looked like the start of a packet may hide whole ones.
    fn rest(&mut self) -> bool {
        for _ in 0..self.buffer.len() {
            self.decoder.give_up();
            if self.decoder.advance() {
                return true;
            }
        }
        false
    }

    pub(super) fn packet(&self) -> Option<Packet<'_>> {
        self.decoder.packet()
    }

    /// Bytes so far that were no packet.
    pub(super) fn skipped(&self) -> u64 {
        self.decoder.skipped()
    }

    fn hung_up(&self) -> MotorsError {
        MotorsError::HungUp { port: self.name.clone() }
    }

    fn broken(&self, source: io::Error) -> MotorsError {
        use rustix::io::Errno;
        let gone = [Errno::IO, Errno::NODEV, Errno::NXIO, Errno::PIPE, Errno::BADF];
        let error = source.raw_os_error().map(Errno::from_raw_os_error);
        if error.is_some_and(|error| gone.contains(&error)) {
            return self.hung_up();
        }
        let port = self.name.to_string();
        MotorsError::Port { port, detail: "cannot be read or written".into(), source }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = ioctl_tiocnxcl(&self.serial); // a port that is gone has nobody to keep out
    }
}

/// Refuses an adapter that keeps bytes for longer than a cycle bears.
fn check_latency(path: &Path, sysfs: &Path) -> Result<(), MotorsError> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let Some(name) = real.file_name() else { return Ok(()) };
    let file = sysfs.join(name).join("latency_timer");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) }; // other adapters have none
    match text.trim().parse::<u32>() {
        Ok(millis) if millis > MAX_LATENCY_MS => Err(MotorsError::Port {
            port: path.display().to_string(),
            detail: format!(
                "expected an adapter's latency timer of at most {MAX_LATENCY_MS} ms, found {millis}: \
                 type `echo 1 | sudo tee {}`",
                file.display()
            ),
            source: io::ErrorKind::Unsupported.into(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_that_is_slow_is_refused_with_the_line_to_type() {
        let folder = tempfile::tempdir().unwrap();
        let [device, sysfs] = ["dev", "sys/ttyUSB7"].map(|name| folder.path().join(name));
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(&sysfs).unwrap();
        let (tty, link) = (device.join("ttyUSB7"), device.join("by-id"));
        fs::write(&tty, "").unwrap();
        std::os::unix::fs::symlink(&tty, &link).unwrap();
        let root = folder.path().join("sys");
        assert!(check_latency(&link, &root).is_ok(), "not every adapter has a timer");
        fs::write(sysfs.join("latency_timer"), "1\n").unwrap();
        assert!(check_latency(&link, &root).is_ok());
        fs::write(sysfs.join("latency_timer"), "16\n").unwrap();
        let error = check_latency(&link, &root).unwrap_err().to_string();
        assert!(error.contains("at most 2 ms, found 16: type `echo 1 | sudo tee "), "{error}");
        assert!(error.contains("ttyUSB7/latency_timer`"), "{error}");
    }
}
