//! Words on the command line that a config file spells the same way.

use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

/// Reads one word as a config file would; the error lists the words there are.
pub(crate) fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let source: StrDeserializer<'_, Error> = text.into_deserializer();
    T::deserialize(source).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use engraft_policies::Tokens;

    use super::*;

    #[test]
    fn a_word_is_read_and_an_unknown_one_lists_the_known() {
        assert_eq!(word::<Tokens>("cls"), Ok(Tokens::Cls));
        let error = word::<Tokens>("sparse").unwrap_err();
        assert!(error.contains("`dense`") && error.contains("`cls`"), "{error}");
    }
}
