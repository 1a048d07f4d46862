//! Neighbours that announce themselves on the local network, by mDNS as the service `_slm._tcp.local.`, both ways opt-in.
//!
//! An announcement is a hint, not a promise: whoever answers there is asked for blobs by their digests and believed
//! nothing else. One who announces lies or has gone costs the moment that any neighbour may.

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// The service's type, and its domain.
const SERVICE: &str = "_slm._tcp.local.";
/// How long the first look may take.
const FIRST_LOOK: Duration = Duration::from_millis(1200);
/// More neighbours are not kept.
const MAX_FOUND: usize = 64;

/// Announces what is shared on `address`, until `ended`. A network that allows none of it is no failure.
pub(super) fn announce(address: SocketAddr, ended: CancellationToken) {
    let announced = ServiceDaemon::new().and_then(|daemon| {
        // Loopback and single addresses as they are; all addresses as they come and go.
        let ips: Vec<IpAddr> = (!address.ip().is_unspecified())
            .then_some(address.ip())
            .into_iter()
            .collect();
        let is_auto = ips.is_empty();
        let host = format!("{}.local.", own_name());
        let properties = [("version", env!("CARGO_PKG_VERSION"))];
        let mut info = ServiceInfo::new(
            SERVICE,
            own_name(),
            &host,
            &ips[..],
            address.port(),
            &properties[..],
        )?;
        if is_auto {
            info = info.enable_addr_auto();
        }
        daemon.register(info)?;
        Ok(daemon)
    });
    match announced {
        Ok(daemon) => {
            tracing::info!(
                service = SERVICE,
                name = own_name(),
                "announcing shared models"
            );
            drop(tokio::spawn(async move {
                ended.cancelled().await;
                // says goodbye, so that nobody waits for us
                if let Err(error) = daemon.shutdown() {
                    tracing::debug!(%error, "cannot take the announcement back");
                }
            }));
        }
        Err(error) => tracing::warn!(%error, "cannot announce shared models on the local network"),
    }
}

/// A name that no other daemon has.
fn own_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| format!("slm-{:08x}", fastrand::u32(..)))
}

/// Those who announced themselves, `host:port`, since the first call; that one waits a moment for them.
pub(crate) fn neighbors() -> Vec<String> {
    static BROWSER: OnceLock<Option<Browser>> = OnceLock::new();
    let Some(browser) = BROWSER.get_or_init(Browser::start) else {
        return Vec::new();
    };
    let ready = browser.began + FIRST_LOOK;
    thread::sleep(ready.saturating_duration_since(Instant::now()));
    found().values().flatten().cloned().collect()
}

/// Addresses by the full name of who announced them.
fn found() -> MutexGuard<'static, BTreeMap<String, Vec<String>>> {
    static FOUND: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());
    FOUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks for others as long as the process lives.
struct Browser {
    began: Instant,
    _daemon: ServiceDaemon,
}

impl Browser {
    fn start() -> Option<Self> {
        let started = ServiceDaemon::new().and_then(|daemon| Ok((daemon.browse(SERVICE)?, daemon)));
        let (events, daemon) = match started {
            Ok(started) => started,
            Err(error) => {
                tracing::warn!(%error, "cannot look for neighbours on the local network");
                return None;
            }
        };
        let listen = move || {
            while let Ok(event) = events.recv() {
                match event {
                    ServiceEvent::ServiceResolved(service) => note(&service),
                    ServiceEvent::ServiceRemoved(_, name) => {
                        found().remove(&name);
                    }
                    _ => {}
                }
            }
        };
        let thread = thread::Builder::new()
            .name("slm-mdns".to_owned())
            .spawn(listen);
        if let Err(error) = thread {
            tracing::warn!(%error, "cannot look for neighbours on the local network");
            return None;
        }
        Some(Self {
            began: Instant::now(),
            _daemon: daemon,
        })
    }
}

fn note(service: &ResolvedService) {
    let mut found = found();
    let is_own = service.fullname.starts_with(own_name());
    if is_own || (found.len() >= MAX_FOUND && !found.contains_key(&service.fullname)) {
        return;
    }
    let address = address(
        service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr),
        service.port,
    );
    tracing::debug!(name = service.fullname, ?address, "a neighbour");
    found.insert(service.fullname.clone(), address.into_iter().collect());
}

/// One of the addresses of a neighbour: an IPv4 one, else one of IPv6 that needs no interface beside it.
fn address(ips: impl Iterator<Item = IpAddr>, port: u16) -> Option<String> {
    let usable = ips.filter(|ip| match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    });
    let best = usable.min_by_key(|ip| (ip.is_loopback(), ip.is_ipv6(), *ip));
    best.map(|ip| SocketAddr::new(ip, port).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_can_be_dialled_is_taken() {
        let pick = |ips: &[&str]| address(ips.iter().map(|ip| ip.parse().unwrap()), 5);
        assert_eq!(
            pick(&["fe80::1", "fd00::1", "10.0.0.2"]).as_deref(),
            Some("10.0.0.2:5")
        );
        assert_eq!(
            pick(&["fe80::1", "fd00::1"]).as_deref(),
            Some("[fd00::1]:5")
        );
        assert_eq!(
            pick(&["127.0.0.1", "10.0.0.2"]).as_deref(),
            Some("10.0.0.2:5")
        );
        assert_eq!(pick(&["fe80::1"]), None);
    }
}
