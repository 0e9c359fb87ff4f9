//! Connections that trust one authority alone: the instance's own.

use crate::Identity;
use bascule_core::{Digest, Problem, Result};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::sync::Arc;

fn damaged(why: impl std::fmt::Display) -> Problem {
    Problem::new(
        500,
        "bad_identity",
        "The certificate kept for this machine cannot be used.",
    )
    .why(format!("{why}."))
    .next("Enrol it anew with a code.")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Trusts whoever shows, beside its own certificate, that of the authority with this digest, if it was issued by it
/// for the name called.
pub(crate) fn pinned(authority: &Digest) -> Result<ClientConfig> {
    let provider = provider();
    let verifier = Arc::new(Pinned {
        authority: authority.clone(),
        provider: Arc::clone(&provider),
    });
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(damaged)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Trusts an identity's authority and shows its certificate.
pub(crate) fn identified(identity: &Identity) -> Result<ClientConfig> {
    let authority = CertificateDer::from_pem_slice(identity.authority.as_bytes()).map_err(damaged)?;
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).map_err(damaged)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(damaged)?;
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(damaged)?
        .with_root_certificates(roots(authority).map_err(damaged)?)
        .with_client_auth_cert(vec![certificate], key)
        .map_err(damaged)
}

fn roots(authority: CertificateDer<'_>) -> std::result::Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.into_owned())?;
    Ok(roots)
}

/// Finds the authority by its digest, and leaves the rest to the usual checks with it as the only root.
#[derive(Debug)]
struct Pinned {
    authority: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| Digest::of(certificate) == self.authority)
            .ok_or_else(|| {
                rustls::Error::General(
                    "the server does not show the authority that the code names: it is another server, or someone is in between"
                        .to_owned(),
                )
            })?;
        let roots = Arc::new(roots(authority.clone())?);
        let usual = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        usual.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 alone is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
