//! The file as LeRobot reads and writes it.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::PrettyFormatter;

use super::{Calibration, CalibrationError, JointCalibration};

impl Calibration {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is of another form, or a range has no width.
    pub fn read(path: &Path) -> Result<Self, CalibrationError> {
        let text = fs::read_to_string(path)
            .map_err(|source| CalibrationError::Read { path: path.into(), source })?;
        let calibration: Self = serde_json::from_str(&text)
            .map_err(|source| CalibrationError::Parse { path: path.into(), source })?;
        calibration.check()?;
        Ok(calibration)
    }

    /// Writes a file, byte for byte as LeRobot does.
    ///
    /// # Errors
    ///
    /// When it cannot be written or would not be read again.
    pub fn write(&self, path: &Path) -> Result<(), CalibrationError> {
        self.check()?;
        fs::write(path, self.to_json())
            .map_err(|source| CalibrationError::Write { path: path.into(), source })
    }

    fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let format = PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
        self.serialize(&mut serializer).expect("names and numbers are always JSON");
        out
    }
}

impl Serialize for Calibration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.joints.len()))?;
        for (name, joint) in &self.joints {
            map.serialize_entry(name, joint)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Calibration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// Keeps the joints in the file's order.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Calibration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("joints by name, each with id, drive_mode, homing_offset and range")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Calibration, A::Error> {
        let mut joints = Vec::new();
        while let Some(joint) = map.next_entry::<String, JointCalibration>()? {
            joints.push(joint);
        }
        Ok(Calibration { joints })
    }
}
