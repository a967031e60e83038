//! The seed document of the appliances that are run here: what a user would paste into VMware's
//! import wizard, pointing at the S3 store on the host.
use anyhow::Result;
use gateway_api::{
    Secret,
    settings::{Addressing, S3Settings, Settings, ShareSettings},
};

/// Host, as seen from a guest on QEMU's user network and on the virtual LAN of the tests.
pub const HOST_FROM_GUEST: &str = "10.0.2.2";
/// The one share.
pub const SHARE: &str = "sales";
/// Its bucket.
pub const BUCKET: &str = "sales-backup";
/// Its prefix.
pub const PREFIX: &str = "onprem/";
/// Region that requests are signed for.
pub const REGION: &str = "ap-northeast-2";
/// Access key of the store on the host; it is reachable from this machine and its guests only.
pub const ACCESS_KEY: &str = "tidegate";
/// Its secret.
pub const SECRET_KEY: &str = "tidegate-secret";
/// Host name of the appliance.
pub const HOSTNAME: &str = "tidegate";
/// Time zone of the appliance.
pub const TIME_ZONE: &str = "Asia/Seoul";

/// The seed for an appliance whose S3 store listens on `port` of the host.
///
/// # Errors
/// When the document cannot be written, which no valid constant above causes.
pub fn document(port: u16) -> Result<String> {
    let gateway = gateway_settings(&format!("http://{HOST_FROM_GUEST}:{port}"))?;
    let gateway: toml::Table = toml::from_str(&gateway)?;
    let machine = toml::toml! {
        hostname = HOSTNAME
        timezone = TIME_ZONE
    };
    let mut seed = toml::Table::new();
    seed.insert("machine".to_owned(), machine.into());
    seed.insert("gateway".to_owned(), gateway.into());
    Ok(toml::to_string(&seed)?)
}

/// The settings document of a gateway that finds the store at `endpoint`.
///
/// # Errors
/// As [`document`].
pub fn gateway_settings(endpoint: &str) -> Result<String> {
    Ok(settings(endpoint)?.to_toml()?)
}

/// The settings of a gateway that finds the store at `endpoint`.
///
/// # Errors
/// As [`document`].
pub fn settings(endpoint: &str) -> Result<Settings> {
    Ok(Settings {
        s3: S3Settings {
            endpoint: endpoint.to_owned(),
            region: REGION.to_owned(),
            addressing: Addressing::Path,
            allow_http: true,
            access_key_id: ACCESS_KEY.to_owned(),
            secret_access_key: Secret::new(SECRET_KEY),
            ..S3Settings::default()
        },
        shares: vec![ShareSettings::new(SHARE.parse()?, BUCKET.parse()?, PREFIX.parse()?)],
        ..Settings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_accepts_its_part_of_the_seed() {
        let seed: toml::Table = toml::from_str(&document(9000).unwrap()).unwrap();
        assert_eq!(seed["machine"]["timezone"].as_str(), Some(TIME_ZONE));
        let gateway = toml::to_string(&seed["gateway"]).unwrap();
        let settings = Settings::from_toml(&gateway).unwrap();
        assert_eq!(settings.s3.endpoint, "http://10.0.2.2:9000");
        assert_eq!(settings.shares[0].prefix.to_string(), PREFIX);
        assert_eq!(settings.missing_for_s3(), None);
    }
}
