//! Goal: every property becomes the setting that its label promises, and a wrong one costs only itself.
//! Method: tables of properties and documents; the OVF template against the list of properties.
use std::fs;

use gateway_api::Settings;

use super::*;
use crate::machine::Machine;

/// Every property but the seed document, which is not read here.
const ALL: &[Property] = &[
    HOSTNAME,
    ADDRESS,
    PREFIX,
    GATEWAY,
    NAME_SERVERS,
    DOMAINS,
    VLAN,
    TIME_ZONE,
    NTP_SERVERS,
    PASSWORD,
    CACHE_DISKS,
    REGION,
    ENDPOINT,
    PATH_STYLE,
    ALLOW_HTTP,
    ACCESS_KEY,
    SECRET_KEY,
    BUCKET,
    KEY_PREFIX,
    SHARE,
    STORAGE_CLASS,
    CLIENTS,
];

fn zones() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("Asia")).unwrap();
    fs::write(dir.path().join("Asia/Seoul"), b"TZif2").unwrap();
    fs::write(dir.path().join("UTC"), b"TZif2").unwrap();
    dir
}

fn told(properties: &[(&str, &str)]) -> Told {
    let zones = zones();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    document(&properties.iter().map(owned).collect(), zones.path())
}

fn machine(told: &Told) -> Machine {
    let zones = zones();
    Machine::parse(&toml::to_string(&told.machine).unwrap(), zones.path()).unwrap()
}

const EVERYTHING: &[(&str, &str)] = &[
    ("hostname", " gate7 "),
    ("ip_address", "10.0.0.5"),
    ("ip_prefix", "24"),
    ("ip_gateway", "10.0.0.1"),
    ("name_servers", "10.0.0.2, 2001:db8::53"),
    ("search_domains", "example.com"),
    ("vlan", "42"),
    ("timezone", "Asia/Seoul"),
    ("ntp_servers", "ntp1.example.com 10.0.0.3"),
    (
        "password",
        "$6$saltsalt$hRM5XZ86KXEw9UOmjigeVqFgULtFB2sgpC9lXQDfMib3Zgw7mEiUvBJI2EplzfAqxL5Vvwp2scFtv/uamSo5z0",
    ),
    ("cache_disks", "every-blank"),
    ("s3_region", "ap-northeast-2"),
    ("s3_endpoint", "http://10.0.2.2:9000"),
    ("s3_path_style", "True"),
    ("s3_allow_http", "true"),
    ("s3_access_key_id", "AKIDEXAMPLE"),
    ("s3_secret_access_key", "secret/with+signs="),
    ("share_bucket", "sales-backup"),
    ("share_prefix", "onprem"),
    ("share_name", "sales"),
    ("share_storage_class", "STANDARD_IA"),
    ("share_client_list", "10.0.0.0/24;192.0.2.7"),
];

#[test]
fn every_property_becomes_its_setting() {
    let told = told(EVERYTHING);
    assert_eq!(told.problems, [""; 0]);
    let machine = machine(&told);
    assert_eq!((machine.hostname.as_str(), machine.timezone.as_str()), ("gate7", "Asia/Seoul"));
    assert_eq!(machine.ntp_servers, ["ntp1.example.com", "10.0.0.3"]);
    assert_eq!(machine.cache_disks, CacheDisks::EveryBlank);
    assert!(machine.password_hash.unwrap().expose().starts_with("$6$saltsalt$"));
    let network = machine.network;
    assert_eq!(network.name_servers.len(), 2);
    assert_eq!(network.search_domains, ["example.com"]);
    assert_eq!(network.default_adapter.as_deref(), Some("eth0.42"));
    assert_eq!(network.adapters[0].ipv4, Ipv4::Off);
    let vlan = &network.adapters[1];
    assert_eq!(vlan.vlan, Some(Vlan { parent: "eth0".to_owned(), id: 42 }));
    let (address, gateway) = ("10.0.0.5/24".parse().unwrap(), "10.0.0.1".parse().ok());
    assert_eq!(vlan.ipv4, Ipv4::Static { address, gateway });

    let settings = Settings::from_toml(&toml::to_string(&told.gateway).unwrap()).unwrap();
    assert_eq!(settings.s3.endpoint, "http://10.0.2.2:9000");
    assert_eq!(settings.s3.addressing, gateway_api::settings::Addressing::Path);
    assert_eq!(settings.s3.secret_access_key.expose(), "secret/with+signs=");
    let share = &settings.shares[0];
    assert_eq!((share.name.as_str(), share.prefix.as_str()), ("sales", "onprem/"));
    assert_eq!(share.storage_class, StorageClass::StandardIa);
    assert_eq!(share.client_list.len(), 2);
}

