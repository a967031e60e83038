//! Leases: taken, renewed, refused, lost, and kept over a restart of the service.
use std::net::Ipv4Addr;

use serde_json::json;

use super::{
    dhcp_server::{Asked, DhcpServer, Orders},
    lab::{Lab, in_namespaces, resolv_conf, says},
};

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 50);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 51);
/// A lease that nobody has to renew while a test runs.
const LONG: [u32; 3] = [3600, 1800, 3000];

fn gives(address: Ipv4Addr, seconds: [u32; 3]) -> Orders {
    Orders { address: Some(address), seconds, only_offers: false }
}

#[test]
fn a_lease_is_taken_with_all_it_says_and_outlives_the_service_and_the_link() {
    in_namespaces(
        "dhcp::a_lease_is_taken_with_all_it_says_and_outlives_the_service_and_the_link",
        taken,
    );
}

fn taken(mut lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    let server = DhcpServer::start(gives(FIRST, LONG));
    let state = lab.state_with("a lease", |state| {
        state["adapters"][0]["gateway"] == "10.7.0.1" && state["adapters"][0]["mtu"] == 1300
    });
    let eth0 = &state["adapters"][0];
    assert_eq!(eth0["addresses"][0], "10.7.0.50/24");
    assert_eq!(eth0["dhcp_server"], "10.7.0.1");
    assert_eq!(state["ntp"], json!(["10.7.0.123"]));
    assert_eq!(state["hostname"], "given");
    assert_eq!(resolv_conf(), "nameserver 10.7.0.53\nsearch lab.example\n");
    lab.wait_for_answer("10.7.0.50");
    assert_eq!(server.asked(), [Asked::Discover, Asked::Select]);
    // Type 1 and the hardware address: another machine is another client.
    assert_eq!(server.client_id(), [1, 2, 0, 0, 0, 0, 0]);

    lab.restart_service();
    let first = lab.state_with("a first look", |_| true);
    assert_eq!(first["adapters"][0]["addresses"][0], "10.7.0.50/24", "it was never taken away");
    lab.wait_for("the lease is verified", || (server.asked().len() == 3).then_some(()));
    assert_eq!(server.asked()[2], Asked::Verify);

    lab.connect(0, false);
    lab.adapter_with("eth0", "a lost link", |eth0| says(eth0, "no link"));
    server.order(gives(SECOND, LONG));
    lab.connect(0, true);
    lab.adapter_with("eth0", "another network's address", |eth0| {
        eth0["addresses"][0] == "10.7.0.51/24"
    });
    assert!(!lab.inside("ip", &["addr"]).contains("10.7.0.50"), "it was refused");
}

#[test]
fn a_lease_is_renewed_in_time() {
    in_namespaces("dhcp::a_lease_is_renewed_in_time", renewed);
}

fn renewed(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    let server = DhcpServer::start(gives(FIRST, [60, 1, 50]));
    let lease = lab.adapter_with("eth0", "a lease", |eth0| eth0["lease_until"].is_u64());
    let first = lease["lease_until"].as_u64().unwrap();
    lab.adapter_with("eth0", "a later end of the lease", |eth0| {
        eth0["lease_until"].as_u64().is_some_and(|until| until > first)
    });
    assert_eq!(server.asked()[..3], [Asked::Discover, Asked::Select, Asked::Renew]);
}

#[test]
fn a_refused_lease_gives_way_to_another_one() {
    in_namespaces("dhcp::a_refused_lease_gives_way_to_another_one", refused);
}

fn refused(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    let server = DhcpServer::start(gives(FIRST, [600, 1, 500]));
    lab.adapter_with("eth0", "a lease", |eth0| eth0["addresses"][0] == "10.7.0.50/24");
    server.order(gives(SECOND, LONG));
    let other = lab.adapter_with("eth0", "another lease", |eth0| {
        eth0["addresses"][0] == "10.7.0.51/24" && says(eth0, "")
    });
    assert_eq!(other["gateway"], "10.7.0.1");
    assert!(!lab.inside("ip", &["addr"]).contains("10.7.0.50"), "somebody else may have it");
    assert!(server.asked().contains(&Asked::Verify));
}

#[test]
fn a_lease_that_nobody_renews_is_given_up_at_its_end_and_a_lan_without_server_is_said() {
    in_namespaces(
        "dhcp::a_lease_that_nobody_renews_is_given_up_at_its_end_and_a_lan_without_server_is_said",
        lost,
    );
}

fn lost(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    lab.adapter_with("eth0", "nobody to ask", |eth0| says(eth0, "no DHCP server answers on eth0"));
    let server = DhcpServer::start(gives(FIRST, [5, 2, 4]));
    lab.adapter_with("eth0", "a lease", |eth0| eth0["addresses"][0] == "10.7.0.50/24");
    server.order(Orders { address: None, ..gives(FIRST, LONG) });
    lab.adapter_with("eth0", "the end of the lease", |eth0| {
        eth0["lease_until"] == json!(null) && !eth0["addresses"].to_string().contains("10.7.0.50")
    });
    lab.adapter_with("eth0", "silence", |eth0| says(eth0, "no DHCP server answers on eth0"));
    assert!(!lab.answers("10.7.0.50"));
    server.order(gives(SECOND, LONG));
    lab.adapter_with("eth0", "a lease again", |eth0| eth0["addresses"][0] == "10.7.0.51/24");
}

