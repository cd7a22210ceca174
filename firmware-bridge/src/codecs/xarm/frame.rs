//! What requests and replies have in common: six bytes of header, and how long the rest is.

/// Bytes before the function.
pub const HEADER: usize = 6;

/// Largest length that a header may announce. The longest reply in use has some 90 bytes; what a
/// gripper says through the controller is at most 256 and a little.
pub const MAX_LENGTH: usize = 512;

/// What a decoder holds at most.
const CAPACITY: usize = 2048;

/// Which rules both sides keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Number 2: what every firmware speaks.
    #[default]
    Plain,
    /// Number 3, from firmware 1.8.6 on: the same frames, and whoever says nothing for long is
    /// taken for gone.
    KeptAlive,
}

impl Protocol {
    /// Its number in a header.
    pub fn number(self) -> u16 {
        match self {
            Self::Plain => 2,
            Self::KeptAlive => 3,
        }
    }
}

/// Why a stream of frames is of no use from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Another protocol, or no header at all.
    #[error(
        "expected protocol 2 or 3 in a header, found {found}: the stream is out of step, connect anew"
    )]
    Protocol {
        /// What the header says.
        found: u16,
    },
    /// A length that no frame has.
    #[error(
        "expected {least} to {MAX_LENGTH} bytes after a header, found {found}: the stream is out of step, connect anew"
    )]
    Length {
        /// The least that makes sense.
        least: usize,
        /// What the header says.
        found: usize,
    },
}

/// One frame: a request, or a reply whose `rest` begins with its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which request this is, or answers.
    pub transaction: u16,
    /// Which rules.
    pub protocol: Protocol,
    /// What is asked.
    pub function: u8,
    /// What follows the function.
    pub rest: &'a [u8],
}

/// Puts frames together from pieces of any size, in bounded memory.
///
/// ```
/// use firmware_bridge::codecs::xarm::Frames;
///
/// let mut frames = Frames::requests();
/// frames.feed(&[0, 1, 0, 2, 0, 2, 12]);
/// assert!(frames.take().unwrap().is_none(), "one byte is missing");
/// frames.feed(&[4]);
/// let stop = frames.take().unwrap().unwrap();
/// assert_eq!((stop.transaction, stop.function, stop.rest), (1, 12, &[4][..]));
/// ```
#[derive(Debug, Clone)]
pub struct Frames {
    buffer: Vec<u8>,
    /// Where what was not taken yet begins.
    start: usize,
    least: usize,
    broken: Option<FrameError>,
}

impl Frames {
    /// What a controller reads.
    pub fn requests() -> Self {
        Self::with(1)
    }

    /// What a client reads: every reply has a state.
    pub fn replies() -> Self {
        Self::with(2)
    }

    fn with(least: usize) -> Self {
        Self { buffer: Vec::with_capacity(CAPACITY), start: 0, least, broken: None }
    }

    /// Takes as many of `bytes` as fit, and says how many. After every frame has been taken there
    /// is room for at least one more. Does not allocate.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        self.buffer.drain(..self.start);
        self.start = 0;
        let taken = bytes.len().min(CAPACITY - self.buffer.len());
        self.buffer.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        taken
    }

    /// The next whole frame, `None` where more bytes are needed.
    ///
    /// # Errors
    ///
    /// When the bytes are no frame; the same from then on.
    pub fn take(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        let (transaction, protocol, length) = match header(bytes, self.least) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.broken = Some(error);
                return Err(error);
            }
        };
        let Some((&function, rest)) =
            bytes.get(HEADER..HEADER + length).and_then(<[u8]>::split_first)
        else {
            return Ok(None);
        };
        self.start += HEADER + length;
        Ok(Some(Frame { transaction, protocol, function, rest }))
    }

    /// Forgets everything, as for a new connection.
    pub fn clear(&mut self) {
        self.buffer.clear();
        (self.start, self.broken) = (0, None);
    }
}

fn header(bytes: &[u8], least: usize) -> Result<Option<(u16, Protocol, usize)>, FrameError> {
    let Some(&[t1, t0, p1, p0, l1, l0]) = bytes.first_chunk() else { return Ok(None) };
    let protocol = match u16::from_be_bytes([p1, p0]) {
        2 => Protocol::Plain,
        3 => Protocol::KeptAlive,
        found => return Err(FrameError::Protocol { found }),
    };
    let length = usize::from(u16::from_be_bytes([l1, l0]));
    if !(least..=MAX_LENGTH).contains(&length) {
        return Err(FrameError::Length { least, found: length });
    }
    Ok(Some((u16::from_be_bytes([t1, t0]), protocol, length)))
}
