//! The OVF descriptor (DMTF DSP0243 1.1): fills the template with the disks and numbers.
//!
//! In the template, children of an `Item` stand in the schema's (alphabetical) order, and the case
//! of `VirtualSCSI` and `VmxNet3` matters to VMware.

use crate::spec::{DiskFile, GIB, NAME, Spec, VERSION};

const TEMPLATE: &str = include_str!("../templates/tidegate.ovf");
const FORMAT: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/// The descriptor. `cache` is the empty cache disk as a file, for importers that refuse a disk
/// without one; without it the disk is declared by capacity alone.
#[must_use]
pub fn descriptor(spec: &Spec, system: &DiskFile, cache: Option<&DiskFile>) -> String {
    let mut files = file_element(system, "file1");
    let mut disks = format!(
        "    <Disk ovf:capacity=\"{}\" ovf:capacityAllocationUnits=\"byte\" ovf:diskId=\"system\" \
         ovf:fileRef=\"file1\" ovf:format=\"{FORMAT}\"/>\n",
        system.capacity
    );
    let capacity = match cache {
        Some(file) => {
            files.push_str(&file_element(file, "file2"));
            format!(
                "ovf:capacity=\"{}\" ovf:capacityAllocationUnits=\"byte\" ovf:diskId=\"cache\" \
                 ovf:fileRef=\"file2\"",
                spec.cache_gib * GIB
            )
        }
        None => format!(
            "ovf:capacity=\"{}\" ovf:capacityAllocationUnits=\"byte * 2^30\" ovf:diskId=\"cache\"",
            spec.cache_gib
        ),
    };
    disks.push_str(&format!("    <Disk {capacity} ovf:format=\"{FORMAT}\"/>\n"));
    TEMPLATE
        .replace("{{FILES}}", &files)
        .replace("{{DISKS}}", &disks)
        .replace("{{NAME}}", NAME)
        .replace("{{VERSION}}", VERSION)
        .replace("{{CPUS}}", &spec.cpus.to_string())
        .replace("{{MEMORY_MIB}}", &spec.memory_mib.to_string())
}

fn file_element(file: &DiskFile, id: &str) -> String {
    format!("    <File ovf:href=\"{}\" ovf:id=\"{id}\" ovf:size=\"{}\"/>\n", file.name, file.size)
}
