//! An IPv4 address that another machine has (RFC 5227): the LAN's side is that machine.
use std::{
    net::{Ipv4Addr, UdpSocket},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    dhcp_server::{Asked, DhcpServer, Orders},
    lab::{Lab, in_namespaces, run, says},
};

fn has(ip: &'static str) -> impl Fn(&Value) -> bool {
    move |eth0: &Value| eth0["addresses"][0] == ip && says(eth0, "")
}

#[test]
fn a_fixed_address_of_another_machine_is_not_used_until_it_is_free() {
    in_namespaces(
        "conflict::a_fixed_address_of_another_machine_is_not_used_until_it_is_free",
        fixed,
    );
}

fn fixed(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    run("ip", &["addr", "add", "10.7.0.5/32", "dev", "lan0"]);
    lab.set(&json!({ "adapter": [
        { "name": "eth0",
          "ipv4": { "method": "static", "address": "10.7.0.5/24", "gateway": "10.7.0.1" } },
    ]}));
    let eth0 = lab.adapter_with("eth0", "the other machine", |eth0| {
        says(eth0, "has the address 10.7.0.5: give eth0 another one")
    });
    let mac = lan_mac();
    assert!(says(&eth0, &format!("another machine ({mac})")), "{eth0}");
    assert!(!lab.inside("ip", &["addr"]).contains("10.7.0.5"), "it is not used");
    assert!(!lab.inside("ip", &["route"]).contains("default"), "nor a route of it");

    run("ip", &["addr", "del", "10.7.0.5/32", "dev", "lan0"]);
    lab.adapter_with("eth0", "the address, which is free", has("10.7.0.5/24"));
    lab.wait_for_answer("10.7.0.5");
    // Somebody takes it while it is in use: what it sends has that sender.
    run("ip", &["addr", "add", "10.7.0.5/32", "dev", "lan0"]);
    let other = UdpSocket::bind(("10.7.0.5", 0)).unwrap();
    other.send_to(b"anything", ("10.7.0.99", 9)).unwrap();
    lab.adapter_with("eth0", "two users of one address", |eth0| {
        eth0["addresses"][0] == "10.7.0.5/24"
            && says(eth0, "uses the address 10.7.0.5 of eth0, too")
    });
}

#[test]
fn another_machine_s_address_leaves_the_one_before_in_use() {
    in_namespaces("conflict::another_machine_s_address_leaves_the_one_before_in_use", changed);
}

/// Somebody sets an address that another machine has: the appliance is reached as before, by its gateway too,
/// until the other one is free.
fn changed(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    run("ip", &["addr", "add", "10.7.0.6/32", "dev", "lan0"]);
    let fixed = |address: &str| {
        json!({ "adapter": [
            { "name": "eth0",
              "ipv4": { "method": "static", "address": address, "gateway": "10.7.0.1" } },
        ]})
    };
    lab.set(&fixed("10.7.0.5/24"));
    lab.adapter_with("eth0", "the first address", has("10.7.0.5/24"));
    lab.set(&fixed("10.7.0.6/24"));
    let eth0 = lab.adapter_with("eth0", "the other machine", |eth0| {
        says(eth0, "has the address 10.7.0.6: give eth0 another one")
    });
    assert_eq!(eth0["addresses"][0], "10.7.0.5/24", "{eth0}");
    assert_eq!(eth0["gateway"], "10.7.0.1", "{eth0}");
    lab.wait_for_answer("10.7.0.5");
    assert!(!lab.inside("ip", &["addr"]).contains("10.7.0.6"), "it is not used");

    run("ip", &["addr", "del", "10.7.0.6/32", "dev", "lan0"]);
    lab.adapter_with("eth0", "the other address", has("10.7.0.6/24"));
    lab.wait_for_answer("10.7.0.6");
    assert!(!lab.inside("ip", &["addr"]).contains("10.7.0.5"), "the first one went");
}

/// The hardware address of the LAN's side.
fn lan_mac() -> String {
    let shown = Command::new("ip").args(["-o", "link", "show", "lan0"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
    words.nth(1).unwrap().to_owned()
}

#[test]
fn a_leased_address_of_another_machine_is_declined_and_another_one_taken() {
    in_namespaces(
        "conflict::a_leased_address_of_another_machine_is_declined_and_another_one_taken",
        leased,
    );
}

fn leased(lab: Lab) {
    const TAKEN: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 50);
    const FREE: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 51);
    let gives = |address| Orders {
        address: Some(address),
        seconds: [3600, 1800, 3000],
        only_offers: false,
    };
    lab.add_adapter(0, "10.7.0.1/24");
    run("ip", &["addr", "add", "10.7.0.50/32", "dev", "lan0"]);
    let server = DhcpServer::start(gives(TAKEN));
    lab.adapter_with("eth0", "the other machine", |eth0| {
        says(
            eth0,
            "has the address 10.7.0.50, which DHCP has given to eth0; asking for another one",
        )
    });
    let declined = [Asked::Discover, Asked::Select, Asked::Decline(TAKEN)];
    lab.wait_for("the server hears it", || (server.asked() == declined).then_some(()));
    assert!(!lab.inside("ip", &["addr"]).contains("10.7.0.50"), "it was never used");
    server.order(gives(FREE));
    lab.adapter_with("eth0", "another address", has("10.7.0.51/24"));
}
