//! The kernel's routes as people write them (`/proc/net/route`, `/proc/net/ipv6_route`). Pure.
use std::net::{Ipv4Addr, Ipv6Addr};

/// Most routes that are shown.
const ROUTES_MAX: usize = 200;
/// `RTF_UP`, and the kernel's own local, multicast and unreachable routes by their adapter.
const UP: u32 = 1;

/// Every route of both families, the default ones as `default`.
pub(super) fn all(ipv4: &str, ipv6: &str) -> Vec<String> {
    let v4 = ipv4.lines().skip(1).filter_map(v4);
    v4.chain(ipv6.lines().filter_map(v6)).take(ROUTES_MAX).collect()
}

fn v4(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [adapter, destination, gateway, _, _, _, metric, mask, ..] = fields.as_slice() else {
        return None;
    };
    // The kernel prints addresses as numbers of the machine's own byte order.
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let address = |text: &str| Some(Ipv4Addr::from(number(text)?.to_ne_bytes()));
    let way = address(gateway)?;
    let way = (way != Ipv4Addr::UNSPECIFIED).then(|| way.to_string());
    let prefix = number(mask)?.count_ones();
    Some(written(&address(destination)?.to_string(), prefix, way, adapter, metric))
}

fn v6(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, prefix, _, _, gateway, metric, _, _, flags, adapter] = fields.as_slice()
    else {
        return None;
    };
    let address = |text: &str| Some(Ipv6Addr::from(u128::from_str_radix(text, 16).ok()?));
    let (destination, prefix) = (address(destination)?, u32::from_str_radix(prefix, 16).ok()?);
    let up = u32::from_str_radix(flags, 16).ok()? & UP != 0;
    // Its own addresses and multicast have routes that nobody set.
    if !up || *adapter == "lo" || prefix == 128 || destination.is_multicast() {
        return None;
    }
    let way = address(gateway)?;
    let way = (way != Ipv6Addr::UNSPECIFIED).then(|| way.to_string());
    let metric = u32::from_str_radix(metric, 16).ok()?.to_string();
    Some(written(&destination.to_string(), prefix, way, adapter, &metric))
}

fn written(to: &str, prefix: u32, way: Option<String>, adapter: &str, metric: &str) -> String {
    let to = if prefix == 0 { "default".to_owned() } else { format!("{to}/{prefix}") };
    let way = way.map(|way| format!(" via {way}")).unwrap_or_default();
    format!("{to}{way} on {adapter}, metric {metric}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_the_kernel_prints_them() {
        let ipv4 = "Iface Destination ...\n\
            eth0\t00000000\t0202000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            nonsense\n";
        let ipv6 = "\
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000002 00000400 00000001 00000000 00000003 eth0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001 lo
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0
";
        let expected = [
            "default via 10.0.2.2 on eth0, metric 100",
            "10.0.2.0/24 on eth0, metric 0",
            "2001:db8::/64 on eth0, metric 256",
            "default via fe80::2 on eth0, metric 1024",
        ];
        assert_eq!(all(ipv4, ipv6), expected);
    }
}