#[test]
fn a_lease_is_given_back_when_it_is_not_needed_any_more() {
    in_namespaces("dhcp::a_lease_is_given_back_when_it_is_not_needed_any_more", given_back);
}

fn given_back(mut lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    let server = DhcpServer::start(gives(FIRST, LONG));
    let has = |ip: &'static str| {
        move |eth0: &serde_json::Value| eth0["addresses"][0] == ip && says(eth0, "")
    };
    lab.adapter_with("eth0", "a lease", has("10.7.0.50/24"));
    lab.set(&json!({ "adapter": [
        { "name": "eth0", "ipv4": { "method": "static", "address": "10.7.0.5/24" } },
    ]}));
    lab.adapter_with("eth0", "a fixed address", has("10.7.0.5/24"));
    let asked = [Asked::Discover, Asked::Select, Asked::Release(FIRST)];
    lab.wait_for("the release", || (server.asked() == asked).then_some(()));

    lab.set(&json!({}));
    lab.adapter_with("eth0", "a lease again", has("10.7.0.50/24"));
    lab.switch_off();
    let whole = [asked.as_slice(), &asked].concat();
    lab.wait_for("the release at the end", || (server.asked() == whole).then_some(()));
}

#[test]
fn a_lease_is_kept_while_the_change_from_it_may_be_taken_back() {
    in_namespaces(
        "dhcp::a_lease_is_kept_while_the_change_from_it_may_be_taken_back",
        kept_on_trial,
    );
}

fn kept_on_trial(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    let server = DhcpServer::start(gives(FIRST, LONG));
    let has = |ip: &'static str| {
        move |eth0: &serde_json::Value| eth0["addresses"][0] == ip && says(eth0, "")
    };
    let fixed = |address: &str| {
        json!({ "adapter": [
            { "name": "eth0", "ipv4": { "method": "static", "address": address } },
        ]})
    };
    lab.adapter_with("eth0", "a lease", has("10.7.0.50/24"));
    lab.try_out(&fixed("10.7.0.5/24"));
    lab.adapter_with("eth0", "an address on trial", has("10.7.0.5/24"));
    lab.set(&json!({}));
    lab.adapter_with("eth0", "the leased address again", |eth0| {
        has("10.7.0.50/24")(eth0) && eth0["dhcp_server"] == "10.7.0.1"
    });
    // It was never given back: it is verified, not asked for anew.
    let asked = [Asked::Discover, Asked::Select, Asked::Verify];
    lab.wait_for("the lease is verified", || (server.asked() == asked).then_some(()));

    lab.try_out(&fixed("10.7.0.5/24"));
    lab.adapter_with("eth0", "an address on trial again", has("10.7.0.5/24"));
    lab.set(&fixed("10.7.0.5/24"));
    let asked = [asked.as_slice(), &[Asked::Release(FIRST)]].concat();
    lab.wait_for("the release", || (server.asked() == asked).then_some(()));
}

#[test]
fn a_leased_address_that_is_set_is_not_given_back() {
    in_namespaces("dhcp::a_leased_address_that_is_set_is_not_given_back", set_as_leased);
}

fn set_as_leased(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    let server = DhcpServer::start(gives(FIRST, LONG));
    lab.adapter_with("eth0", "a lease", |eth0| eth0["dhcp_server"] == "10.7.0.1");
    lab.set(&json!({ "adapter": [
        { "name": "eth0", "ipv4": { "method": "static", "address": "10.7.0.50/24" } },
    ]}));
    lab.adapter_with("eth0", "the address, set", |eth0| {
        eth0["addresses"][0] == "10.7.0.50/24"
            && eth0["dhcp_server"] == json!(null)
            && says(eth0, "")
    });
    lab.wait_for_answer("10.7.0.50");
    // What was sent before is heard before: there is no release between.
    lab.set(&json!({}));
    let asked = [Asked::Discover, Asked::Select, Asked::Discover, Asked::Select];
    lab.wait_for("another lease", || (server.asked().len() >= asked.len()).then_some(()));
    assert_eq!(server.asked(), asked);
}

#[test]
fn a_server_that_offers_and_never_acknowledges_is_said_and_keeps_no_address_there() {
    in_namespaces(
        "dhcp::a_server_that_offers_and_never_acknowledges_is_said_and_keeps_no_address_there",
        unacknowledged,
    );
}

fn unacknowledged(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    let offers = Orders { only_offers: true, ..gives(FIRST, LONG) };
    let server = DhcpServer::start(offers);
    lab.set(&json!({ "adapter": [
        { "name": "eth0", "ipv4": { "method": "static", "address": "10.7.0.5/24" } },
    ]}));
    let is_there = |eth0: &serde_json::Value| eth0["addresses"][0] == "10.7.0.5/24";
    lab.adapter_with("eth0", "a fixed address", |eth0| is_there(eth0) && says(eth0, ""));
    let before = server.asked().len();
    lab.try_out(&json!({}));
    let eth0 = lab.adapter_with("eth0", "an offer in vain", |eth0| {
        says(eth0, "a DHCP server offers eth0 an address and does not acknowledge it")
    });
    assert!(is_there(&eth0), "it may be taken back: {eth0}");
    assert!(server.asked()[before..].contains(&Asked::Select));
    lab.set(&json!({}));
    lab.adapter_with("eth0", "no address", |eth0| eth0["addresses"] == json!([]));
    server.order(gives(FIRST, LONG));
    lab.adapter_with("eth0", "a lease", |eth0| {
        eth0["addresses"][0] == "10.7.0.50/24" && says(eth0, "")
    });
}
