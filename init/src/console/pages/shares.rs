//! File shares: what there is, mount commands, create, change, delete.
use gateway_api::{
    BucketName, ClientSpec, KeyPrefix, NameError, ShareName, ShareSettings,
    settings::{Encryption, ObjectAcl, Squash, StorageClass},
};

use super::{
    addresses, gateway_changed, gateway_changing, gateway_settings, refused,
    status::{command, field},
};
use crate::console::{
    command::Command,
    form::{Field, Problem, Values, choice, form, text},
    grid::{Line, paragraph},
    menu::{Entry, entry, menu_with},
    page::Page,
    question::question,
    view::View,
};

const NAME: &str = "Name";
const BUCKET: &str = "Bucket";
const PREFIX: &str = "Prefix";
const CLIENTS: &str = "Allowed clients";
const READ_ONLY: &str = "Read-only";
const SQUASH: &str = "Squash";
const CLASS: &str = "Storage class";
const ENCRYPTION: &str = "Encryption";
const KMS_KEY: &str = "KMS key";
const ACL: &str = "Object ACL";
const STALE: &str = "Listing expires after s";
const OWNER: &str = "Owner uid";
const GROUP: &str = "Group gid";
const FILE_MODE: &str = "File mode";
const DIRECTORY_MODE: &str = "Directory mode";
const PORTS: &str = "Client ports";
const PAYS: &str = "Requester pays";
const MIME: &str = "Guess MIME type";

const YES: &str = "yes";
const NO: &str = "no";
const ANY_PORT: &str = "any";
const PRIVILEGED: &str = "below 1024";

const SQUASHES: [(&str, Squash); 3] = [
    ("root squash", Squash::RootSquash),
    ("no squash", Squash::NoSquash),
    ("all squash", Squash::AllSquash),
];
const CLASSES: [(&str, StorageClass); 4] = [
    ("S3 Standard", StorageClass::Standard),
    ("S3 Intelligent-Tiering", StorageClass::IntelligentTiering),
    ("S3 Standard-IA", StorageClass::StandardIa),
    ("S3 One Zone-IA", StorageClass::OnezoneIa),
];
const ENCRYPTIONS: [(&str, Encryption); 4] = [
    ("as the bucket says", Encryption::BucketDefault),
    ("SSE-S3", Encryption::SseS3),
    ("SSE-KMS", Encryption::SseKms),
    ("DSSE-KMS", Encryption::DsseKms),
];
const ACLS: [(&str, ObjectAcl); 7] = [
    ("private", ObjectAcl::Private),
    ("public-read", ObjectAcl::PublicRead),
    ("public-read-write", ObjectAcl::PublicReadWrite),
    ("authenticated-read", ObjectAcl::AuthenticatedRead),
    ("bucket-owner-read", ObjectAcl::BucketOwnerRead),
    ("bucket-owner-full-control", ObjectAcl::BucketOwnerFullControl),
    ("aws-exec-read", ObjectAcl::AwsExecRead),
];

/// The shares, and a new one.
pub(super) fn page() -> Page {
    let shows = |view: &View| match gateway_settings(view) {
        Ok((_, settings)) if settings.shares.is_empty() => paragraph("There is no file share yet."),
        Ok(_) => Vec::new(),
        Err(why) => paragraph(&why),
    };
    menu_with("File Shares", Box::new(shows), Box::new(entries))
}

fn entries(view: &View) -> Vec<Entry> {
    let mut entries = vec![entry("Create a file share", create)];
    if let Ok((_, settings)) = gateway_settings(view) {
        entries.extend(settings.shares.iter().map(|share| {
            let label = format!("/{} = {}/{}", share.name, share.bucket, share.prefix);
            let name = share.name.to_string();
            entry(label, move |_| of_share(&name))
        }));
    }
    entries
}

