//! The reports that the controller streams by itself, a hundred a second.

use super::JOINTS;

/// Bytes of a report.
pub const REAL_REPORT: usize = 87;

/// Bytes of a report with a force sensor's readings.
pub const FORCE_REPORT: usize = 135;

/// Longest report that is believed: a later firmware may append to it.
pub const MAX_REPORT: usize = 1024;

/// What a decoder holds at most.
const CAPACITY: usize = 4096;

/// Why a stream of reports is of no use from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A length that no report of this port has.
    #[error(
        "expected a report of {REAL_REPORT} to {MAX_REPORT} bytes, found {found}: the stream is out of step, connect anew"
    )]
    Length {
        /// What it says.
        found: u32,
    },
    /// The length changed from one report to the next.
    #[error(
        "expected a report of {expected} bytes as before, found {found}: the stream is out of step, connect anew"
    )]
    Changed {
        /// The length of those before.
        expected: u32,
        /// What it says.
        found: u32,
    },
}

/// What the controller says about the arm. Not every number need be finite.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Report {
    /// The mode it is in, as in [`super::Mode`].
    pub mode: u8,
    /// 1 moves, 2 ready, 3 paused, 4 stopped, 5 changed and not started since, 6 stopping.
    pub state: u8,
    /// Commands that wait in its queue.
    pub waiting: u16,
    /// Angles of the joints, in radians.
    pub joints_rad: [f32; JOINTS],
    /// Where the hand is: millimetres, and roll, pitch and yaw in radians.
    pub pose: [f32; 6],
    /// Torques of the joints, in newton metres.
    pub torques_nm: [f32; JOINTS],
    /// Of a force sensor: what acts on the hand, and what it reads; newtons and newton metres.
    pub force: Option<[[f32; 6]; 2]>,
}

impl Report {
    /// Whether it would move if told to.
    pub fn ready(&self) -> bool {
        !matches!(self.state, 4 | 5)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bits = *bytes.get(4)?;
        let waiting = u16::from_be_bytes(*bytes.get(5..7)?.first_chunk()?);
        let force = match bytes.get(REAL_REPORT..FORCE_REPORT) {
            Some(_) => Some([floats(bytes, 87)?, floats(bytes, 111)?]),
            None => None,
        };
        Some(Self {
            mode: bits >> 4,
            state: bits & 0x0F,
            waiting,
            joints_rad: floats(bytes, 7)?,
            pose: floats(bytes, 35)?,
            torques_nm: floats(bytes, 59)?,
            force,
        })
    }
}

fn floats<const N: usize>(bytes: &[u8], at: usize) -> Option<[f32; N]> {
    let (chunks, _) = bytes.get(at..at + 4 * N)?.as_chunks();
    let mut floats = [0.0; N];
    for (float, chunk) in floats.iter_mut().zip(chunks) {
        *float = f32::from_le_bytes(*chunk);
    }
    Some(floats)
}

/// The bytes of a report.
pub fn encode_report(report: &Report) -> Vec<u8> {
    let length = if report.force.is_some() { FORCE_REPORT } else { REAL_REPORT };
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_be_bytes());
    bytes.push(report.mode << 4 | report.state & 0x0F);
    bytes.extend(report.waiting.to_be_bytes());
    let floats = report.joints_rad.iter().chain(&report.pose).chain(&report.torques_nm);
    for float in floats.chain(report.force.iter().flatten().flatten()) {
        bytes.extend(float.to_le_bytes());
    }
    bytes
}

/// Puts reports together from pieces of any size, in bounded memory.
#[derive(Debug, Clone)]
pub struct Reports {
    buffer: Vec<u8>,
    start: usize,
    length: Option<u32>,
    broken: Option<ReportError>,
}

impl Default for Reports {
    fn default() -> Self {
        Self { buffer: Vec::with_capacity(CAPACITY), start: 0, length: None, broken: None }
    }
}

impl Reports {
    /// Takes as many of `bytes` as fit, and says how many. After every report has been taken there
    /// is room for at least one more. Does not allocate.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        self.buffer.drain(..self.start);
        self.start = 0;
        let taken = bytes.len().min(CAPACITY - self.buffer.len());
        self.buffer.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        taken
    }

    /// The next whole report, `None` where more bytes are needed.
    ///
    /// # Errors
    ///
    /// When the bytes are no report; the same from then on.
    pub fn take(&mut self) -> Result<Option<Report>, ReportError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        let Some(&length) = bytes.first_chunk() else { return Ok(None) };
        let found = u32::from_be_bytes(length);
        let wrong = match self.length {
            Some(expected) if expected != found => Some(ReportError::Changed { expected, found }),
            _ if !(REAL_REPORT..=MAX_REPORT).contains(&(found as usize)) => {
                Some(ReportError::Length { found })
            }
            _ => None,
        };
        if let Some(error) = wrong {
            self.broken = Some(error);
            return Err(error);
        }
        let Some(report) = bytes.get(..found as usize).and_then(Report::read) else {
            return Ok(None);
        };
        self.length = Some(found);
        self.start += found as usize;
        Ok(Some(report))
    }

    /// Forgets everything, as for a new connection.
    pub fn clear(&mut self) {
        self.buffer.clear();
        (self.start, self.length, self.broken) = (0, None, None);
    }
}
