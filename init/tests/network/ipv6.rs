//! IPv6 by router advertisements, fixed, and off, one after the other.
use serde_json::{Value, json};

use super::{
    lab::{Lab, in_namespaces, resolv_conf},
    router,
};

#[test]
fn routers_are_listened_to_only_where_that_is_set() {
    in_namespaces("ipv6::routers_are_listened_to_only_where_that_is_set", routers);
}

fn has_routers_address(eth0: &Value) -> bool {
    eth0["addresses"].to_string().contains("fd00:7::")
}

fn routers(lab: Lab) {
    lab.add_adapter(0, "10.7.0.1/24");
    router::advertise();
    let set = |ipv6: Value| {
        lab.set(&json!({ "adapter": [{
            "name": "eth0",
            "ipv4": { "method": "static", "address": "10.7.0.5/24" },
            "ipv6": ipv6,
        }]}));
    };
    let advised = "nameserver fd00:7::53\nsearch v6.example\n";
    set(json!({ "method": "automatic" }));
    lab.adapter_with("eth0", "a router's address and route", |eth0| {
        has_routers_address(eth0) && eth0["ipv6_gateway"].as_str().is_some()
    });
    lab.wait_for("a router's name server", || (resolv_conf() == advised).then_some(()));

    set(json!({ "method": "static", "address": "fd00:8::5/64" }));
    lab.adapter_with("eth0", "the fixed address alone", |eth0| {
        eth0["addresses"] == json!(["10.7.0.5/24", "fd00:8::5/64"])
            && eth0["ipv6_gateway"] == json!(null)
    });
    assert_eq!(lab.ipv6_switch("eth0", "accept_ra"), "0");
    assert_eq!(resolv_conf(), "");

    set(json!({ "method": "off" }));
    lab.adapter_with("eth0", "no address", |eth0| eth0["addresses"] == json!(["10.7.0.5/24"]));
    lab.wait_for("IPv6 off", || (lab.ipv6_switch("eth0", "disable_ipv6") == "1").then_some(()));
    assert!(!lab.inside("ip", &["-6", "addr", "show", "dev", "eth0"]).contains("inet6"));

    set(json!({ "method": "automatic" }));
    lab.adapter_with("eth0", "a router's address again", has_routers_address);
    lab.wait_for("a router's name server", || (resolv_conf() == advised).then_some(()));
}
