//! Cache disks: what is attached and what is in use.
use super::status::field;
use crate::console::{
    grid::{Line, paragraph},
    page::Page,
    view::View,
};

/// The page, drawn anew as disks come and go.
pub(super) fn page() -> Page {
    Page::live("Cache Disks", Box::new(lines))
}

fn lines(view: &View) -> Vec<Line> {
    let mut lines = field("Cache disk", &view.machine.cache);
    if let Ok(status) = &view.gateway {
        let cache = &status.cache;
        let words = format!("{} of {} in use, {} free", cache.used, cache.total, cache.free);
        lines.extend(field("In use", &words));
    }
    lines.push(Line::empty());
    lines.push(Line::bold(" Attached disks"));
    if view.disks.is_empty() {
        lines.extend(paragraph("none that the kernel knows"));
    }
    for disk in &view.disks {
        let size = disk.size.to_string();
        lines.push(Line::plain(format!("   {:<10} {size:>10}  {}", disk.name, disk.model)));
    }
    if !view.machine.cache_mounted {
        lines.push(Line::empty());
        lines.extend(paragraph(
            "A single blank disk becomes the cache by itself, also while the appliance runs: attach one \
             of 150 GiB or more. A disk that holds anything is left alone.",
        ));
    }
    lines
}
