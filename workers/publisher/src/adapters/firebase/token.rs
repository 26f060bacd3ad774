//! Where access tokens come from.

use async_trait::async_trait;
use google_cloud_auth::credentials::{AccessTokenCredentials, Builder};

use crate::host::HostError;

/// Gives an access token for each call.
#[async_trait]
pub trait TokenSource: Send + Sync + std::fmt::Debug {
    /// A token that is valid now.
    async fn token(&self) -> Result<String, HostError>;
}

/// Application Default Credentials: Workload Identity in a cluster, `gcloud auth application-default login` elsewhere.
#[derive(Debug)]
pub struct Adc(AccessTokenCredentials);

impl Adc {
    /// Finds the credentials; the first token is asked for at the first call.
    pub fn find() -> Result<Self, HostError> {
        let scopes =
            ["https://www.googleapis.com/auth/firebase.hosting", "https://www.googleapis.com/auth/cloud-platform"];
        let built = Builder::default().with_scopes(scopes).build_access_token_credentials();
        built.map(Self).map_err(|error| HostError::Permanent {
            operation: "find",
            subject: "Application Default Credentials".into(),
            source: Box::new(error),
        })
    }
}

#[async_trait]
impl TokenSource for Adc {
    async fn token(&self) -> Result<String, HostError> {
        match self.0.access_token().await {
            Ok(token) => Ok(token.token),
            Err(error) => Err(HostError::Transient {
                operation: "get",
                subject: "an access token".into(),
                source: Box::new(error),
            }),
        }
    }
}

/// A token that never changes, for servers that are not Google's.
pub struct FixedToken(pub String);

impl std::fmt::Debug for FixedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FixedToken")
    }
}

#[async_trait]
impl TokenSource for FixedToken {
    async fn token(&self) -> Result<String, HostError> {
        Ok(self.0.clone())
    }
}
