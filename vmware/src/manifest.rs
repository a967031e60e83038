//! The manifest of an OVA (DMTF DSP0243 1.1 §5.1): a digest per file.

/// One line per file: `SHA256(name)= hex`.
pub(crate) fn manifest<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    files.into_iter().map(|(name, sha256)| format!("SHA256({name})= {sha256}\n")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_have_the_form_that_ovf_demands() {
        assert_eq!(super::manifest([("a.ovf", "00ff")]), "SHA256(a.ovf)= 00ff\n");
    }
}