fn find<'a>(view: &'a View, name: &str) -> Result<&'a ShareSettings, String> {
    let (_, settings) = gateway_settings(view)?;
    let share = settings.shares.iter().find(|share| share.name.as_str() == name);
    share.ok_or_else(|| format!("There is no share {name} any more."))
}

/// One share: how it is, and what can be done with it.
fn of_share(name: &str) -> Page {
    let (shown, listed) = (name.to_owned(), name.to_owned());
    let shows = move |view: &View| match find(view, &shown) {
        Ok(share) => share_lines(share, view),
        Err(why) => paragraph(&why),
    };
    let entries = move |_: &View| {
        let (mount, change, delete) = (listed.clone(), listed.clone(), listed.clone());
        vec![
            entry("Mount commands", move |_| mount_commands(&mount)),
            entry("Change", move |view| edit(&change, view)),
            entry("Delete", move |view| ask_delete(&delete, view)),
        ]
    };
    menu_with(&format!("File share {name}"), Box::new(shows), Box::new(entries))
}

fn share_lines(share: &ShareSettings, view: &View) -> Vec<Line> {
    let mut lines = field("Bucket", &format!("{}/{}", share.bucket, share.prefix));
    let clients: Vec<String> = share.client_list.iter().map(ToString::to_string).collect();
    let clients = if clients.is_empty() { "nobody".to_owned() } else { clients.join(" ") };
    lines.extend(field("Clients", &clients));
    lines.extend(field("Access", if share.read_only { "read-only" } else { "read and write" }));
    let status = view.gateway.as_ref().ok();
    let status = status.and_then(|s| s.shares.iter().find(|status| status.name == share.name));
    if let Some(status) = status {
        let upload = &status.upload;
        let words = if upload.is_idle() {
            "nothing".to_owned()
        } else {
            format!("{} in {} files", upload.dirty_bytes, upload.dirty_files)
        };
        lines.extend(field("To upload", &words));
    }
    lines
}

/// For the three kinds of client that AWS documents.
fn mount_commands(name: &str) -> Page {
    let share = name.to_owned();
    let shows = move |view: &View| match addresses::host(view) {
        None => paragraph("The appliance has no address yet: see Network Configuration."),
        Some(host) => [
            ("Linux", format!("mount -t nfs -o vers=3,nolock,hard {host}:/{share} /mnt/{share}")),
            (
                "macOS",
                format!("mount_nfs -o vers=3,nolock,rwsize=65536,hard {host}:/{share} ~/{share}"),
            ),
            (
                "Windows (Client for NFS)",
                format!("mount -o nolock -o mtype=hard \\\\{host}\\{share} X:"),
            ),
        ]
        .into_iter()
        .flat_map(|(client, text)| {
            let mut lines = vec![Line::bold(format!(" {client}"))];
            lines.extend(command(&text));
            lines.push(Line::empty());
            lines
        })
        .collect(),
    };
    Page::live(format!("Mount commands: {name}"), Box::new(shows))
}

fn label_of<T: Copy + PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, of)| *of == value).map_or("", |(label, _)| label)
}

fn value_of<T: Copy>(table: &[(&'static str, T)], label: &str) -> T {
    table.iter().find(|(of, _)| *of == label).map_or(table[0].1, |(_, value)| *value)
}

fn labels<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(label, _)| *label).collect()
}

fn yes_or_no(is: bool) -> &'static str {
    if is { YES } else { NO }
}

