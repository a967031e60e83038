//! What the boot loaders read on the ESP: names of kernel images, and GRUB's environment block. Pure.
use crate::slot::Slot;

/// Folder of the kernel images (Boot Loader Specification, type #2).
pub(crate) const IMAGES: &str = "EFI/Linux";
/// GRUB's environment block.
pub(crate) const ENVIRONMENT: &str = "grub/grubenv";
/// Its size (GRUB manual §15.2).
const ENVIRONMENT_BYTES: usize = 1024;
/// How often a version is tried before the other one is booted again. systemd-boot and GRUB count down.
pub(crate) const TRIES: u32 = 3;

/// A kernel image of ours: `tidegate_NUMBER_SLOT.efi`, with `+LEFT-DONE` before the dot while it is on
/// trial (Boot Loader Specification, boot counting). systemd-boot boots the highest number that has
/// tries left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Counts what was put on trial.
    pub(crate) number: u64,
    /// Where its root file system is.
    pub(crate) slot: Slot,
    /// Tries that are left, on trial.
    pub(crate) left: Option<u32>,
    /// The file's name.
    pub(crate) name: String,
}

impl Image {
    /// What a file is by its name; none if it is not one of ours.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let stem = name.strip_prefix("tidegate_")?.strip_suffix(".efi")?;
        let (stem, tries) = match stem.split_once('+') {
            Some((stem, tries)) => (stem, Some(tries)),
            None => (stem, None),
        };
        let (number, slot) = stem.split_once('_')?;
        let left = match tries {
            Some(tries) => Some(tries.split('-').next()?.parse().ok()?),
            None => None,
        };
        let (number, slot) = (number.parse().ok()?, Slot::of(slot)?);
        Some(Self { number, slot, left, name: name.to_owned() })
    }

    /// Its path.
    pub(crate) fn path(&self) -> String {
        format!("{IMAGES}/{}", self.name)
    }
}

/// Path of a kernel image that is kept.
pub(crate) fn kept(number: u64, slot: Slot) -> String {
    format!("{IMAGES}/tidegate_{number}_{}.efi", slot.letter())
}

/// Path of a kernel image that is to be tried.
pub(crate) fn tried(number: u64, slot: Slot) -> String {
    format!("{IMAGES}/tidegate_{number}_{}+{TRIES}.efi", slot.letter())
}

/// Path of a kernel image that no loader looks at.
pub(crate) fn set_aside(slot: Slot) -> String {
    format!("{IMAGES}/slot-{}.new", slot.letter())
}

/// Path of the kernel that GRUB boots from a slot.
pub(crate) fn kernel(slot: Slot) -> String {
    format!("vmlinuz-{}", slot.letter())
}

/// Path of the initramfs that goes with it.
pub(crate) fn initrd(slot: Slot) -> String {
    format!("initrd-{}", slot.letter())
}

/// Path of what GRUB does to boot a slot.
pub(crate) fn config(slot: Slot) -> String {
    format!("grub/slot-{}.cfg", slot.letter())
}

/// What GRUB does to boot a slot, as the image's builder writes it.
pub(crate) fn config_text(slot: Slot, cmdline: &str) -> String {
    let letter = slot.letter();
    format!(
        "if linux /vmlinuz-{letter} {cmdline} $mark; then\n  \
         if initrd /initrd-{letter}; then boot; fi\nfi\n"
    )
}

/// What GRUB's environment block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    /// What is booted.
    pub(crate) slot: Slot,
    /// What is tried before it, and how often that may be.
    pub(crate) trial: Option<(Slot, u32)>,
}

impl Environment {
    /// The block. Everything in it that changes is in its first sector, which a disk writes as a whole or
    /// not at all.
    pub(crate) fn block(self) -> Vec<u8> {
        let mut text = format!("# GRUB Environment Block\nslot={}\n", self.slot.letter());
        if let Some((slot, tries)) = self.trial {
            text.push_str(&format!("trial={}\ntries={tries}\n", slot.letter()));
        }
        let mut block = text.into_bytes();
        block.resize(ENVIRONMENT_BYTES, b'#');
        block
    }
}

#[cfg(test)]
impl Environment {
    /// Reads a block as GRUB's configuration does.
    pub(crate) fn of(block: &[u8]) -> Self {
        let text = String::from_utf8_lossy(block);
        let value = |name: &str| {
            let of = |line: &str| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
            text.lines().find_map(of).unwrap_or_default()
        };
        let tries = value("tries").parse().unwrap_or_default();
        Self {
            slot: Slot::of(&value("slot")).unwrap_or(Slot::A),
            trial: Slot::of(&value("trial")).map(|slot| (slot, tries)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_say_number_slot_and_tries() {
        let image = |number, slot, left| {
            move |name: &str| Some(Image { number, slot, left, name: name.to_owned() })
        };
        let none = |_: &str| None;
        type Means = dyn Fn(&str) -> Option<Image>;
        let cases: [(&str, &Means); 11] = [
            ("tidegate_0_a.efi", &image(0, Slot::A, None)),
            ("tidegate_12_b+3.efi", &image(12, Slot::B, Some(3))),
            ("tidegate_12_b+2-1.efi", &image(12, Slot::B, Some(2))),
            ("tidegate_12_b+0-3.efi", &image(12, Slot::B, Some(0))),
            ("slot-b.new", &none),
            ("tidegate_12_c.efi", &none),
            ("tidegate_x_a.efi", &none),
            ("tidegate_1_a+x.efi", &none),
            ("tidegate_1_a.new", &none),
            ("tidegate-a.efi", &none),
            ("other.efi", &none),
        ];
        for (name, is) in cases {
            assert_eq!(Image::of(name), is(name), "{name}");
        }
        for (path, left) in [(kept(7, Slot::B), None), (tried(7, Slot::B), Some(TRIES))] {
            let name = path.strip_prefix("EFI/Linux/").unwrap();
            assert_eq!(Image::of(name), image(7, Slot::B, left)(name));
            assert_eq!(Image::of(name).unwrap().path(), path);
        }
        assert_eq!(Image::of(set_aside(Slot::A).rsplit('/').next().unwrap()), None);
    }

    #[test]
    fn the_environment_is_what_the_builder_writes_and_what_grub_saves() {
        let new = Environment { slot: Slot::A, trial: None };
        assert_eq!(new.block(), image::grub::environment("slot=a\n"));
        let tried = Environment { slot: Slot::B, trial: Some((Slot::A, 3)) };
        assert_eq!(tried.block(), image::grub::environment("slot=b\ntrial=a\ntries=3\n"));
        assert_eq!(tried.block()[512..], new.block()[512..]);
        for environment in [new, tried] {
            assert_eq!(Environment::of(&environment.block()), environment);
        }
        // As grub-editenv begins a block; and what is none.
        let warned =
            b"# GRUB Environment Block\n# WARNING: Do not edit\ntries=1\nslot=b\ntrial=a\n####";
        let is = Environment { slot: Slot::B, trial: Some((Slot::A, 1)) };
        assert_eq!(Environment::of(warned), is);
        assert_eq!(Environment::of(b"####"), new);
    }

    #[test]
    fn grub_boots_a_slot_as_the_builder_says() {
        let text = image::grub::slot_config(image::plan::Slot::B, "quiet");
        assert_eq!(config_text(Slot::B, "quiet"), text);
    }
}
