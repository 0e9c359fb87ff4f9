//! Reading OpenSSH's public key format: `algorithm base64 comment` (RFC 4253 §6.6, RFC 5656, RFC 8709, and
//! OpenSSH's PROTOCOL.u2f for hardware keys).

use bascule_core::{Problem, Result};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use sha2::{Digest as _, Sha256};

/// A public key that was read and may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicSshKey {
    /// The algorithm's name, as in the file.
    pub algorithm: &'static str,
    /// The algorithm and length, for people.
    pub description: String,
    /// `algorithm base64`, without the comment.
    pub line: String,
    /// SHA-256 fingerprint as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The key's own comment.
    pub comment: String,
}

/// Least length of an RSA key, in bits: good beyond 2030 (NIST SP 800-57).
const RSA_BITS: usize = 3072;
/// Longest RSA key: longer ones cost the server more than they protect.
const RSA_MOST_BITS: usize = 16_384;
const MOST_BYTES: usize = 16 * 1024;

enum Shape {
    Rsa,
    Ed25519,
    Ecdsa { curve: &'static str, bytes: usize },
    HardwareEd25519,
    HardwareEcdsa,
}

const ALGORITHMS: &[(&str, Shape)] = &[
    ("ssh-ed25519", Shape::Ed25519),
    (
        "ecdsa-sha2-nistp256",
        Shape::Ecdsa {
            curve: "nistp256",
            bytes: 65,
        },
    ),
    (
        "ecdsa-sha2-nistp384",
        Shape::Ecdsa {
            curve: "nistp384",
            bytes: 97,
        },
    ),
    (
        "ecdsa-sha2-nistp521",
        Shape::Ecdsa {
            curve: "nistp521",
            bytes: 133,
        },
    ),
    ("sk-ssh-ed25519@openssh.com", Shape::HardwareEd25519),
    ("sk-ecdsa-sha2-nistp256@openssh.com", Shape::HardwareEcdsa),
    ("ssh-rsa", Shape::Rsa),
];

/// Reads a public key.
///
/// # Errors
/// Says what is wrong: it is a private key, damaged, of an algorithm that is broken or unknown, or too short.
pub fn parse(text: &str) -> Result<PublicSshKey> {
    let text = text.trim();
    if text.contains("PRIVATE KEY") {
        return Err(Problem::invalid("private_key", "This is a private key. It was not stored.")
            .why("A private key proves that you are you; nobody else may have it. It has now crossed the network.")
            .next("Make a new pair with `ssh-keygen -t ed25519`, and paste the file that ends in `.pub`."));
    }
    if text.len() > MOST_BYTES || text.lines().count() > 1 {
        return Err(unreadable("it is more than one line"));
    }
    let mut words = text.splitn(3, [' ', '\t']);
    let (name, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let comment: String = words
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect();
    if name == "ssh-dss" {
        return Err(Problem::invalid("broken_algorithm", "DSA keys are not accepted.")
            .why("They are limited to 1024 bits, and OpenSSH has dropped them.")
            .next("Make a new key with `ssh-keygen -t ed25519`."));
    }
    let Some((algorithm, shape)) = ALGORITHMS.iter().find(|(known, _)| *known == name) else {
        return Err(unreadable(
            "it does not begin with a known algorithm such as `ssh-ed25519`",
        ));
    };
    let bytes = STANDARD
        .decode(blob)
        .map_err(|_| unreadable("its second word is not base64"))?;
    let mut rest = bytes.as_slice();
    if string(&mut rest) != Some(algorithm.as_bytes()) {
        return Err(unreadable("its two statements of the algorithm differ"));
    }
    let description = match shape {
        Shape::Ed25519 => string(&mut rest)
            .filter(|key| key.len() == 32)
            .map(|_| "Ed25519".to_owned()),
        Shape::Ecdsa { curve, bytes } => point(&mut rest, curve, *bytes).map(|()| format!("ECDSA {curve}")),
        Shape::HardwareEd25519 => string(&mut rest)
            .filter(|key| key.len() == 32)
            .and_then(|_| string(&mut rest))
            .map(|_| "Ed25519 in hardware".to_owned()),
        Shape::HardwareEcdsa => point(&mut rest, "nistp256", 65)
            .and_then(|()| string(&mut rest))
            .map(|_| "ECDSA nistp256 in hardware".to_owned()),
        Shape::Rsa => match (number_bits(&mut rest), number_bits(&mut rest)) {
            (Some(2..), Some(bits)) => {
                rsa_length(bits)?;
                Some(format!("RSA {bits}"))
            }
            _ => None,
        },
    };
    let description = description
        .filter(|_| rest.is_empty())
        .ok_or_else(|| unreadable("its contents are damaged"))?;
    Ok(PublicSshKey {
        algorithm,
        description,
        line: format!("{algorithm} {}", STANDARD.encode(&bytes)),
        fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&bytes))),
        comment,
    })
}