#[test]
fn every_property_is_looked_at() {
    for property in ALL {
        let others: Vec<_> =
            EVERYTHING.iter().copied().filter(|(k, _)| *k != property.key).collect();
        assert_eq!(others.len() + 1, EVERYTHING.len(), "{} is not in the table", property.key);
        assert_ne!(told(&others), told(EVERYTHING), "{} changes nothing", property.key);
    }
}

#[test]
fn nothing_told_is_nothing_set() {
    for properties in [vec![], EVERYTHING.iter().map(|(key, _)| (*key, " ")).collect()] {
        assert_eq!(told(&properties), Told::default());
    }
    // As the wizard's defaults are.
    let defaults = [
        ("timezone", "UTC"),
        ("cache_disks", "single-blank"),
        ("s3_path_style", "False"),
        ("s3_allow_http", "False"),
        ("share_storage_class", "STANDARD"),
    ];
    let told = told(&defaults);
    assert_eq!((told.problems.len(), told.gateway.len()), (0, 0));
    assert_eq!(machine(&told), Machine::default());
}

#[test]
fn addresses_are_understood_in_every_usual_form() {
    for (address, prefix, expected) in [
        ("10.0.0.5/24", "", "10.0.0.5/24"),
        ("10.0.0.5", "/16", "10.0.0.5/16"),
        ("10.0.0.5", "255.255.252.0", "10.0.0.5/22"),
    ] {
        let told = told(&[("ip_address", address), ("ip_prefix", prefix)]);
        assert_eq!(told.problems, [""; 0]);
        let adapter = machine(&told).network.adapters.remove(0);
        assert_eq!(adapter.name, "eth0");
        let address = expected.parse().unwrap();
        assert_eq!(adapter.ipv4, Ipv4::Static { address, gateway: None });
    }
    let v6 = told(&[("ip_address", "2001:db8::5/64"), ("ip_gateway", "fe80::1")]);
    let adapter = machine(&v6).network.adapters.remove(0);
    assert_eq!(adapter.ipv4, Ipv4::Dhcp);
    assert!(matches!(adapter.ipv6, Ipv6::Static { gateway: Some(_), .. }));
}

#[test]
fn a_password_in_plain_text_is_hashed() {
    let told = told(&[("password", "correct horse")]);
    let hash = machine(&told).password_hash.unwrap();
    assert!(password::matches(&Secret::new("correct horse"), &hash));
}

#[test]
fn a_share_is_called_as_its_bucket_unless_it_has_a_name() {
    let named = told(&[("share_bucket", "sales-backup")]);
    assert_eq!(named.gateway["share"][0]["name"].as_str(), Some("sales-backup"));
    let arn = "arn:aws:s3:ap-northeast-2:123456789012:accesspoint/sales";
    assert_eq!(told(&[("share_bucket", arn)]).problems.len(), 1);
    let arn = told(&[("share_bucket", arn), ("share_name", "sales")]);
    assert_eq!((arn.problems.len(), arn.gateway["share"][0]["name"].as_str()), (0, Some("sales")));
}

