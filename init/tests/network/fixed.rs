//! What is set by hand: addresses, routes, MTU, name servers, VLANs, and taking it back.
use serde_json::json;

use super::lab::{Lab, adapter, in_namespaces, resolv_conf, says};

#[test]
fn an_address_is_set_with_its_routes_and_a_wrong_one_is_taken_back() {
    in_namespaces(
        "fixed::an_address_is_set_with_its_routes_and_a_wrong_one_is_taken_back",
        set_and_take_back,
    );
}

fn set_and_take_back(lab: Lab) {
    lab.state_with("an empty machine", |state| {
        state["problem"].as_str().is_some_and(|problem| problem.contains("no network adapter"))
    });
    lab.add_adapter(0, "10.7.0.1/24");
    lab.add_adapter(1, "10.8.0.1/24");
    let eth0 = |address: &str| {
        json!({
            "name": "eth0",
            "mtu": 1400,
            "ipv4": { "method": "static", "address": address, "gateway": "10.7.0.1" },
            "ipv6": { "method": "static", "address": "fd00:7::5/64", "gateway": "fd00:7::1" },
            "route": [{ "destination": "192.168.0.0/16", "gateway": "10.7.0.254" }],
        })
    };
    let eth1 = json!({
        "name": "eth1",
        "ipv4": { "method": "static", "address": "10.8.0.5/24", "gateway": "10.8.0.1" },
        "ipv6": { "method": "off" },
    });
    let network = |first: &str| {
        json!({
            "name_servers": ["192.0.2.53"],
            "search_domains": ["example.com"],
            "default_adapter": "eth1",
            "adapter": [eth0(first), eth1],
        })
    };
    lab.set(&network("10.7.0.5/24"));
    lab.adapter_with("eth0", "both addresses", |eth0| {
        eth0["addresses"] == json!(["10.7.0.5/24", "fd00:7::5/64"]) && says(eth0, "")
    });
    let state = lab.state_with("a gateway each", |state| {
        let gateway = |name| adapter(state, name).map(|adapter| adapter["gateway"].clone());
        gateway("eth0") == Some(json!("10.7.0.1")) && gateway("eth1") == Some(json!("10.8.0.1"))
    });
    assert_eq!(state["adapters"][0]["name"], "eth1", "the default one comes first");
    assert_eq!(adapter(&state, "eth0").unwrap()["mtu"], 1400);
    assert_eq!(resolv_conf(), "nameserver 192.0.2.53\nsearch example.com\n");
    lab.wait_for_answer("10.7.0.5");
    lab.wait_for_answer("10.8.0.5");
    assert!(lab.inside("ip", &["link", "show", "eth0"]).contains("mtu 1400"));
    let routes = lab.inside("ip", &["route"]);
    for route in [
        "default via 10.8.0.1 dev eth1 proto static metric 100",
        "default via 10.7.0.1 dev eth0 proto static metric 101",
        "192.168.0.0/16 via 10.7.0.254 dev eth0 proto static metric 101",
    ] {
        assert!(routes.contains(route), "{route}: {routes}");
    }
    assert!(lab.inside("ip", &["-6", "route"]).contains("default via fd00:7::1 dev eth0"));
    assert_eq!(lab.ipv6_switch("eth0", "accept_ra"), "0");
    assert_eq!(lab.ipv6_switch("eth1", "disable_ipv6"), "1");

    // A trial as PID 1 runs it: other settings, then those before them again.
    lab.set(&json!({ "adapter": [
        { "name": "eth0", "ipv4": { "method": "static", "address": "172.16.0.5/24" } }, eth1,
    ]}));
    let wrong = lab
        .adapter_with("eth0", "the wrong address", |eth0| eth0["addresses"][0] == "172.16.0.5/24");
    assert_eq!(wrong["gateway"], json!(null), "the route went with its address");
    assert!(!lab.answers("10.7.0.5"), "it has cut us off");
    lab.wait_for_answer("10.8.0.5");
    lab.set(&network("10.7.0.5/24"));
    lab.adapter_with("eth0", "the right address again", |eth0| {
        eth0["addresses"][0] == "10.7.0.5/24" && eth0["gateway"] == "10.7.0.1"
    });
    lab.wait_for_answer("10.7.0.5");

    lab.set(&json!({ "adapter": [
        { "name": "eth0", "ipv4": { "method": "off" }, "ipv6": { "method": "off" } }, eth1,
    ]}));
    lab.adapter_with("eth0", "nothing", |eth0| {
        eth0["addresses"] == json!([]) && eth0["mtu"] == 1500 && says(eth0, "")
    });
}

#[test]
fn an_address_that_nobody_wants_any_more_goes() {
    in_namespaces("fixed::an_address_that_nobody_wants_any_more_goes", wanted_no_more);
}