fn unreadable(why: &str) -> Problem {
    Problem::invalid(
        "bad_key",
        format!("This is no public key in OpenSSH's format: {why}."),
    )
    .why("The format is one line: algorithm, base64, comment.")
    .next("Paste the whole line of the file that ends in `.pub`, such as ~/.ssh/id_ed25519.pub.")
}

fn rsa_length(bits: usize) -> Result<()> {
    if bits < RSA_BITS {
        return Err(Problem::invalid(
            "key_too_short",
            format!("This RSA key has {bits} bits; at least {RSA_BITS} are needed."),
        )
        .why("Shorter ones can be broken.")
        .next("Make a new key with `ssh-keygen -t ed25519`."));
    }
    if bits > RSA_MOST_BITS {
        return Err(Problem::invalid(
            "key_too_long",
            format!("This RSA key has {bits} bits; at most {RSA_MOST_BITS} are accepted."),
        )
        .why("Longer ones cost the server more than they protect.")
        .next("Make a new key with `ssh-keygen -t ed25519`."));
    }
    Ok(())
}

/// A string of RFC 4251 §5: four bytes of length, then that many bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if length > tail.len() {
        return None;
    }
    let (value, tail) = tail.split_at(length);
    *rest = tail;
    Some(value)
}

/// The length in bits of a positive number.
fn number_bits(rest: &mut &[u8]) -> Option<usize> {
    let value = string(rest)?;
    if value.first().is_some_and(|first| first & 0x80 != 0) {
        return None;
    }
    let start = value.iter().position(|byte| *byte != 0)?;
    let zeros = usize::try_from(value[start].leading_zeros()).ok()?;
    Some((value.len() - start) * 8 - zeros)
}

fn point(rest: &mut &[u8], curve: &str, bytes: usize) -> Option<()> {
    if string(rest)? != curve.as_bytes() {
        return None;
    }
    let point = string(rest)?;
    (point.len() == bytes && point.first() == Some(&4)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blob(parts: &[&[u8]]) -> String {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend(*part);
        }
        STANDARD.encode(bytes)
    }

    fn rsa(bits: usize) -> String {
        let mut modulus = vec![0_u8; bits / 8 + 1];
        modulus[1] = 0x80;
        format!("ssh-rsa {} me@host", blob(&[b"ssh-rsa", &[1, 0, 1], &modulus]))
    }

    #[test]
    fn a_real_key_has_the_fingerprint_that_ssh_keygen_prints() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl hosted";
        let key = parse(line).unwrap();
        assert_eq!(
            key.fingerprint,
            "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
        );
        assert_eq!(
            (key.description.as_str(), key.comment.as_str()),
            ("Ed25519", "hosted")
        );
    }

    #[test]
    fn lengths_and_algorithms_are_checked() {
        assert_eq!(parse(&rsa(3072)).unwrap().description, "RSA 3072");
        assert_eq!(parse(&rsa(2048)).unwrap_err().code, "key_too_short");
        assert_eq!(parse(&rsa(32_768)).unwrap_err().code, "key_too_long");
        assert_eq!(parse("ssh-dss AAAA x").unwrap_err().code, "broken_algorithm");
        let point = [[4_u8].as_slice(), &[7; 64]].concat();
        let ecdsa = format!(
            "ecdsa-sha2-nistp256 {}",
            blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &point])
        );
        assert_eq!(parse(&ecdsa).unwrap().description, "ECDSA nistp256");
    }

    #[test]
    fn damaged_foreign_and_private_keys_are_refused() {
        let mixed = format!("ssh-ed25519 {}", blob(&[b"ssh-rsa", &[7; 32]]));
        let short = format!("ssh-ed25519 {}", blob(&[b"ssh-ed25519", &[7; 31]]));
        let long = format!("ssh-ed25519 {}", blob(&[b"ssh-ed25519", &[7; 32], b"more"]));
        for bad in [
            "",
            "hello",
            "ssh-ed25519",
            "ssh-ed25519 !!!",
            &mixed,
            &short,
            &long,
            "command=\"x\" ssh-ed25519 AAAA",
        ] {
            assert_eq!(parse(bad).unwrap_err().code, "bad_key", "{bad}");
        }
        assert_eq!(
            parse("-----BEGIN OPENSSH PRIVATE KEY-----\nAAA")
                .unwrap_err()
                .code,
            "private_key"
        );
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(algorithm in 0..ALGORITHMS.len(), bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let name = ALGORITHMS[algorithm].0;
            let head = [u32::try_from(name.len()).unwrap().to_be_bytes().as_slice(), name.as_bytes(), &bytes].concat();
            drop(parse(&format!("{name} {}", STANDARD.encode(head))));
        }
    }
}
