//! The OVF environment: what the wizard of an OVA's import was told, as XML (DSP0243 §9).
use std::collections::BTreeMap;

use anyhow::{Context, Result};

const NAMESPACE: &str = "http://schemas.dmtf.org/ovf/environment/1";

/// The properties of this machine, by key.
///
/// # Errors
/// It is not XML.
pub(crate) fn properties(xml: &str) -> Result<BTreeMap<String, String>> {
    let document = roxmltree::Document::parse(xml.trim_matches(['\0', ' ', '\n', '\r', '\t']))
        .context("the OVF environment")?;
    // Properties of other machines of one vApp stand in elements `Entity`.
    let section = document
        .root_element()
        .children()
        .find(|element| element.has_tag_name((NAMESPACE, "PropertySection")));
    let properties = section.iter().flat_map(roxmltree::Node::children);
    Ok(properties
        .filter(|element| element.has_tag_name((NAMESPACE, "Property")))
        .filter_map(|element| {
            let key = element.attribute((NAMESPACE, "key"))?;
            let value = element.attribute((NAMESPACE, "value"))?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVIRONMENT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"
    xmlns:oe="http://schemas.dmtf.org/ovf/environment/1" oe:id="tidegate">
  <PlatformSection><Kind>VMware ESXi</Kind></PlatformSection>
  <PropertySection>
    <Property oe:key="hostname" oe:value="gate7"/>
    <Property oe:key="timezone" oe:value="Asia/Seoul"/>
    <Property oe:key="note" oe:value="a &lt; b"/>
    <Property oe:key="without a value"/>
  </PropertySection>
  <Entity oe:id="another"><PropertySection>
    <Property oe:key="hostname" oe:value="other"/>
  </PropertySection></Entity>
</Environment>"#;

    #[test]
    fn properties_of_this_machine_are_found() {
        let found = properties(&format!("{ENVIRONMENT}\0")).unwrap();
        let expected = [("hostname", "gate7"), ("note", "a < b"), ("timezone", "Asia/Seoul")];
        let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_environment_has_none_or_is_an_error() {
        assert!(properties("<a/>").unwrap().is_empty());
        assert!(properties("not XML").is_err());
        let bomb = "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>";
        assert!(properties(bomb).is_err(), "document types are not read");
    }
}
