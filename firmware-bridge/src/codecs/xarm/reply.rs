//! What the controller answers: its state in every reply, and then what was asked for.

use super::frame::{Frame, Protocol};

/// The state that comes with every reply, a set-point's included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateBits(pub u8);

impl StateBits {
    /// An error is waiting to be cleared.
    pub const ERROR: u8 = 0x40;
    /// A warning is waiting to be cleared.
    pub const WARNING: u8 = 0x20;
    /// It is not ready to move: not enabled, stopped, or changed since.
    pub const NOT_READY: u8 = 0x10;
    /// What was asked makes no sense to it, or failed.
    pub const INVALID: u8 = 0x08;

    /// Whether an error is waiting.
    pub fn error(self) -> bool {
        self.0 & Self::ERROR != 0
    }

    /// Whether a warning is waiting.
    pub fn warning(self) -> bool {
        self.0 & Self::WARNING != 0
    }

    /// Whether it would move if told to.
    pub fn ready(self) -> bool {
        self.0 & Self::NOT_READY == 0
    }

    /// Whether it did not take the request.
    pub fn invalid(self) -> bool {
        self.0 & Self::INVALID != 0
    }

    /// The worst of it in words.
    pub fn words(self) -> &'static str {
        match self.0 {
            state if state & Self::INVALID != 0 => "the request makes no sense to it or failed",
            state if state & Self::ERROR != 0 => "an error is waiting to be cleared",
            state if state & Self::NOT_READY != 0 => {
                "it is not ready to move: not enabled, or stopped"
            }
            state if state & Self::WARNING != 0 => "a warning is waiting to be cleared",
            _ => "all is well",
        }
    }
}

/// Why a reply does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// It is too short.
    #[error(
        "the reply to function {function} has {found} byte(s) of data, expected {expected}: update the controller's firmware"
    )]
    Short {
        /// What was asked.
        function: u8,
        /// Bytes needed.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// A number that is none.
    #[error(
        "the reply to function {function} has a number that is not finite, number {index}: restart the controller"
    )]
    NotFinite {
        /// What was asked.
        function: u8,
        /// Which, from 0.
        index: usize,
    },
    /// Another device on the hand's bus answers, or to something else.
    #[error("expected the hand's bus to answer {expected:?}, found {found:?}: connect anew")]
    Device {
        /// How an answer begins.
        expected: Vec<u8>,
        /// How this one does.
        found: Vec<u8>,
    },
    /// A version that is none.
    #[error("expected a version like 7,7,XS1300,AC1300,v1.13.0, found {found:?}: is this an xArm?")]
    Version {
        /// What it says.
        found: String,
    },
}

/// One reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The request that it answers.
    pub transaction: u16,
    /// Which rules.
    pub protocol: Protocol,
    /// The function that it answers.
    pub function: u8,
    /// How the controller is.
    pub state: StateBits,
    /// What was asked for.
    pub data: &'a [u8],
}

impl<'a> Reply<'a> {
    /// A frame read as a reply; `None` for one without a state, which no reader of replies hands
    /// out.
    pub fn read(frame: Frame<'a>) -> Option<Self> {
        let Frame { transaction, protocol, function, rest } = frame;
        let (&state, data) = rest.split_first()?;
        Some(Self { transaction, protocol, function, state: StateBits(state), data })
    }

    /// The bytes of this reply.
    pub fn encode(&self) -> Vec<u8> {
        let length = u16::try_from(self.data.len() + 2).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(self.data.len() + 8);
        bytes.extend(self.transaction.to_be_bytes());
        bytes.extend(self.protocol.number().to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend([self.function, self.state.0]);
        bytes.extend(self.data);
        bytes
    }

    /// The first `N` bytes of data.
    ///
    /// # Errors
    ///
    /// When there are fewer.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], ReplyError> {
        self.after(0)
    }

    /// The `N` bytes of data that follow the first `skipped`.
    ///
    /// # Errors
    ///
    /// When there are fewer.
    pub fn after<const N: usize>(&self, skipped: usize) -> Result<[u8; N], ReplyError> {
        let data = self.data.get(skipped..).unwrap_or_default();
        data.first_chunk().copied().ok_or(ReplyError::Short {
            function: self.function,
            expected: skipped + N,
            found: self.data.len(),
        })
    }

    /// `N` numbers from number `from` on.
    ///
    /// # Errors
    ///
    /// When there are fewer, or one is not finite.
    pub fn floats<const N: usize>(&self, from: usize) -> Result<[f32; N], ReplyError> {
        let data = self.data.get(from * 4..(from + N) * 4).ok_or(ReplyError::Short {
            function: self.function,
            expected: (from + N) * 4,
            found: self.data.len(),
        })?;
        let mut floats = [0.0; N];
        for (index, (float, bytes)) in floats.iter_mut().zip(data.as_chunks().0).enumerate() {
            *float = f32::from_le_bytes(*bytes);
            if !float.is_finite() {
                return Err(ReplyError::NotFinite { function: self.function, index: from + index });
            }
        }
        Ok(floats)
    }
}

/// What the controller says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Joints of the arm, 5 to 7.
    pub axes: u8,
    /// The kind of arm: 5 to 7 for the xArm of as many axes.
    pub kind: u16,
    /// Serial number of the arm.
    pub arm_serial: String,
    /// Serial number of the control box.
    pub box_serial: String,
    /// Its firmware: major, minor, revision.
    pub firmware: (u16, u16, u16),
}

impl Version {
    /// From the reply to [`super::Request::Version`].
    ///
    /// # Errors
    ///
    /// When it is no version, or one from before 2019, which does not name the arm.
    pub fn parse(data: &[u8]) -> Result<Self, ReplyError> {
        let text = data.split(|&byte| byte == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        let wrong = || ReplyError::Version { found: text.chars().take(60).collect() };
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let [axes, kind, arm_serial, box_serial, .., firmware] = parts[..] else {
            return Err(wrong());
        };
        let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        let at = firmware.find(|c: char| c.is_ascii_digit()).ok_or_else(wrong)?;
        let firmware = firmware.get(at..).unwrap_or_default();
        let end = firmware.find(|c: char| !(c.is_ascii_digit() || c == '.'));
        let firmware = firmware.get(..end.unwrap_or(firmware.len())).unwrap_or_default();
        let numbers: Vec<&str> = firmware.split('.').collect();
        let [major, minor, revision] = numbers[..] else { return Err(wrong()) };
        Ok(Self {
            axes: u8::try_from(number(axes)?).map_err(|_| wrong())?,
            kind: number(kind)?,
            arm_serial: arm_serial.into(),
            box_serial: box_serial.into(),
            firmware: (number(major)?, number(minor)?, number(revision)?),
        })
    }

    /// The protocol that this firmware should be spoken to in.
    pub fn protocol(&self) -> Protocol {
        if self.firmware >= (1, 8, 6) { Protocol::KeptAlive } else { Protocol::Plain }
    }

    /// The firmware in the vendor's notation.
    pub fn firmware_words(&self) -> String {
        let (major, minor, revision) = self.firmware;
        format!("v{major}.{minor}.{revision}")
    }
}
