//! Listings: keys, versions and uploads in order, with prefix, delimiter, marker and page size.
//!
//! Source: S3 ListObjectsV2, ListObjectVersions, ListMultipartUploads. A common prefix that is not after the marker
//! has been listed already, so a marker may name a key or a common prefix.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Bucket, Content, Upload, Version};

/// What is asked of one page of keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListQuery {
    pub(crate) prefix: String,
    /// Empty: none.
    pub(crate) delimiter: String,
    /// Entries at or before this are left out.
    pub(crate) after: Option<String>,
    pub(crate) entries_max: usize,
}

/// One entry of a page of keys.
#[derive(Debug)]
pub(crate) enum Entry<'a, T> {
    Item(&'a str, T),
    CommonPrefix(String),
}

impl<T> Entry<'_, T> {
    /// The key or the prefix: what a marker names.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Item(key, _) => key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

/// A version that is not a delete marker, and its content.
pub(crate) type Live<'a, B> = (&'a Version<B>, &'a Content<B>);
/// One entry of a page of current objects.
pub(crate) type ObjectEntry<'a, B> = Entry<'a, Live<'a, B>>;
/// One entry of a page of versions, with whether it is the newest of its key.
pub(crate) type VersionEntry<'a, B> = Entry<'a, (&'a Version<B>, bool)>;

/// What is asked of one page of versions.
#[derive(Debug, Clone, Default)]
pub(crate) struct VersionQuery {
    pub(crate) list: ListQuery,
    /// With a marker key: go on within that key, after this version.
    pub(crate) after_version: Option<String>,
}

/// The least string that is greater than every string that starts with `prefix`; `None` where there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// Walks `keys` from the query's marker, rolling up common prefixes; `expand` gives the items of one key.
/// Returns the entries and whether more follow.
fn walk<'a, V, T>(
    keys: &'a BTreeMap<String, V>,
    query: &ListQuery,
    include_marker: bool,
    mut expand: impl FnMut(&'a str, &'a V) -> Vec<T>,
) -> (Vec<Entry<'a, T>>, bool) {
    let mut entries = Vec::new();
    let after = query.after.as_deref().filter(|after| *after >= query.prefix.as_str());
    let mut from = match after {
        Some(after) if include_marker => Bound::Included(after.to_owned()),
        Some(after) => Bound::Excluded(after.to_owned()),
        None => Bound::Included(query.prefix.clone()),
    };
    if query.entries_max == 0 {
        return (entries, false);
    }
    while let Some((key, value)) = keys.range((from.clone(), Bound::Unbounded)).next() {
        if !key.starts_with(&query.prefix) {
            break;
        }
        let cut = (!query.delimiter.is_empty())
            .then(|| key[query.prefix.len()..].find(&query.delimiter))
            .flatten();
        if let Some(at) = cut {
            let common = &key[..query.prefix.len() + at + query.delimiter.len()];
            if after.is_none_or(|after| common > after) {
                if entries.len() == query.entries_max {
                    return (entries, true);
                }
                entries.push(Entry::CommonPrefix(common.to_owned()));
            }
            match after_prefix(common) {
                Some(next) => from = Bound::Included(next),
                None => break,
            }
            continue;
        }
        for item in expand(key, value) {
            if entries.len() == query.entries_max {
                return (entries, true);
            }
            entries.push(Entry::Item(key, item));
        }
        from = Bound::Excluded(key.clone());
    }
    (entries, false)
}

impl<B: Clone> Bucket<B> {
    /// One page of current objects, and whether more follow (S3 ListObjectsV2).
    pub(crate) fn list<'a>(&'a self, query: &ListQuery) -> (Vec<ObjectEntry<'a, B>>, bool) {
        // A prefix whose keys are all deleted must not show: such keys are filtered before rolling up.
        let live = |versions: &'a Vec<Version<B>>| {
            versions
                .last()
                .and_then(|version| version.content.as_ref().map(|content| (version, content)))
        };
        if self.versioning == super::Versioning::Off {
            return walk(&self.keys, query, false, |_, versions| {
                live(versions).into_iter().collect()
            });
        }
        let current: BTreeMap<String, (&'a str, Live<'a, B>)> = self
            .keys
            .range::<str, _>((Bound::Included(query.prefix.as_str()), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&query.prefix))
            .filter_map(|(key, versions)| {
                live(versions).map(|found| (key.clone(), (key.as_str(), found)))
            })
            .collect();
        let (entries, more) = walk(&current, query, false, |_, found| vec![*found]);
        let entries = entries.into_iter().map(|entry| match entry {
            Entry::Item(_, (key, found)) => Entry::Item(key, found),
            Entry::CommonPrefix(prefix) => Entry::CommonPrefix(prefix),
        });
        (entries.collect(), more)
    }

    /// One page of versions, the newest of each key first, with whether it is the newest (S3 ListObjectVersions).
    pub(crate) fn list_versions<'a>(
        &'a self,
        query: &VersionQuery,
    ) -> (Vec<VersionEntry<'a, B>>, bool) {
        let marker = query.after_version.as_ref().and(query.list.after.as_deref());
        walk(&self.keys, &query.list, marker.is_some(), |key, versions| {
            let newest_first =
                versions.iter().rev().enumerate().map(|(index, version)| (version, index == 0));
            match (&query.after_version, marker == Some(key)) {
                (Some(id), true) => {
                    newest_first.skip_while(|(version, _)| version.id != *id).skip(1).collect()
                }
                (Some(_) | None, _) => newest_first.collect(),
            }
        })
    }
}

/// One page of uploads in progress, by key and then by start, and whether more follow (S3 ListMultipartUploads).
pub(crate) fn list_uploads<'a, B>(
    bucket: &'a Bucket<B>,
    query: &ListQuery,
    after_upload: Option<&str>,
) -> (Vec<Entry<'a, &'a Upload<B>>>, bool) {
    let mut by_key: BTreeMap<String, Vec<&'a Upload<B>>> = BTreeMap::new();
    for upload in bucket.uploads.values() {
        by_key.entry(upload.key.clone()).or_default().push(upload);
    }
    by_key.values_mut().for_each(|uploads| uploads.sort_by_key(|upload| upload.sequence));
    let marker = after_upload.and(query.after.clone());
    let (entries, more) = walk(&by_key, query, marker.is_some(), |key, uploads| {
        let marker_at = uploads.iter().position(|upload| Some(upload.id.as_str()) == after_upload);
        match marker_at {
            Some(at) if marker.as_deref() == Some(key) => uploads[at + 1..].to_vec(),
            None if marker.as_deref() == Some(key) => Vec::new(),
            Some(_) | None => uploads.clone(),
        }
    });
    let entries = entries.into_iter().map(|entry| match entry {
        Entry::Item(_, upload) => Entry::Item(upload.key.as_str(), upload),
        Entry::CommonPrefix(prefix) => Entry::CommonPrefix(prefix),
    });
    (entries.collect(), more)
}
