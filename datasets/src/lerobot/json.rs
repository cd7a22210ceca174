//! JSON whose keys keep their order: features stand in the order of the file.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A JSON object as a list of its entries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ordered<V>(pub(super) Vec<(String, V)>);

impl<V> Ordered<V> {
    /// The first entry of that name.
    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

impl<V: Serialize> Serialize for Ordered<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Ordered<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<V>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Names of a feature's dimensions, in any of the shapes that are about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Names {
    /// `null`.
    None(()),
    /// `"x"`.
    One(String),
    /// The position of a name in `{"x": 0, "y": 1}`.
    Position(u64),
    /// `["x", "y"]`, possibly nested.
    List(Vec<Names>),
    /// `{"motors": ["x", "y"]}` or `{"x": 0, "y": 1}`.
    Map(Ordered<Names>),
}

impl Default for Names {
    fn default() -> Self {
        Self::None(())
    }
}

impl Names {
    /// A plain list.
    pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::List(names.into_iter().map(|name| Self::One(name.into())).collect())
    }

    /// Every name, in order.
    pub(super) fn flatten(&self) -> Vec<String> {
        match self {
            Self::None(()) | Self::Position(_) => Vec::new(),
            Self::One(name) => vec![name.clone()],
            Self::List(all) => all.iter().flat_map(Self::flatten).collect(),
            Self::Map(Ordered(entries)) => {
                let positions: Option<Vec<(u64, String)>> = entries
                    .iter()
                    .map(|(name, at)| match at {
                        Self::Position(at) => Some((*at, name.clone())),
                        _ => None,
                    })
                    .collect();
                if let Some(mut positions) = positions {
                    positions.sort();
                    return positions.into_iter().map(|(_, name)| name).collect();
                }
                entries.iter().flat_map(|(_, names)| names.flatten()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: &str) -> Vec<String> {
        serde_json::from_str::<Names>(json).unwrap().flatten()
    }

    #[test]
    fn names_come_in_many_shapes() {
        assert_eq!(names("null"), Vec::<String>::new());
        assert_eq!(names(r#"["z", "a"]"#), ["z", "a"]);
        assert_eq!(names(r#"[["z", "a"], "b"]"#), ["z", "a", "b"]);
        assert_eq!(names(r#"{"motors": ["z", "a"]}"#), ["z", "a"]);
        assert_eq!(names(r#"{"y": ["b"], "x": ["a"]}"#), ["b", "a"]);
        assert_eq!(names(r#"{"a": 1, "z": 0}"#), ["z", "a"]);
    }

    #[test]
    fn an_object_keeps_its_order_both_ways() {
        let text = r#"{"z":1,"a":2}"#;
        let ordered: Ordered<u8> = serde_json::from_str(text).unwrap();
        assert_eq!(ordered.get("a"), Some(&2));
        assert_eq!(serde_json::to_string(&ordered).unwrap(), text);
    }
}
