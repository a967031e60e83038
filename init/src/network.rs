//! The network service: brings the first adapter up, asks for an address by DHCP, keeps the lease.
//!
//! A process of its own, so that PID 1 needs no async runtime. Owns `/run/etc/resolv.conf` and the
//! network's observed state.
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder, new_connection,
    packet_route::address::AddressAttribute,
};

use crate::{
    log,
    observed::{self, AdapterState, NetworkState},
    sys,
};

const RESOLV_CONF: &str = "/run/etc/resolv.conf";
const ADAPTERS: &str = "/sys/class/net";
/// Every host must take datagrams of this length (RFC 791 §3.1): a shorter MTU is a mistake.
const MTU_BYTES_MIN: u16 = 576;
/// Pause before trying again what failed.
const PAUSE: Duration = Duration::from_secs(2);
const CARRIER_PAUSE: Duration = Duration::from_millis(50);

/// Runs until the end of the machine.
pub(crate) fn run() -> Result<()> {
    log::install("network");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection()?;
        tokio::spawn(connection);
        bring_up(&handle, "lo").await.context("the loopback adapter")?;
        loop {
            if let Err(error) = follow_lease(&handle).await {
                let problem = format!("{error:#}");
                tracing::warn!("network: {problem}");
                note(&NetworkState { problem: Some(problem), ..NetworkState::default() });
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}

fn note(state: &NetworkState) {
    if let Err(error) = observed::write(observed::NETWORK, state) {
        tracing::error!("the network's state cannot be shown: {error}");
    }
}

async fn index(handle: &Handle, name: &str) -> Result<u32> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await?.with_context(|| format!("there is no adapter {name}"))?;
    Ok(link.header.index)
}

async fn bring_up(handle: &Handle, name: &str) -> Result<u32> {
    let index = index(handle, name).await?;
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
    Ok(index)
}

/// The first adapter that is hardware, by name.
fn adapter() -> Option<String> {
    let mut names: Vec<String> = fs::read_dir(ADAPTERS)
        .ok()?
        .flatten()
        .filter(|entry| entry.path().join("device").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.into_iter().next()
}

fn has_carrier(adapter: &str) -> bool {
    sys::read_line(Path::new(ADAPTERS).join(adapter).join("carrier")) == "1"
}

/// Gets a lease and keeps it; returns when the client gives up.
async fn follow_lease(handle: &Handle) -> Result<()> {
    let Some(adapter) = adapter() else {
        bail!("the VM has no network adapter: add one (VMXNET3)");
    };
    let index = bring_up(handle, &adapter).await?;
    if !has_carrier(&adapter) {
        note(&troubled(&adapter, format!("{adapter} has no link: connect the adapter")));
        while !has_carrier(&adapter) {
            tokio::time::sleep(CARRIER_PAUSE).await;
        }
    }
    note(&troubled(&adapter, "asking DHCP for an address".to_owned()));
    let mut config = DhcpV4Config::new(&adapter);
    config.set_host_name(&nix::unistd::gethostname()?.to_string_lossy());
    config.use_mac_as_client_id();
    config.set_timeout_sec(0);
    let mut client = DhcpV4Client::init(config, None).await.map_err(|e| anyhow::anyhow!("{e}"))?;
    loop {
        match client.run().await {
            Ok(DhcpV4State::Done(lease)) => apply(handle, &adapter, index, &lease).await?,
            Ok(state) => tracing::debug!("DHCP: {state}"),
            Err(error) => bail!("DHCP on {adapter}: {error}"),
        }
    }
}

fn mtu_of(adapter: &str) -> String {
    sys::read_line(Path::new(ADAPTERS).join(adapter).join("mtu"))
}

/// Takes the longest packet that the network's DHCP server names (RFC 2132 §5.1): jumbo frames, or
/// shorter ones where a tunnel is on the way. What the adapter cannot do is said and left alone: TCP
/// finds the length that both ends can do.
async fn set_mtu(handle: &Handle, adapter: &str, index: u32, wanted: u16) {
    let now = mtu_of(adapter);
    if now == wanted.to_string() {
        return;
    }
    if wanted < MTU_BYTES_MIN {
        tracing::warn!("network: DHCP names an MTU of {wanted} bytes, which is none; {now} stays");
        return;
    }
    let link = LinkUnspec::new_with_index(index).mtu(u32::from(wanted)).build();
    match handle.link().set(link).execute().await {
        Ok(()) => tracing::info!("network: MTU {wanted} on {adapter}, was {now}"),
        Err(error) => tracing::warn!(
            "network: DHCP names an MTU of {wanted} bytes, which {adapter} refuses ({error}); {now} stays"
        ),
    }
}

async fn apply(handle: &Handle, adapter: &str, index: u32, lease: &DhcpV4Lease) -> Result<()> {
    let mut state = state_of(adapter, lease);
    if let Some(mtu) = lease.mtu {
        set_mtu(handle, adapter, index, mtu).await;
    }
    state.adapters[0].mtu = mtu_of(adapter).parse().unwrap_or_default();
    let address = state.adapters[0].addresses.concat();
    handle
        .address()
        .add(index, IpAddr::V4(lease.yiaddr), lease.prefix_length())
        .replace()
        .execute()
        .await
        .with_context(|| format!("setting the address {address}"))?;
    drop_other_addresses(handle, index, lease.yiaddr).await.context("removing an old address")?;
    if let Some(gateway) = lease.gateways.as_ref().and_then(|all| all.first()) {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(*gateway)
            .output_interface(index)
            .build();
        handle
            .route()
            .add(route)
            .replace()
            .execute()
            .await
            .with_context(|| format!("setting the default route {gateway}"))?;
    }
    sys::replace_file(Path::new(RESOLV_CONF), resolv_conf(&state.dns).as_bytes(), 0o644)
        .context(RESOLV_CONF)?;
    let before: NetworkState = observed::read(observed::NETWORK);
    if before.host() != state.host() {
        sys::say(&format!("address {address} on {adapter}"));
        tracing::info!("network: {}", state.in_words());
    }
    note(&state);
    Ok(())
}

/// Takes away what an earlier lease has left: somebody else may have that address by now.
async fn drop_other_addresses(handle: &Handle, index: u32, keep: Ipv4Addr) -> Result<()> {
    let mut all = handle.address().get().set_link_index_filter(index).execute();
    while let Some(message) = all.try_next().await? {
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(IpAddr::V4(address)) => Some(*address),
            _ => None,
        });
        if address.is_some_and(|address| address != keep) {
            handle.address().del(message).execute().await?;
        }
    }
    Ok(())
}

