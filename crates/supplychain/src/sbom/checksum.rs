//! Checksums as lockfiles write them: hexadecimal, `algorithm:hex`, and the web's subresource integrity.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A hash algorithm, by the names that CycloneDX uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5; old Python lockfiles only.
    Md5,
    /// SHA-1; old npm lockfiles only.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// As CycloneDX writes it.
    #[must_use]
    pub const fn cyclonedx(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }

    /// As SPDX writes it.
    #[must_use]
    pub const fn spdx(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }

    /// Reads the name that lockfiles use (`sha256`).
    fn parse(text: &str) -> Option<Self> {
        match text {
            "md5" => Some(Self::Md5),
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// One checksum of a component's distributed file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The value, lowercase hexadecimal of the algorithm's length.
    pub hex: String,
}

impl Checksum {
    /// From hexadecimal digits.
    ///
    /// # Errors
    /// When the digits are not of the algorithm's length, or no digits.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Result<Self, String> {
        let hex = hex.to_ascii_lowercase();
        if hex.len() == algorithm.bytes() * 2 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self { algorithm, hex });
        }
        let (name, digits) = (algorithm.cyclonedx(), algorithm.bytes() * 2);
        Err(format!(
            "`{}` is not a {name} checksum of {digits} hexadecimal digits",
            cut(&hex)
        ))
    }

    /// From `sha256:<hex>`, as pip and Poetry write it.
    ///
    /// # Errors
    /// When the algorithm is unknown or the digits do not fit it.
    pub fn from_prefixed(text: &str) -> Result<Self, String> {
        let known = text
            .split_once(':')
            .and_then(|(name, hex)| Algorithm::parse(name).map(|a| (a, hex)));
        match known {
            Some((algorithm, hex)) => Self::from_hex(algorithm, hex),
            None => Err(format!("`{}` is not a checksum such as `sha256:…`", cut(text))),
        }
    }

    /// From base64 (padded) of the bytes.
    ///
    /// # Errors
    /// When it is not base64 or not of the algorithm's length.
    pub fn from_base64(algorithm: Algorithm, text: &str) -> Result<Self, String> {
        match STANDARD.decode(text) {
            Ok(bytes) if bytes.len() == algorithm.bytes() => Ok(Self {
                algorithm,
                hex: hex::encode(bytes),
            }),
            _ => Err(format!(
                "`{}` is not a {} checksum in base64",
                cut(text),
                algorithm.cyclonedx()
            )),
        }
    }

    /// All checksums of a subresource integrity text: `sha512-<base64>`, several parted by blanks, each with
    /// options after `?`. Algorithms not known are passed over, as the specification demands.
    ///
    /// # Errors
    /// When one of a known algorithm is broken, or none is known.
    pub fn from_integrity(text: &str) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for token in text.split_ascii_whitespace() {
            let Some((name, rest)) = token.split_once('-') else {
                return Err(format!(
                    "`{}` is not an integrity value such as `sha512-…`",
                    cut(token)
                ));
            };
            let value = rest.split('?').next().unwrap_or(rest);
            if let Some(algorithm) = Algorithm::parse(name) {
                all.push(Self::from_base64(algorithm, value)?);
            }
        }
        if all.is_empty() {
            return Err(format!("`{}` names no known hash algorithm", cut(text)));
        }
        Ok(all)
    }
}

/// Keeps a quoted value short: it comes from outside and may be megabytes.
pub(super) fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrity_becomes_hexadecimal() {
        // The empty string's digests, from the algorithms' own test vectors.
        let both = Checksum::from_integrity(
            "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk= sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=?x",
        );
        let both = both.unwrap();
        assert_eq!(both[0].hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(
            both[1].hex,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn broken_checksums_are_refused() {
        assert!(Checksum::from_integrity("sha512-AAAA").is_err());
        assert!(Checksum::from_integrity("sha999-AAAA").is_err());
        assert!(Checksum::from_integrity("").is_err());
        assert!(Checksum::from_prefixed("sha256:zz").is_err());
        assert!(Checksum::from_hex(Algorithm::Sha256, &"é".repeat(32)).is_err());
    }
}
