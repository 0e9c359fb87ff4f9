//! DSSE, the envelope that carries in-toto statements. The envelope itself is `core`'s; here it meets the
//! instance's key.

pub use bascule_core::dsse::{Envelope, EnvelopeSignature, pre_authentication_encoding};

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_ledger::InstanceKey;
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE},
    };
    use proptest::prelude::*;

    /// The example of the DSSE protocol document.
    #[test]
    fn the_encoding_is_that_of_the_specification() {
        let bytes = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(pre_authentication_encoding("", b""), b"DSSEv1 0  0 ");
        // Lengths count bytes, not characters.
        assert_eq!(
            pre_authentication_encoding("é", "é".as_bytes()),
            "DSSEv1 2 é 2 é".as_bytes()
        );
    }

    #[test]
    fn a_signature_holds_for_its_key_and_type_only() {
        let (key, other) = (InstanceKey::generate(), InstanceKey::generate());
        let envelope = Envelope::sign("a/b", b"text", &key);
        let envelope = Envelope::from_json(&envelope.to_json()).unwrap();
        assert_eq!(envelope.verify("a/b", &key.public()), Ok(b"text".to_vec()));
        assert!(
            envelope
                .verify("a/c", &key.public())
                .unwrap_err()
                .contains("not `a/c`")
        );
        assert!(
            envelope
                .verify("a/b", &other.public())
                .unwrap_err()
                .contains("has not signed it")
        );
        let mut forged = envelope.clone();
        forged.payload = STANDARD.encode(b"tent");
        assert!(
            forged
                .verify("a/b", &key.public())
                .unwrap_err()
                .contains("does not fit")
        );
    }

    #[test]
    fn url_safe_base64_is_accepted() {
        let key = InstanceKey::generate();
        let mut envelope = Envelope::sign("t", &[0xfb, 0xff, 0xfe], &key);
        envelope.payload = URL_SAFE.encode([0xfb, 0xff, 0xfe]);
        assert_eq!(envelope.verify("t", &key.public()), Ok(vec![0xfb, 0xff, 0xfe]));
    }

    proptest! {
        #[test]
        fn noise_is_refused_without_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), text in ".*") {
            let key = InstanceKey::generate().public();
            prop_assert!(Envelope::from_json(&noise).is_err());
            let envelope = Envelope { payload: text.clone(), payload_type: "t".to_owned(), signatures: vec![EnvelopeSignature { keyid: text.clone(), sig: text }] };
            prop_assert!(envelope.verify("t", &key).is_err());
        }
    }
}