#[test]
fn a_wrong_value_is_said_by_its_label_and_costs_only_itself() {
    for (key, value, says) in [
        ("hostname", "a b", "Host name: use 1 to 63"),
        ("ip_address", "10.0.0", "IP address: \"10.0.0\" is no address"),
        ("ip_address", "10.0.0.0", "IP address: eth0.42: 10.0.0.0/24 is not an address"),
        ("ip_prefix", "33", "IP address: \"33\" is no prefix length"),
        ("ip_prefix", "", "IP address: it needs a prefix length"),
        ("ip_gateway", "10.0.1.1", "IP address: eth0.42: the gateway 10.0.1.1"),
        ("ip_gateway", "2001:db8::1", "Default gateway: it is no address of the same family"),
        ("ip_gateway", "router", "Default gateway: \"router\" is no address"),
        ("name_servers", "dns.example", "DNS servers: \"dns.example\" is no address"),
        ("name_servers", "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4", "DNS servers: at most 3"),
        ("search_domains", "a..b", "DNS search domains: \"a..b\" is no domain"),
        ("vlan", "4095", "VLAN: \"4095\" is no number from 1 to 4094"),
        ("timezone", "Seoul", "Time zone: \"Seoul\" is not in the tz database"),
        ("ntp_servers", "1 2 3 4 5 6 7 8 9", "NTP servers: give at most 8"),
        ("password", "short", "Console password: the password must have 8"),
        ("cache_disks", "all", "Cache disks: unknown variant"),
        ("s3_region", "ap northeast", "S3 region: it must not contain blanks"),
        ("s3_endpoint", "s3.example", "S3 endpoint: it must begin with https://"),
        ("s3_path_style", "perhaps", "Buckets in the path: \"perhaps\" is neither"),
        ("s3_allow_http", "", "S3 endpoint: s3.endpoint: plain http"),
        ("share_bucket", "a", "Bucket: bucket \"a\" is not an S3 bucket name"),
        ("share_bucket", "", "Bucket: it is empty"),
        ("share_prefix", "/x", "Prefix in the bucket: prefix \"/x\""),
        ("share_name", "a b", "Share name: share name \"a b\""),
        ("share_storage_class", "COLD", "Storage class: unknown variant"),
        ("share_client_list", "everyone", "Clients: \"everyone\" is no address or network"),
    ] {
        let mut properties = EVERYTHING.to_vec();
        properties.iter_mut().find(|(k, _)| *k == key).unwrap().1 = value;
        let told = told(&properties);
        assert!(
            told.problems.iter().any(|p| p.contains(says)),
            "{key}={value}: {:?}",
            told.problems
        );
        assert!(told.problems.len() <= 2, "{key}={value}: {:?}", told.problems);
        assert!(told.machine.len() >= 5, "{key}={value}: the others count: {:?}", told.machine);
        machine(&told);
        if !told.gateway.is_empty() {
            Settings::from_toml(&toml::to_string(&told.gateway).unwrap()).unwrap();
        }
    }
}

#[test]
fn the_secrets_are_not_in_the_problems() {
    let told = told(&[("password", "2short"), ("s3_secret_access_key", "two words")]);
    assert_eq!(told.problems.len(), 2);
    assert!(!told.problems.iter().any(|p| p.contains("2short") || p.contains("two words")));
}

#[test]
fn the_wizard_asks_for_these_properties_under_these_labels() {
    let ovf = include_str!("../../../../vmware/templates/tidegate.ovf");
    let document = roxmltree::Document::parse(ovf).unwrap();
    let envelope = "http://schemas.dmtf.org/ovf/envelope/1";
    let asked: Vec<(&str, &str)> = document
        .descendants()
        .filter(|node| node.has_tag_name((envelope, "Property")))
        .map(|node| {
            let label = node.children().find(|child| child.has_tag_name((envelope, "Label")));
            (node.attribute((envelope, "key")).unwrap(), label.unwrap().text().unwrap())
        })
        .collect();
    let known = ALL.iter().map(|property| (property.key, property.label));
    let known: Vec<_> = known.chain([(super::super::GUESTINFO, "Seed document")]).collect();
    assert_eq!(asked, known);
}