fn fields(share: Option<&ShareSettings>) -> Vec<Field> {
    let known = |of: fn(&ShareSettings) -> String| share.map(of).unwrap_or_default();
    let or = |of: fn(&ShareSettings) -> String, default: &str| {
        share.map_or_else(|| default.to_owned(), of)
    };
    let clients = share.map_or_else(ClientSpec::everyone, |share| share.client_list.clone());
    let clients: Vec<String> = clients.iter().map(ToString::to_string).collect();
    let squash = share.map(|s| s.squash).unwrap_or_default();
    let class = share.map(|s| s.storage_class).unwrap_or_default();
    let encryption = share.map(|s| s.encryption).unwrap_or_default();
    let acl = share.map(|s| s.object_acl).unwrap_or_default();
    let ports = share.is_some_and(|s| s.require_privileged_port);
    vec![
        text(NAME, known(|s| s.name.to_string()), "Clients mount ADDRESS:/NAME."),
        text(BUCKET, known(|s| s.bucket.to_string()), "Name, or alias or ARN of an access point."),
        text(
            PREFIX,
            known(|s| s.prefix.to_string()),
            "The part of the bucket it shows; empty: all.",
        ),
        text(
            CLIENTS,
            clients.join(" "),
            "Addresses and networks, blanks between them: 10.0.0.0/8 192.0.2.7. Empty: nobody.",
        ),
        choice(
            READ_ONLY,
            &[NO, YES],
            yes_or_no(share.is_some_and(|s| s.read_only)),
            "Refuse every change.",
        ),
        choice(
            SQUASH,
            &labels(&SQUASHES),
            label_of(&SQUASHES, squash),
            "Whose uid and gid become the owner's below: root's, nobody's, everybody's.",
        ),
        choice(CLASS, &labels(&CLASSES), label_of(&CLASSES, class), "Of new objects."),
        choice(
            ENCRYPTION,
            &labels(&ENCRYPTIONS),
            label_of(&ENCRYPTIONS, encryption),
            "Of new objects.",
        ),
        text(
            KMS_KEY,
            known(|s| s.kms_key.clone()),
            "ARN, id or alias; empty: the account's own for S3.",
        ),
        choice(
            ACL,
            &labels(&ACLS),
            label_of(&ACLS, acl),
            "Who besides their owner may use new objects.",
        ),
        text(
            STALE,
            or(|s| s.cache_stale_timeout_seconds.to_string(), "5"),
            "After so many seconds a directory is listed again; 0: only on command.",
        ),
        text(
            OWNER,
            or(|s| s.owner_id.to_string(), "65534"),
            "Of objects that carry no owner, and of squashed callers.",
        ),
        text(GROUP, or(|s| s.group_id.to_string(), "65534"), "The same for the group."),
        text(
            FILE_MODE,
            or(|s| format!("{:04o}", s.file_mode), "0666"),
            "Of objects that carry none; octal.",
        ),
        text(
            DIRECTORY_MODE,
            or(|s| format!("{:04o}", s.directory_mode), "0777"),
            "Of directories that carry none; octal.",
        ),
        choice(
            PORTS,
            &[ANY_PORT, PRIVILEGED],
            if ports { PRIVILEGED } else { ANY_PORT },
            "Source ports below 1024 are root's on Unix clients; macOS and NAT use others.",
        ),
        choice(
            PAYS,
            &[NO, YES],
            yes_or_no(share.is_some_and(|s| s.requester_pays)),
            "For a bucket of somebody else's that asks for it.",
        ),
        choice(
            MIME,
            &[YES, NO],
            yes_or_no(share.is_none_or(|s| s.guess_mime_type)),
            "Set Content-Type from the file's name.",
        ),
    ]
}

fn create(_: &View) -> Page {
    form("Create a file share", Vec::new(), fields(None), "Create", |values, view| {
        let share = read(values, None)?;
        gateway_changed(view, NAME, |settings| settings.shares.push(share))
    })
}

fn edit(name: &str, view: &View) -> Page {
    let share = match find(view, name) {
        Ok(share) => share,
        Err(why) => return refused("Change a file share", &why),
    };
    let before = share.name.clone();
    let title = format!("Change file share {name}");
    form(title, Vec::new(), fields(Some(share)), "Save", move |values, view| {
        let old = find(view, before.as_str()).map_err(|why| Problem::new(NAME, why))?;
        let share = read(values, Some(old))?;
        if share.name != before {
            let says =
                "A share keeps its name: clients mount it by that. Create another one instead.";
            return Err(Problem::new(NAME, says));
        }
        gateway_changed(view, NAME, |settings| {
            for old in settings.shares.iter_mut().filter(|old| old.name == share.name) {
                *old = share.clone();
            }
        })
    })
}

