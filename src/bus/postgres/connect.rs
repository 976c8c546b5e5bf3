//! Connections to PostgreSQL, with TLS where the address asks for it.

use crate::config::postgres::{PostgresAddress, Roots, Trust};
use diesel::{ConnectionError, ConnectionResult};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::{error::Error, fmt, sync::Arc, time::Duration};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A process that is frozen in the middle of a transaction holds its locks, on the row of a chat for instance, which
/// nobody could take over then. After this time the server ends its session; our transactions take milliseconds.
const IDLE_IN_TRANSACTION: &str = "SET idle_in_transaction_session_timeout = '10s'";

/// How long a server may take until it can be asked. One that takes connections and says nothing is no server.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// A server, and how to speak to it. Clones share what was read of certificates.
#[derive(Clone)]
pub struct Server {
    address: Arc<PostgresAddress>,
    tls: MakeRustlsConnect,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("hosts", &self.address.parameters.get_hosts()).finish_non_exhaustive()
    }
}

impl Server {
    /// The server of an address; reads the root certificates, connects to nothing.
    ///
    /// # Errors
    /// What is wrong with the address or the certificates, without anything that is secret.
    pub fn at(url: &str) -> Result<Self, String> {
        let address = PostgresAddress::read(url)?;
        let tls = MakeRustlsConnect::new(tls(&address.trust)?);
        Ok(Self { address: Arc::new(address), tls })
    }

    /// A new connection.
    ///
    /// # Errors
    /// When there is none in time, with the whole chain of causes.
    pub async fn connect(&self) -> ConnectionResult<AsyncPgConnection> {
        let silent =
            |_| ConnectionError::BadConnection(format!("no answer within {} s", CONNECT_WAIT.as_secs()));
        tokio::time::timeout(CONNECT_WAIT, self.dial()).await.map_err(silent)?
    }

    async fn dial(&self) -> ConnectionResult<AsyncPgConnection> {
        let made = self.address.parameters.connect(self.tls.clone()).await;
        let (client, connection) = made.map_err(|e| ConnectionError::BadConnection(with_causes(&e)))?;
        let mut conn = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
        conn.batch_execute(IDLE_IN_TRANSACTION).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(conn)
    }
}

/// An error of the driver says only what it did; why it failed is in its causes.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = e.source();
    }
    text
}

fn tls(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(match trust {
        Trust::Anybody => Verifier { chain: None, name: false, provider: Arc::clone(&provider) },
        Trust::Authority(from) | Trust::Host(from) => {
            let roots = Arc::new(roots(from)?);
            let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            Verifier {
                chain: Some(chain.map_err(|e| format!("the root certificates of the database: {e}"))?),
                name: matches!(trust, Trust::Host(_)),
                provider: Arc::clone(&provider),
            }
        }
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS to the database: {e}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

fn roots(from: &Roots) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match from {
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                return Err(format!(
                    "this machine has no root certificates to trust the database by ({}); install \
                     ca-certificates, or name a file with sslrootcert",
                    why.join("; ")
                ));
            }
        }
        Roots::File(file) => {
            let unreadable = |e: &dyn fmt::Display| {
                format!("the root certificates of the database, {}: {e}", file.display())
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|e| unreadable(&e))? {
                let certificate = certificate.map_err(|e| unreadable(&e))?;
                roots.add(certificate).map_err(|e| unreadable(&e))?;
            }
            if roots.is_empty() {
                return Err(unreadable(&"it holds no certificate"));
            }
        }
    }
    Ok(roots)
}

/// Asks for as much as the address says. That the other end holds the key of its certificate is always
/// checked.
#[derive(Debug)]
struct Verifier {
    /// `None`: any certificate will do.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Whether it has to be made out for the host that was dialled.
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is what it looks at last, so the chain was found good.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
