//! Saved states. The log can always do without them, so a state that is not exactly ours is refused, never guessed.

use crate::Aggregate;

/// How a state is saved.
///
/// ```
/// use annals_sdk::{SnapshotFormat, prelude::*};
///
/// #[derive(Aggregate, Default, Serialize, Deserialize)]
/// #[aggregate(type = "form", snapshot_format = "json")]
/// struct Form { answers: serde_json_like::Value }
///
/// # mod serde_json_like { pub(crate) use annals_sdk::Value; }
/// assert_eq!(Form::SNAPSHOT_FORMAT, SnapshotFormat::Json);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotFormat {
    /// postcard: small and fast. It stores no field names, so serde's `skip_serializing_if`, `untagged`, `flatten` and
    /// JSON values do not survive it; the testing kit says so.
    Postcard,
    /// JSON: for states that postcard cannot carry.
    Json,
}

impl SnapshotFormat {
    /// The first byte of a saved state. It never changes its meaning.
    const fn tag(self) -> u8 {
        match self {
            Self::Postcard => 1,
            Self::Json => 2,
        }
    }
}

/// Format byte and state version (u32, little endian).
const HEADER_LENGTH: usize = 5;

/// The state as bytes.
///
/// # Errors
/// The state cannot be encoded.
pub(crate) fn save<A: Aggregate>(state: &A) -> Result<Vec<u8>, String> {
    let mut bytes = vec![A::SNAPSHOT_FORMAT.tag()];
    bytes.extend(A::STATE_VERSION.to_le_bytes());
    match A::SNAPSHOT_FORMAT {
        SnapshotFormat::Postcard => {
            postcard::to_extend(state, bytes).map_err(|error| format!("the state cannot be saved: {error}"))
        }
        SnapshotFormat::Json => {
            serde_json::to_writer(&mut bytes, state)
                .map_err(|error| format!("the state cannot be saved: {error}"))?;
            Ok(bytes)
        }
    }
}

/// The state from bytes.
///
/// # Errors
/// The bytes are of another format or state version, do not decode, or have something behind the state.
pub(crate) fn restore<A: Aggregate>(bytes: &[u8]) -> Result<A, String> {
    let Some((header, state)) = bytes.split_first_chunk::<HEADER_LENGTH>() else {
        return Err(format!("{} bytes are too few for a saved state", bytes.len()));
    };
    let [format, version @ ..] = *header;
    let version = u32::from_le_bytes(version);
    if format != A::SNAPSHOT_FORMAT.tag() {
        let expected = A::SNAPSHOT_FORMAT.tag();
        return Err(format!(
            "saved in format {format}, and this module reads format {expected}"
        ));
    }
    if version != A::STATE_VERSION {
        let expected = A::STATE_VERSION;
        return Err(format!(
            "saved with state version {version}, and this module has state version {expected}"
        ));
    }
    match A::SNAPSHOT_FORMAT {
        SnapshotFormat::Postcard => {
            let (state, rest) = postcard::take_from_bytes(state)
                .map_err(|error| format!("the saved state does not decode: {error}"))?;
            if !rest.is_empty() {
                return Err(format!(
                    "{} bytes are left over behind the saved state",
                    rest.len()
                ));
            }
            Ok(state)
        }
        SnapshotFormat::Json => {
            serde_json::from_slice(state).map_err(|error| format!("the saved state does not decode: {error}"))
        }
    }
}

#[cfg(test)]
mod tests;