fn state_of(adapter: &str, lease: &DhcpV4Lease) -> NetworkState {
    let texts = |addresses: &Option<Vec<Ipv4Addr>>| {
        addresses.iter().flatten().map(Ipv4Addr::to_string).collect::<Vec<_>>()
    };
    let adapter = AdapterState {
        name: adapter.to_owned(),
        link: true,
        is_default: true,
        ipv4_method: "DHCP".to_owned(),
        addresses: vec![format!("{}/{}", lease.yiaddr, lease.prefix_length())],
        gateway: texts(&lease.gateways).into_iter().next(),
        ..AdapterState::default()
    };
    NetworkState {
        adapters: vec![adapter],
        dns: texts(&lease.dns_srvs),
        ntp: texts(&lease.ntp_srvs),
        ..NetworkState::default()
    }
}

fn troubled(adapter: &str, problem: String) -> NetworkState {
    let problem = Some(problem);
    let adapter = AdapterState { name: adapter.to_owned(), problem, ..AdapterState::default() };
    NetworkState { adapters: vec![adapter], ..NetworkState::default() }
}

fn resolv_conf(servers: &[String]) -> String {
    servers.iter().map(|server| format!("nameserver {server}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_become_lines() {
        let servers = ["10.0.2.3".to_owned(), "192.0.2.53".to_owned()];
        assert_eq!(resolv_conf(&servers), "nameserver 10.0.2.3\nnameserver 192.0.2.53\n");
    }
}
