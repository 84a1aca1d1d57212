//! Documents that are shown to programs as they came.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::model::RawJson;

/// A document that was read, with its exact text.
#[derive(Debug, Clone)]
pub struct Verbatim<T> {
    /// The text, exactly as the server wrote it.
    pub raw: RawJson,
    /// What it says.
    pub value: T,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Verbatim<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        let value = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
        Ok(Self { raw, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_meaning_are_both_there() {
        let read: Vec<Verbatim<Vec<f64>>> = serde_json::from_str("[[1.10, 2], []]").unwrap();
        assert_eq!(
            (read[0].raw.get(), &read[0].value[..]),
            ("[1.10, 2]", &[1.1, 2.0][..])
        );
        assert!(serde_json::from_str::<Verbatim<bool>>("7").is_err());
    }
}