/// Reads the form; what it has no field for stays as in `old`.
fn read(values: &Values<'_>, old: Option<&ShareSettings>) -> Result<ShareSettings, Problem> {
    let name: ShareName = named(values, NAME)?;
    let bucket: BucketName = named(values, BUCKET)?;
    let prefix: KeyPrefix = named(values, PREFIX)?;
    let clients: Result<Vec<ClientSpec>, NameError> =
        values.text(CLIENTS).split_whitespace().map(str::parse).collect();
    let client_list = clients.map_err(|error| Problem::new(CLIENTS, error.to_string()))?;
    let template = old
        .cloned()
        .unwrap_or_else(|| ShareSettings::new(name.clone(), bucket.clone(), prefix.clone()));
    Ok(ShareSettings {
        name,
        bucket,
        prefix,
        client_list,
        read_only: values.text(READ_ONLY) == YES,
        squash: value_of(&SQUASHES, values.text(SQUASH)),
        storage_class: value_of(&CLASSES, values.text(CLASS)),
        encryption: value_of(&ENCRYPTIONS, values.text(ENCRYPTION)),
        kms_key: values.text(KMS_KEY).to_owned(),
        object_acl: value_of(&ACLS, values.text(ACL)),
        cache_stale_timeout_seconds: number(values, STALE)?,
        owner_id: number(values, OWNER)?,
        group_id: number(values, GROUP)?,
        file_mode: mode(values, FILE_MODE)?,
        directory_mode: mode(values, DIRECTORY_MODE)?,
        require_privileged_port: values.text(PORTS) == PRIVILEGED,
        requester_pays: values.text(PAYS) == YES,
        guess_mime_type: values.text(MIME) == YES,
        ..template
    })
}

fn named<T: std::str::FromStr<Err = NameError>>(
    values: &Values<'_>,
    label: &'static str,
) -> Result<T, Problem> {
    values.text(label).parse().map_err(|error: NameError| Problem::new(label, error.to_string()))
}

fn number(values: &Values<'_>, label: &'static str) -> Result<u32, Problem> {
    let says = "Write a whole number, 0 or more.";
    values.text(label).parse().map_err(|_| Problem::new(label, says))
}

fn mode(values: &Values<'_>, label: &'static str) -> Result<u32, Problem> {
    let mode = u32::from_str_radix(values.text(label), 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| Problem::new(label, "Write an octal mode such as 0644."))
}

fn ask_delete(name: &str, view: &View) -> Page {
    let title = "Delete a file share";
    let gone = name.to_owned();
    let command = gateway_changing(view, move |settings| {
        settings.shares.retain(|share| share.name.as_str() != gone);
    });
    let command = match command {
        // The question says what S3 does not have: whoever answers it knows.
        Ok(Command::PutGateway { settings, revision }) => {
            Command::DeleteShare { settings, revision }
        }
        Ok(command) => command,
        Err(why) => return refused(title, &why),
    };
    let share = name.to_owned();
    let shows = move |view: &View| {
        let mut lines = paragraph(&format!(
            "Clients lose the share {share}. The objects in the bucket stay as they are."
        ));
        let status = view.gateway.as_ref().ok();
        let status = status.and_then(|s| s.shares.iter().find(|s| s.name.as_str() == share));
        if let Some(upload) = status.map(|status| &status.upload).filter(|u| !u.is_idle()) {
            lines.extend(paragraph(&format!(
                "NOT YET IN S3: {} in {} files. Wait until they are: else they stay on the cache disk till a \
                 share of this name, bucket and prefix is there again.",
                upload.dirty_bytes, upload.dirty_files
            )));
        }
        lines
    };
    question(title, Box::new(shows), format!("Delete {name}?"), command)
}
