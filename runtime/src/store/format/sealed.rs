//! Values that lie in a table by themselves: each ends with a CRC-32C over itself and over what it belongs to, so that none
//! passes for another one's.

use super::{Malformed, checksum};

/// Closes a value with its checksum.
pub(in crate::store) fn seal(mut value: Vec<u8>, belongs_to: &[&[u8]]) -> Vec<u8> {
    let crc = crc_of(&value, belongs_to);
    value.extend_from_slice(&crc.to_be_bytes());
    value
}

/// Checks a value and takes its checksum off.
pub(in crate::store) fn unseal<'a>(value: &'a [u8], belongs_to: &[&[u8]]) -> Result<&'a [u8], Malformed> {
    let (value, crc) = value
        .split_last_chunk::<4>()
        .ok_or(Malformed("value: it is too short"))?;
    if u32::from_be_bytes(*crc) != crc_of(value, belongs_to) {
        return Err(Malformed("value: its checksum does not match"));
    }
    Ok(value)
}

fn crc_of(value: &[u8], belongs_to: &[&[u8]]) -> u32 {
    checksum([value].into_iter().chain(belongs_to.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_good_only_in_its_own_place() {
        let sealed = seal(b"content".to_vec(), &[b"key", b"log"]);
        assert_eq!(unseal(&sealed, &[b"key", b"log"]), Ok(&b"content"[..]));
        assert!(unseal(&sealed, &[b"kez", b"log"]).is_err());
        assert!(unseal(&sealed, &[b"key"]).is_err());
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(unseal(&flipped, &[b"key", b"log"]).is_err(), "byte {at}");
            assert!(unseal(&sealed[..at], &[b"key", b"log"]).is_err(), "{at} bytes");
        }
    }
}
