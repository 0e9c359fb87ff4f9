//! The instance's own certificate authority for agents and edges: one key, one self-signed certificate, one file
//! beside the instance key. It signs what agents show (client certificates) and what the agents' listener shows.

use bascule_core::{Digest, Problem, Result, Timestamp};
use bascule_wire::fleet::MemberKind;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use std::{fmt, io::Write as _, path::Path, time::Duration};

/// Life of the authority's own certificate; agents pin it, so that a new one is enrolment anew.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);
/// Life of the listener's certificate.
const SERVER_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// Agents' clocks may be behind by this much when they meet the listener's certificate.
const SERVER_BACK: Duration = Duration::from_secs(2 * 86_400);
/// Servers of one instance may differ by this much.
const MEMBER_BACK: Duration = Duration::from_secs(60);
/// Longest request for a certificate, in bytes.
const REQUEST: usize = 8 * 1024;

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    pem: String,
    fingerprint: Digest,
    life: Duration,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Authority")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// A certificate that was issued to an agent or edge.
#[derive(Clone, Debug)]
pub struct Issued {
    /// In PEM.
    pub pem: String,
    /// By it the certificate is known.
    pub fingerprint: Digest,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// What a listener shows.
pub struct ServerCertificate {
    /// Its certificate and the authority's, in DER.
    pub chain: Vec<Vec<u8>>,
    /// Its key, in PKCS#8 DER.
    pub key: Vec<u8>,
    /// When it is to be replaced: well before its end.
    pub renew_at: Timestamp,
}

impl Authority {
    /// Reads the authority's file, or makes an authority and writes it with mode 0600. Certificates of agents are
    /// good for `life`.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else.
    pub fn load_or_create(path: &Path, life: Duration, now: Timestamp) -> Result<Self> {
        let cannot = |why: String| {
            Problem::new(
                500,
                "agents_authority",
                format!("The agents' authority {} cannot be used.", path.display()),
            )
            .why(why)
            .next(
                "Restore the file from a backup. If it is lost, remove it: all agents must then enrol anew.",
            )
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = make(now).map_err(|error| cannot(error.to_string()))?;
                write_private(path, &text).map_err(|error| cannot(error.to_string()))?;
                text
            }
            Err(error) => return Err(cannot(error.to_string())),
        };
        Self::read(&text, life).map_err(|error| cannot(error.to_string()))
    }

    fn read(text: &str, life: Duration) -> std::result::Result<Self, rcgen::Error> {
        let marker = "-----BEGIN CERTIFICATE-----";
        let at = text.find(marker).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        let (key, certificate) = text.split_at(at);
        let key = KeyPair::from_pem(key)?;
        let der = der_of(certificate).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key)?;
        Ok(Self {
            issuer,
            fingerprint: Digest::of(&der),
            der,
            pem: certificate.to_owned(),
            life,
        })
    }

    /// An authority that is kept nowhere.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate(life: Duration, now: Timestamp) -> Result<Self> {
        make(now)
            .and_then(|text| Self::read(&text, life))
            .map_err(internal)
    }

    /// What agents pin: the digest of the authority's certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// The authority's certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The authority's certificate, in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// How long certificates of agents are good.
    #[must_use]
    pub const fn life(&self) -> Duration {
        self.life
    }

    /// A fresh key and certificate for a listener that is reached under these names: host names or addresses.
    ///
    /// # Errors
    /// A name is none.
    pub fn for_listener(&self, names: &[String], now: Timestamp) -> Result<ServerCertificate> {
        let key = KeyPair::generate().map_err(internal)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(internal)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "Bascule agents' listener");
        valid(&mut params, now.minus(SERVER_BACK), now.plus(SERVER_LIFE));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(internal)?;
        Ok(ServerCertificate {
            chain: vec![certificate.der().to_vec(), self.der.clone()],
            key: key.serialize_der(),
            renew_at: now.plus(SERVER_LIFE * 2 / 3),
        })
    }

    /// A certificate for the key of a request. Whatever else the request asks for is not looked at.
    ///
    /// # Errors
    /// It is no request in PEM, or was not signed by its own key.
    pub fn for_member(
        &self,
        request: &str,
        kind: MemberKind,
        member: &str,
        now: Timestamp,
    ) -> Result<Issued> {
        let bad = |why: String| {
            Problem::invalid("bad_certificate_request", "The request for a certificate cannot be used.")
                .why(why)
                .next("Send a PKCS#10 request in PEM, signed by the key that it is for, as `bascule agent enrol` does.")
        };
        if request.len() > REQUEST {
            return Err(bad(format!("It is longer than {REQUEST} bytes.")));
        }
        let asked =
            CertificateSigningRequestParams::from_pem(request).map_err(|error| bad(format!("{error}.")))?;
        let expires_at = now.plus(self.life);
        self.issue(&asked.public_key, kind, member, now, expires_at)
            .map_err(internal)
    }

    fn issue(
        &self,
        key: &impl PublicKeyData,
        kind: MemberKind,
        member: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> std::result::Result<Issued, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{kind} {member}"));
        let name = format!("bascule:{kind}:{member}");
        params.subject_alt_names = vec![SanType::URI(name.try_into()?)];
        valid(&mut params, now.minus(MEMBER_BACK), expires_at);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(Issued {
            pem: certificate.pem(),
            fingerprint: Digest::of(certificate.der()),
            expires_at,
        })
    }
}

