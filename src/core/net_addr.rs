//! `host:port` texts.

/// The host of `host:port`.
pub fn host_of(addr: &str) -> &str {
    addr.rsplit_once(':').map_or(addr, |(host, _)| host)
}

/// `host:port` of a host that may have one already.
///
/// ```
/// use dht::core::net_addr::with_port;
/// assert_eq!(with_port("10.0.0.1", 38000), "10.0.0.1:38000");
/// assert_eq!(with_port("10.0.0.1:99", 38000), "10.0.0.1:99");
/// ```
pub fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') { host.to_string() } else { format!("{host}:{port}") }
}

/// Whether the host means "this machine", whoever says it.
pub fn is_loopback(host: &str) -> bool {
    host.starts_with("127.") || host == "localhost" || host == "::1"
}