/// On LANs without DHCP.
fn wanted_no_more(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    lab.add_adapter(1, "10.8.0.1/24");
    let fixed = |name: &str| {
        json!({ "adapter": [
            { "name": name,
              "ipv4": { "method": "static", "address": "10.7.0.5/24", "gateway": "10.7.0.1" } },
        ]})
    };
    let is_there = |eth0: &serde_json::Value| eth0["addresses"][0] == "10.7.0.5/24";
    let is_gone = |eth0: &serde_json::Value| eth0["addresses"] == json!([]);
    lab.set(&fixed("eth0"));
    lab.adapter_with("eth0", "the address", is_there);
    lab.try_out(&json!({}));
    let eth0 = lab.adapter_with("eth0", "no server", |eth0| says(eth0, "no DHCP server answers"));
    assert!(is_there(&eth0) && eth0["gateway"] == "10.7.0.1", "it may be taken back: {eth0}");
    lab.wait_for_answer("10.7.0.5");
    lab.set(&json!({}));
    let eth0 = lab.adapter_with("eth0", "no address", is_gone);
    assert_eq!(eth0["gateway"], json!(null));
    assert!(!lab.inside("ip", &["route"]).contains("10.7.0"), "no route is left");

    lab.set(&fixed("eth0"));
    lab.adapter_with("eth0", "the address again", is_there);
    lab.set(&fixed("eth1"));
    lab.adapter_with("eth1", "the same on the other adapter", is_there);
    lab.adapter_with("eth0", "no address again", is_gone);
    assert_eq!(lab.inside("ip", &["addr"]).matches("10.7.0.5/24").count(), 1);
}

#[test]
fn what_the_kernel_refuses_is_said_and_harms_no_other_adapter() {
    in_namespaces("fixed::what_the_kernel_refuses_is_said_and_harms_no_other_adapter", refusals);
}

fn refusals(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    lab.add_adapter(1, "10.8.0.1/24");
    let eth1 = json!({
        "name": "eth1",
        "ipv4": { "method": "static", "address": "10.8.0.5/24" },
    });
    let eth0 = |gateway: &str| {
        json!({
            "name": "eth0",
            "ipv4": { "method": "static", "address": "10.7.0.5/24" },
            "route": [{ "destination": "192.168.0.0/16", "gateway": gateway }],
        })
    };
    lab.set(&json!({ "adapter": [eth0("172.30.0.1"), eth1] }));
    lab.adapter_with("eth0", "a route that cannot be", |eth0| {
        says(eth0, "add route 192.168.0.0/16 via 172.30.0.1")
            && says(eth0, "the gateway is in no network of this adapter")
    });
    lab.adapter_with("eth1", "the other adapter", |eth1| says(eth1, "") && eth1["link"] == true);
    lab.wait_for_answer("10.7.0.5");
    lab.wait_for_answer("10.8.0.5");
    lab.set(&json!({ "adapter": [eth0("10.7.0.254"), eth1] }));
    lab.adapter_with("eth0", "a route that can be", |eth0| says(eth0, ""));
    assert!(lab.inside("ip", &["route"]).contains("192.168.0.0/16 via 10.7.0.254"));
}

#[test]
fn a_lost_link_is_said_and_its_routes_do_not_count_until_it_is_back() {
    in_namespaces(
        "fixed::a_lost_link_is_said_and_its_routes_do_not_count_until_it_is_back",
        lost_link,
    );
}

fn lost_link(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    lab.set(&json!({ "adapter": [{
        "name": "eth0",
        "ipv4": { "method": "static", "address": "10.7.0.5/24", "gateway": "10.7.0.1" },
    }]}));
    lab.adapter_with("eth0", "a gateway", |eth0| eth0["gateway"] == "10.7.0.1");
    lab.connect(0, false);
    let lost = lab.adapter_with("eth0", "a lost link", |eth0| {
        says(eth0, "eth0 has no link: connect the adapter") && eth0["gateway"] == json!(null)
    });
    assert_eq!(lost["addresses"][0], "10.7.0.5/24", "connections survive a short loss");
    lab.connect(0, true);
    lab.adapter_with("eth0", "the link", |eth0| says(eth0, "") && eth0["gateway"] == "10.7.0.1");
    lab.wait_for_answer("10.7.0.5");
}

#[test]
fn a_vlan_is_made_and_removed() {
    in_namespaces("fixed::a_vlan_is_made_and_removed", vlan);
}

fn vlan(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    let storage = json!({
        "name": "storage",
        "vlan": { "parent": "eth0", "id": 120 },
        "ipv4": { "method": "static", "address": "10.9.0.5/24" },
    });
    lab.set(&json!({ "adapter": [storage] }));
    if !lab.has_vlans() {
        lab.adapter_with("storage", "why there is none", |storage| says(storage, "VLAN 120: "));
        eprintln!("skipped in part: this kernel has no VLANs");
        return;
    }
    for command in [
        "link add link lan0 name lan0.120 type vlan id 120",
        "addr add 10.9.0.1/24 dev lan0.120",
        "link set lan0.120 up",
    ] {
        super::lab::run("ip", &command.split(' ').collect::<Vec<_>>());
    }
    lab.adapter_with("storage", "its address", |storage| {
        storage["addresses"][0] == "10.9.0.5/24" && storage["vlan"] == "120 of eth0"
    });
    lab.wait_for_answer("10.9.0.5");
    lab.set(&json!({}));
    lab.state_with("no VLAN", |state| adapter(state, "storage").is_none());
    assert!(!lab.inside("ip", &["link"]).contains("storage"));
}
