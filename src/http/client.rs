//! How every HTTP client here begins.

/// A client to be set up. Where `https` is built in, what encrypts is chosen first: reqwest does not choose.
pub fn client() -> reqwest::ClientBuilder {
    #[cfg(feature = "https")]
    let _ = rustls::crypto::ring::default_provider().install_default(); // a second call keeps the first
    reqwest::Client::builder()
}
