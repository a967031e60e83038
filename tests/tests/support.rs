//! With a cache disk that is somebody else's the gateway does not run. The way to S3 is tested all the
//! same, a support bundle without secrets reaches the bucket, and settings are imported from a URL and from a
//! volume.
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    appliance_vm::Volume,
    console::Console,
    lab::{Alone, BOOT_LIMIT},
    pages::{PASSWORD, choose_on_serial, log_in_on_serial, page_on_serial, status_on_serial},
    seed,
    wait::poll_until,
    web::Web,
};
use flate2::read::GzDecoder;

/// From a key to what it shows, emulated: a bundle reads the whole journal.
const KEY_LIMIT: Duration = Duration::from_secs(240);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
/// Something that must not be in the bundle, as the seed tells it.
const PROXY_PASSWORD: &str = "seeded-proxy-password";

/// The bundle's files, all in one text.
fn unpacked(archive: &[u8]) -> Result<String> {
    let mut all = String::new();
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for entry in archive.entries()? {
        let mut entry = entry?;
        all.push_str(&format!("\n==> {}\n", entry.path()?.display()));
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        all.push_str(&String::from_utf8_lossy(&bytes));
    }
    Ok(all)
}

/// The document at the URL is looked at, and not used.
fn look_at_url(serial: &mut Console, url: &str) -> Result<()> {
    choose_on_serial(serial, "Settings Export and Import", KEY_LIMIT)?;
    choose_on_serial(serial, "Import from a URL", KEY_LIMIT)?;
    page_on_serial(serial, "[ Fetch ]", KEY_LIMIT)?;
    serial.send(&format!("{url}\r\r"))?;
    let page = page_on_serial(serial, "Enter: use these settings", KEY_LIMIT)?;
    println!("what the URL's settings change:\n{page}\n");
    let change = "machine.hostname: \"tidegate\" -> \"fetched\"";
    ensure!(page.contains(change) && page.matches(" -> ").count() == 1, "{page}");
    // Back to the form, the menu, and the main menu.
    serial.send("x")?;
    page_on_serial(serial, "[ Fetch ]", KEY_LIMIT)?;
    serial.send("\x1b")?;
    page_on_serial(serial, "4: Import from a Volume", KEY_LIMIT)?;
    serial.send("x")
}

/// The seed has named the machine otherwise, so the volume is not what it was set up from.
fn import(serial: &mut Console) -> Result<()> {
    choose_on_serial(serial, "Settings Export and Import", KEY_LIMIT)?;
    choose_on_serial(serial, "Import from a Volume", KEY_LIMIT)?;
    let page = page_on_serial(serial, "Enter: use these settings", KEY_LIMIT)?;
    println!("what the volume's settings change:\n{page}\n");
    let change = "machine.hostname: \"tidegate\" -> \"imported\"";
    ensure!(page.contains(change) && page.matches(" -> ").count() == 1, "{page}");
    serial.send("\r")?;
    page_on_serial(serial, "Use these settings? [y/N]", KEY_LIMIT)?;
    serial.send("y")?;
    page_on_serial(serial, "The settings are in use.", KEY_LIMIT)?;
    // The name stands in the first line of every page.
    page_on_serial(serial, "  imported", KEY_LIMIT).map(drop)
}

fn without_a_gateway() -> Result<()> {
    let mut alone = Alone::new("support")?;
    let folder = alone.folder().join("volume");
    std::fs::create_dir(&folder)?;
    let named = format!("[machine]\nhostname = \"imported\"\ntimezone = \"{}\"\n", seed::TIME_ZONE);
    std::fs::write(folder.join("tidegate.toml"), &named)?;
    let fetched = alone.folder().join("fetched.toml");
    std::fs::write(&fetched, named.replace("imported", "fetched"))?;
    let web = Web::serve(fetched)?;
    alone.hardware.volumes = vec![Volume::Fat(folder, "TIDEGATE")];
    let mut disk = File::options().write(true).open(&alone.hardware.cache_disk)?;
    disk.seek(SeekFrom::Start(1 << 20))?;
    disk.write_all(b"somebody's data, of no known kind")?;
    disk.sync_all()?;
    let mut document: toml::Table = seed::document(alone.store.address().port())?.parse()?;
    let s3 = document["gateway"]["s3"].as_table_mut().context("the table of S3")?;
    // Everything goes past the proxy; what matters is that its password is told.
    for (name, value) in [
        ("http_proxy", "http://proxy.example:3128"),
        ("proxy_user", "me"),
        ("proxy_password", PROXY_PASSWORD),
    ] {
        s3.insert(name.to_owned(), value.into());
    }
    s3.insert("no_proxy".to_owned(), vec![seed::HOST_FROM_GUEST].into());
    let document = toml::to_string(&document)?;
    std::fs::write(&alone.hardware.seed, document)?;
    let mut appliance = alone.power_on()?;
    let serial = &mut appliance.serial;
    status_on_serial(serial, "left alone", BOOT_LIMIT)?;
    log_in_on_serial(serial, KEY_LIMIT)?;

    choose_on_serial(serial, "Test S3 Connectivity", KEY_LIMIT)?;
    let page = page_on_serial(serial, "S3 can be used.", KEY_LIMIT)?;
    println!("the test without a gateway:\n{page}\n");
    ensure!(page.contains("Delete the object"), "{page}");
    serial.send("\r")?;

    choose_on_serial(serial, "Support Bundle", KEY_LIMIT)?;
    choose_on_serial(serial, "Send to the Bucket", KEY_LIMIT)?;
    page_on_serial(serial, "Collect and send", KEY_LIMIT)?;
    serial.send("\r\r\r")?;
    let page = page_on_serial(serial, "Press any key", KEY_LIMIT)?;
    println!("the bundle is sent:\n{page}\n");
    ensure!(page.contains("Stored:"), "{page}");
    let key = poll_until("the bundle in the bucket", KEY_LIMIT, || {
        let keys = alone.store.keys(seed::BUCKET);
        Ok(keys.into_iter().find(|key| key.starts_with("onprem/.tidegate/support/")))
    })?;
    let object = alone.store.object(seed::BUCKET, &key).context("the bundle")?;
    std::fs::write(alone.folder().join("bundle.tar.gz"), &object.body)?;
    let text = unpacked(&object.body)?;
    for secret in [seed::SECRET_KEY, PROXY_PASSWORD, PASSWORD, "$6$"] {
        ensure!(!text.contains(secret), "{secret} is in the bundle {key}");
    }
    for piece in [
        "/journal.txt\n",
        "/dmesg.txt\n",
        "hostname = \"tidegate\"",
        &format!("access_key_id = \"{}\"", seed::ACCESS_KEY),
        "MemTotal",
        "/usr/sbin/init network",
        "missing: gateway-status.json: it is being started",
        "Linux version",
    ] {
        ensure!(text.contains(piece), "{piece:?} is not in the bundle {key}");
    }
    serial.send("\rx")?;
    look_at_url(serial, &web.url("tidegate.toml"))?;
    import(serial)?;
    appliance.machine.shut_down(SHUTDOWN_LIMIT)
}

mod in_a_vm {
    #[test]
    fn an_engineer_is_helped_while_no_gateway_runs() {
        if let Err(error) = super::without_a_gateway() {
            panic!("{error:?}");
        }
    }
}