fn make(now: Timestamp) -> std::result::Result<String, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Bascule agents' authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, now.minus(SERVER_BACK), now.plus(AUTHORITY_LIFE));
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

/// Between these, in whole seconds, as certificates have them.
fn valid(params: &mut CertificateParams, from: Timestamp, to: Timestamp) {
    let date = |at: Timestamp| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(at.seconds()).unwrap_or(0))
    };
    (params.not_before, params.not_after) = (date(from), date(to));
}

fn der_of(pem: &str) -> Option<Vec<u8>> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let body: String = pem
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("-----"))
        .collect();
    STANDARD.decode(body).ok()
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    // Whole or not at all: a half-written authority would lock all agents out.
    let part = folder.join(format!(".authority-{}.part", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn internal(error: rcgen::Error) -> Problem {
    tracing::error!(%error, "a certificate cannot be made");
    Problem::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const LIFE: Duration = Duration::from_secs(30 * 86_400);

    fn request() -> String {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        request.pem().unwrap()
    }

    #[test]
    fn an_authority_is_made_once_and_read_back() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agents-ca.pem");
        let first = Authority::load_or_create(&path, LIFE, NOW).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Authority::load_or_create(&path, LIFE, NOW.plus(LIFE)).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        std::fs::write(&path, "rubbish").unwrap();
        let refused = Authority::load_or_create(&path, LIFE, NOW).unwrap_err();
        assert_eq!(refused.code, "agents_authority");
    }

    proptest::proptest! {
        /// Whatever a caller sends, the answer is a certificate or a reason.
        #[test]
        fn no_request_does_harm(at in 0_usize..400, other in ".{0,20}", raw in ".*") {
            let authority = Authority::generate(LIFE, NOW).unwrap();
            let mut text: Vec<char> = request().chars().collect();
            let at = at.min(text.len());
            let end = (at + other.chars().count()).min(text.len());
            text.splice(at..end, other.chars());
            for text in [text.into_iter().collect(), raw] {
                drop(authority.for_member(&text, MemberKind::Agent, "7", NOW));
            }
        }
    }

    #[test]
    fn a_request_gets_a_certificate_and_rubbish_a_reason() {
        let authority = Authority::generate(LIFE, NOW).unwrap();
        let issued = authority
            .for_member(&request(), MemberKind::Agent, "7", NOW)
            .unwrap();
        assert!(issued.expires_at == NOW.plus(LIFE) && issued.pem.starts_with("-----BEGIN CERTIFICATE-----"));
        let long = "x".repeat(REQUEST + 1);
        let mut damaged = request();
        damaged.replace_range(60..64, "AAAA");
        for bad in ["", "rubbish", &long, &damaged] {
            let refused = authority
                .for_member(bad, MemberKind::Agent, "7", NOW)
                .unwrap_err();
            assert_eq!(refused.code, "bad_certificate_request", "{bad}");
        }
        assert!(
            authority
                .for_listener(&["127.0.0.1".into(), "agents.example.org".into()], NOW)
                .is_ok()
        );
    }
}
