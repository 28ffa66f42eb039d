//! A host's addresses: IP addresses with or without a port. Names are refused, for a resolver that hangs would hang the
//! cluster just when the network is in trouble.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use roost_proto::cluster::CLUSTER_PORT;

/// The address that `text` names, or what is wrong with it.
pub(super) fn parse(text: &str) -> Result<SocketAddr, &'static str> {
    const NO_ADDRESS: &str = "no IP address: write one, as in \"10.0.0.1\", \"10.0.0.1:961\" or \"[fd00::1]:961\"; host \
                              names are not looked up";
    // A zone names an interface by a number that another host need not have.
    if text.contains('%') {
        return Err(NO_ADDRESS);
    }
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let address = match text.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => {
            let ip = text.parse().ok().or_else(bracketed).ok_or(NO_ADDRESS)?;
            SocketAddr::new(ip, CLUSTER_PORT)
        }
    };
    let ip = address.ip().to_canonical();
    if address.port() == 0 {
        return Err("no port that can be reached: write 1 to 65535, or leave it out for 961");
    }
    let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if ip.is_unspecified() || ip.is_multicast() || ip == Ipv4Addr::BROADCAST || is_link_local {
        return Err("no address that names one host to all others: write the host's own on that network");
    }
    Ok(SocketAddr::new(ip, address.port()))
}
