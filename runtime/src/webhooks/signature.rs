//! Signatures by Standard Webhooks (<https://www.standardwebhooks.com>).

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

use crate::consumers::Secret;

/// What `webhook-signature` says: a signature with each of the secrets.
pub(super) fn signatures<'a>(
    secrets: impl Iterator<Item = &'a Secret>,
    id: &str,
    timestamp: u64,
    body: &[u8],
) -> String {
    let signatures = secrets.map(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    });
    signatures.collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that the libraries of Standard Webhooks test with.
    #[test]
    fn the_published_example_holds() {
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = b"{\"test\": 2432232314}";
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(
            signatures([&secret].into_iter(), id, 1_614_265_330, body),
            expected
        );
        let twice = signatures([&secret, &secret].into_iter(), id, 1_614_265_330, body);
        assert_eq!(twice, format!("{expected} {expected}"));
    }
}
