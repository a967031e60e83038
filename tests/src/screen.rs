//! The text screen of a VGA card, read from guest memory: pairs of character and attribute.
//!
//! Pure. Linux scrolls by moving the start address inside the 32 KiB window, so a page is found by
//! the title in its first line.

/// Physical address of the VGA text window.
pub const VGA_TEXT_BASE: u64 = 0xb8000;
/// Its size in bytes.
pub const VGA_TEXT_BYTES: u64 = 32 << 10;
const COLUMNS: usize = 80;
const ROWS: usize = 25;

/// The 25 lines that begin with the last line containing `title`.
pub fn page_with_title(memory: &[u8], title: &str) -> Option<String> {
    let lines: Vec<String> = memory.chunks_exact(COLUMNS * 2).map(line).collect();
    let first = lines.iter().rposition(|line| line.contains(title))?;
    let page = lines[first..].iter().take(ROWS).map(String::as_str).collect::<Vec<_>>();
    Some(page.join("\n").trim_end().to_owned())
}

fn line(cells: &[u8]) -> String {
    let text: String = cells
        .chunks_exact(2)
        .map(|cell| match cell[0] {
            ascii @ b' '..=b'~' => char::from(ascii),
            // Frames and other CP437 characters carry no words.
            _ => ' ',
        })
        .collect();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_page_is_found_by_its_title() {
        let mut memory = vec![0_u8; 32 << 10];
        let mut write = |row: usize, text: &str| {
            for (i, byte) in text.bytes().enumerate() {
                memory[(row * COLUMNS + i) * 2] = byte;
            }
        };
        write(3, "Tidegate old");
        write(40, "Tidegate");
        write(42, "Address 10.0.2.15");
        assert_eq!(page_with_title(&memory, "Tidegate").unwrap(), "Tidegate\n\nAddress 10.0.2.15");
        assert_eq!(page_with_title(&memory, "Something else"), None);
    }
}
