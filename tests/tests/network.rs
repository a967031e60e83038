//! The network of a whole appliance: addresses and a VLAN by seed, a link that is lost and comes back,
//! a wrong address that nobody confirms, and no DHCP server. What needs no machine is tested in `init/tests/network`.
use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    appliance_vm::Network,
    lab::{Alone, Appliance, BOOT_LIMIT},
    pages::{choose_on_serial, field, log_in_on_serial, page_on_serial, status_on_serial},
    seed,
    wait::poll_until,
};
use serde_json::json;

/// Emulated: from an event to the page that shows it. A DHCP server is waited for as well.
const PAGE_LIMIT: Duration = Duration::from_secs(180);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
const CTRL_U: &str = "\x15";
const PAGE_DOWN: &str = "\x1b[6~";

/// The story's seed with other settings of the network.
fn seed_with(alone: &Alone, network: toml::Table) -> Result<()> {
    let mut document: toml::Table = seed::document(alone.store.address().port())?.parse()?;
    let machine = document.get_mut("machine").and_then(toml::Value::as_table_mut);
    machine.context("the seed's machine")?.insert("network".to_owned(), network.into());
    fs::write(&alone.hardware.seed, toml::to_string(&document)?)?;
    Ok(())
}

/// What the gateway console tells of the network, in one line.
fn network_lines(appliance: &mut Appliance) -> Result<String> {
    let serial = &mut appliance.serial;
    log_in_on_serial(serial, PAGE_LIMIT)?;
    choose_on_serial(serial, "Gateway Console", PAGE_LIMIT)?;
    page_on_serial(serial, "gateway>", PAGE_LIMIT)?;
    serial.send("ip\r")?;
    let page = page_on_serial(serial, "routes:", PAGE_LIMIT)?;
    // Back to the menu, and out.
    serial.send("exit\r")?;
    page_on_serial(serial, "x: exit session", PAGE_LIMIT)?;
    serial.send("x")?;
    status_on_serial(serial, "", PAGE_LIMIT)?;
    let (_, lines) = page.split_once("gateway> ip").context("what ip says")?;
    let (lines, _) = lines.split_once("routes:").context("what ip says")?;
    Ok(lines.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn set_link(appliance: &mut Appliance, up: bool) -> Result<()> {
    appliance.machine.qmp().execute("set_link", json!({ "name": "lan", "up": up }))?;
    Ok(())
}

fn addresses_by_seed() -> Result<()> {
    let alone = Alone::new("network")?;
    println!("a fixed address and a VLAN");
    seed_with(
        &alone,
        toml::toml! {
            name_servers = ["10.0.2.3"]
            [[adapter]]
            name = "eth0"
            mtu = 1400
            ipv4 = { method = "static", address = "10.0.2.77/24", gateway = "10.0.2.2" }
            ipv6 = { method = "off" }
            [[adapter]]
            name = "storage"
            vlan = { parent = "eth0", id = 120 }
            mtu = 1300
            ipv4 = { method = "static", address = "10.9.0.5/24" }
            ipv6 = { method = "off" }
        },
    )?;
    let mut appliance = alone.power_on()?;
    // The share is there once S3 has answered: packets go out and come back. No adapter waits for the other.
    status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    let page = status_on_serial(&appliance.serial, " on storage", PAGE_LIMIT)?;
    println!("the console says:\n{page}\n");
    let addresses = field(&page, "Address")?;
    ensure!(addresses == "10.0.2.77/24 on eth0 10.9.0.5/24 on storage", "{page}");
    ensure!(field(&page, "Share")? == "/sales = sales-backup/onprem/", "{page}");
    let lines = network_lines(&mut appliance)?;
    println!("and on the gateway console:\n{lines}\n");
    ensure!(lines.contains("10.0.2.77/24") && lines.contains("MTU 1400"), "{lines}");
    ensure!(!lines.contains("DHCP"), "{lines}");
    ensure!(lines.contains("storage, link") && lines.contains("10.9.0.5/24, MTU 1300"), "{lines}");

    println!("a link that is lost and comes back");
    set_link(&mut appliance, false)?;
    status_on_serial(&appliance.serial, "eth0 has no link: connect the", PAGE_LIMIT)?;
    set_link(&mut appliance, true)?;
    poll_until("the page without the lost link", PAGE_LIMIT, || {
        let page = status_on_serial(&appliance.serial, "10.0.2.77/24 on eth0", PAGE_LIMIT)?;
        Ok(field(&page, "Address")?.starts_with("10.0.2.77/24 on eth0 10.").then_some(()))
    })?;
    println!("a second adapter, added while it runs");
    let lan = json!({ "type": "user", "id": "second", "net": "10.5.0.0/24" });
    appliance.machine.qmp().execute("netdev_add", lan)?;
    let card = json!({ "driver": "vmxnet3", "netdev": "second", "id": "card" });
    appliance.machine.qmp().execute("device_add", card)?;
    let lines = poll_until("the second adapter's address", PAGE_LIMIT, || {
        let lines = network_lines(&mut appliance)?;
        Ok(lines.contains("DHCP server 10.5.0.2").then_some(lines))
    })?;
    println!("the gateway console says:\n{lines}\n");
    ensure!(lines.contains("10.0.2.77/24") && lines.contains("10.5.0."), "{lines}");
    a_wrong_address_is_taken_back(&mut appliance)?;
    appliance.machine.shut_down(SHUTDOWN_LIMIT)
}

/// Somebody sets an address by which nothing is reached, and goes away: nobody confirms it.
fn a_wrong_address_is_taken_back(appliance: &mut Appliance) -> Result<()> {
    println!("a wrong address, set on the console");
    let serial = &mut appliance.serial;
    log_in_on_serial(serial, PAGE_LIMIT)?;
    choose_on_serial(serial, "Network Configuration", PAGE_LIMIT)?;
    choose_on_serial(serial, "Configure Static IP", PAGE_LIMIT)?;
    page_on_serial(serial, "choose an adapter", PAGE_LIMIT)?;
    serial.send("eth0\r")?;
    page_on_serial(serial, "IP address               10.0.2.77", PAGE_LIMIT)?;
    // Past the method to the address, past the netmask to the gateway, and to the button.
    serial.send(&format!("\r{CTRL_U}172.16.0.5\r\r{CTRL_U}172.16.0.1{PAGE_DOWN}\r"))?;
    let page = page_on_serial(serial, "172.16.0.5/24 on eth0", PAGE_LIMIT)?;
    println!("the console asks:\n{page}\n");
    ensure!(page.contains("Unless somebody keeps them") && page.contains("[y/N]"), "{page}");
    let page = page_on_serial(serial, "The trial is over", PAGE_LIMIT)?;
    println!("and says, when nobody has answered:\n{page}\n");
    ensure!(page.contains("taken back: those before them are used again"), "{page}");
    // Back to the menus, and out.
    serial.send("x")?;
    page_on_serial(serial, ": Describe Adapter", PAGE_LIMIT)?;
    serial.send("x")?;
    page_on_serial(serial, "x: exit session", PAGE_LIMIT)?;
    serial.send("x")?;
    // The LAN is asked first whether another machine has it by now.
    let page = status_on_serial(serial, "10.0.2.77:/sales /mnt/sales", PAGE_LIMIT)?;
    ensure!(field(&page, "Address")?.starts_with("10.0.2.77/24 on eth0 10."), "{page}");
    ensure!(field(&page, "Share")? == "/sales = sales-backup/onprem/", "{page}");
    Ok(())
}

fn no_dhcp_server() -> Result<()> {
    let mut alone = Alone::new("network-isolated")?;
    alone.hardware.network = Network::Isolated;
    let mut appliance = alone.power_on()?;
    let page = status_on_serial(&appliance.serial, "no DHCP server answers on", BOOT_LIMIT)?;
    println!("the console says:\n{page}\n");
    ensure!(field(&page, "Address")?.contains("set a static address"), "{page}");
    appliance.machine.shut_down(SHUTDOWN_LIMIT)
}

mod in_a_vm {
    #[test]
    fn addresses_by_seed_and_a_link_that_comes_and_goes() {
        if let Err(error) = super::addresses_by_seed() {
            panic!("{error:?}");
        }
    }

    #[test]
    fn a_lan_without_dhcp_server_is_said() {
        if let Err(error) = super::no_dhcp_server() {
            panic!("{error:?}");
        }
    }
}
