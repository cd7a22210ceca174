//! A number for each joint, without memory of its own.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::WireError;
use crate::native::at_most;
use crate::operator::MAX_JOINTS;

/// A number for each joint, in the order of the description. Finite, and never on the heap.
#[derive(Clone, Copy, Default, PartialEq)]
pub struct Joints {
    values: [f64; MAX_JOINTS],
    count: usize,
}

impl Joints {
    /// Takes a number for each joint.
    ///
    /// # Errors
    ///
    /// When there are more than [`MAX_JOINTS`], or one is not finite.
    pub fn new(values: &[f64]) -> Result<Self, WireError> {
        at_most("joints of an arm", MAX_JOINTS, values.len())?;
        let mut joints = Self::default();
        values.iter().try_for_each(|&value| joints.push(value))?;
        Ok(joints)
    }

    fn push(&mut self, value: f64) -> Result<(), WireError> {
        let Some(place) = self.values.get_mut(self.count) else {
            return at_most("joints of an arm", MAX_JOINTS, self.count + 1);
        };
        finite("a joint's number", value)?;
        *place = value;
        self.count += 1;
        Ok(())
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[f64] {
        &self.values[..self.count]
    }
}

impl fmt::Debug for Joints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl Serialize for Joints {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Joints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = Joints;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_JOINTS} finite numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Joints, A::Error> {
                let mut joints = Joints::default();
                while let Some(value) = all.next_element()? {
                    joints.push(value).map_err(|error| match error {
                        WireError::Header { detail } => A::Error::custom(detail),
                        error => A::Error::custom(error),
                    })?;
                }
                Ok(joints)
            }
        }
        deserializer.deserialize_seq(Numbers)
    }
}

/// An error where a number is none, or has no end.
pub(super) fn finite(what: &str, value: f64) -> Result<(), WireError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(WireError::Header { detail: format!("{what}: expected a finite number, found {value}") })
}
