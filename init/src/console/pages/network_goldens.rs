//! Network pages as an operator sees them, and what they ask for.
use crate::{
    console::{
        command::{Command, Finished, Target},
        keys::Key,
        operator::Operator,
    },
    machine::{Adapter, Ipv4, Ipv6, Machine, Vlan},
    observed::AdapterState,
};

fn at_network() -> Operator {
    let mut operator = Operator::logged_in();
    operator.choose("Network Configuration");
    operator
}

/// With a second adapter that has no link.
fn with_two() -> Operator {
    let mut operator = at_network();
    operator.view.network.adapters.push(AdapterState {
        name: "eth1".to_owned(),
        mac: "00:50:56:01:02:04".to_owned(),
        ipv4_method: "DHCP".to_owned(),
        ipv6_method: "automatic".to_owned(),
        mtu: 1500,
        problem: Some("eth1 has no link: connect the adapter".to_owned()),
        ..AdapterState::default()
    });
    operator
}

/// The machine settings that a change on trial asks for.
fn on_trial(operator: &Operator) -> Machine {
    match operator.command() {
        Command::Change { settings, revision: 5, on_trial: true } => *settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn adapters_are_described() {
    let mut operator = at_network();
    operator.sees_golden("network");
    operator.choose("Describe Adapter");
    operator.sees_golden("describe-adapter");
    let mut operator = with_two();
    operator.choose("Describe Adapter");
    operator.sees_golden("choose-adapter");
    operator.types("eth1\n");
    operator.sees_golden("describe-adapter-no-link");
}

#[test]
fn a_static_address_is_checked_and_put_on_trial() {
    let mut operator = at_network();
    operator.choose("Configure Static IP");
    operator.sees_golden("static-ip");
    operator.types("\n\n\n");
    operator.press(Key::Clear);
    operator.types("192.0.2.1");
    operator.press(Key::PageDown);
    operator.types("\n");
    operator.sees_golden("static-ip-wrong-gateway");
    operator.press(Key::Clear);
    operator.types("10.0.2.2");
    operator.press(Key::PageDown);
    operator.types("\n");
    let settings = on_trial(&operator);
    let address = "10.0.2.15/24".parse().unwrap();
    let gateway = Some("10.0.2.2".parse().unwrap());
    let ipv4 = Ipv4::Static { address, gateway };
    assert_eq!(settings.network.adapters, [Adapter { ipv4, ..Adapter::automatic("eth0") }]);
    assert_eq!(settings.network.name_servers, ["10.0.2.3".parse::<std::net::IpAddr>().unwrap()]);
    operator.finished(Ok(Finished::OnTrial));
    assert!(operator.sees().contains(": Configure Static IP"), "{}", operator.sees());
}

#[test]
fn wrong_fields_of_an_address_are_named() {
    for (field, typed, says) in [
        (1, "10.0.2", "such as 192.0.2.10"),
        (1, "10.0.2.255", "not an address that a machine can have"),
        (2, "255.0.255.0", "Write a netmask"),
        (2, "33", "Write a netmask"),
        (3, "router", "such as 192.0.2.1"),
        (4, "dns.example", "such as 192.0.2.53"),
    ] {
        let mut operator = at_network();
        operator.choose("Configure Static IP");
        operator.types(&"\n".repeat(field));
        operator.press(Key::Clear);
        operator.types(typed);
        operator.press(Key::PageDown);
        operator.types("\n");
        assert!(operator.sees().contains(says), "{typed}: {}", operator.sees());
        assert_eq!(operator.asked, None);
    }
}

#[test]
fn ipv6_is_static_on_the_same_form() {
    let mut operator = at_network();
    operator.choose("Configure Static IP");
    // IPv4 by DHCP again, IPv6 static.
    operator.types("d\n\n\n\n\n\ns\n2001:db8::7/64\nfe80::1");
    operator.press(Key::PageDown);
    operator.types("\n");
    let settings = on_trial(&operator);
    let ipv6 = Ipv6::Static {
        address: "2001:db8::7/64".parse().unwrap(),
        gateway: Some("fe80::1".parse().unwrap()),
    };
    assert_eq!(settings.network.adapters, [Adapter { ipv6, ..Adapter::automatic("eth0") }]);
    assert!(settings.network.name_servers.is_empty(), "DHCP's are not written down");
}

#[test]
fn everything_goes_back_to_dhcp_after_a_question() {
    let mut operator = at_network();
    let settings = operator.view.settings.as_mut().unwrap();
    let ipv4 = Ipv4::Static { address: "10.0.2.9/24".parse().unwrap(), gateway: None };
    let vlan = Some(Vlan { parent: "eth0".to_owned(), id: 12 });
    settings.network.adapters = vec![
        Adapter { ipv4: ipv4.clone(), ..Adapter::automatic("eth0") },
        Adapter { ipv4, vlan: vlan.clone(), ..Adapter::automatic("vlan12") },
    ];
    settings.network.name_servers = vec!["10.0.2.3".parse().unwrap()];
    operator.choose("Configure DHCP");
    operator.types("eth0\n");
    operator.sees_golden("configure-dhcp");
    operator.types("y");
    let settings = on_trial(&operator);
    assert_eq!(settings.network.adapter("eth0"), Adapter::automatic("eth0"));
    operator.finished(Err("a change waits to be confirmed".to_owned()));
    operator.types("\n\n\x1b");
    operator.choose("Reset all to DHCP");
    operator.sees_golden("reset-to-dhcp");
    operator.types("y");
    let settings = on_trial(&operator);
    assert_eq!(settings.network.adapters, [Adapter { vlan, ..Adapter::automatic("vlan12") }]);
    assert!(settings.network.name_servers.is_empty());
}

#[test]
fn the_host_name_is_used_at_once() {
    let mut operator = at_network();
    operator.choose("View Hostname Configuration");
    operator.sees_golden("hostname");
    operator.types("x");
    operator.choose("Configure Hostname");
    operator.press(Key::Clear);
    operator.types("-gate\n");
    operator.press(Key::PageDown);
    operator.types("\n");
    operator.sees_golden("hostname-refused");
    operator.press(Key::Clear);
    operator.types("gate7\n d");
    operator.press(Key::PageDown);
    operator.types("\n");
    let Command::Change { settings, on_trial: false, .. } = operator.command() else { panic!() };
    assert_eq!((settings.hostname.as_str(), settings.hostname_from_dhcp), ("gate7", true));
}

#[test]
fn name_servers_are_set_or_left_to_dhcp() {
    let mut operator = at_network();
    operator.choose("View DNS Configuration");
    operator.sees_golden("dns");
    operator.types("x");
    operator.choose("Edit DNS Configuration");
    operator.sees_golden("dns-edit");
    operator.types("n\n");
    operator.press(Key::Clear);
    operator.types("192.0.2.53\n2001:db8::53");
    operator.press(Key::PageDown);
    operator.types("\n");
    let settings = on_trial(&operator);
    let servers: Vec<String> =
        settings.network.name_servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["192.0.2.53", "2001:db8::53"]);
}

#[test]
fn routes_and_the_default_adapter() {
    let mut operator = with_two();
    operator.choose("View Routes");
    operator.sees_golden("routes");
    operator.types("x");
    operator.choose("Set Default Adapter");
    operator.types("eth1\n");
    operator.sees_golden("default-adapter");
    operator.types("y");
    assert_eq!(on_trial(&operator).network.default_adapter.as_deref(), Some("eth1"));
}

#[test]
fn mtu_and_vlans() {
    let mut operator = at_network();
    operator.choose("Set MTU");
    operator.types("9000\n");
    operator.sees_golden("mtu");
    operator.types("\n");
    assert_eq!(on_trial(&operator).network.adapter("eth0").mtu, Some(9000));
    let mut operator = at_network();
    operator.choose("Set MTU");
    operator.types("100\n\n");
    assert!(operator.sees().contains("MTU 100 is too small"), "{}", operator.sees());

    let mut operator = at_network();
    operator.choose("Add a VLAN");
    operator.types("\n4095\n\n\n");
    operator.sees_golden("vlan-refused");
    operator.press(Key::Clear);
    operator.types("120\n\n\n");
    let settings = on_trial(&operator);
    let vlan = Some(Vlan { parent: "eth0".to_owned(), id: 120 });
    assert_eq!(settings.network.adapters, [Adapter { vlan, ..Adapter::automatic("vlan120") }]);
    operator.finished(Ok(Finished::OnTrial));
    operator.view.settings = Ok(settings);
    operator.choose("Remove a VLAN");
    operator.types("\n");
    operator.sees_golden("vlan-remove");
    operator.types("y");
    assert!(on_trial(&operator).network.adapters.is_empty());
}

#[test]
fn what_the_appliance_needs_of_the_network_is_tested() {
    let mut operator = Operator::logged_in();
    operator.choose("Test Network Connectivity");
    let name = "s3.ap-northeast-2.amazonaws.com".to_owned();
    let expected = vec![
        Target::Router { adapter: "eth0".to_owned(), address: "10.0.2.2".parse().unwrap() },
        Target::NameServer { server: "10.0.2.3".parse().unwrap(), name: Some(name.clone()) },
        Target::TimeServer("10.0.2.2".to_owned()),
        Target::Port { what: "S3 endpoint", host: name, port: 443 },
    ];
    assert_eq!(operator.command(), Command::TestNetwork(expected));
    let mut operator = Operator::logged_in();
    operator.view.network = crate::observed::NetworkState::default();
    operator.choose("Test Network Connectivity");
    operator.sees_golden("network-test-nothing");
}
