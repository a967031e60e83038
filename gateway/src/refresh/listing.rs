//! One listing, from its first page to its last, into the catalog; and the listing of one name.
use super::{RefreshError, flight::Lead, pages::Pages, refresher::Inner};
use crate::{
    catalog::{CatalogError, ListedEntry, ListedKind, ListedPage},
    ids::Ino,
    object::ObjectKey,
    share::{
        OddKeys, Right,
        keymap::{self, Listed, Meant},
    },
    store::{ListPage, StoreError},
};

/// Listings begun anew because the directory changed its place or the listing took too long.
const ATTEMPTS: u32 = 3;

impl Inner {
    /// Lists `dir`, and tells `lead` how far it has come. Answers how many names it has.
    pub(super) async fn list(&self, dir: Ino, lead: &Lead) -> Result<u64, RefreshError> {
        let mut attempt = 1;
        loop {
            match self.list_through(dir, lead).await {
                Err(RefreshError::Catalog(error)) if is_overtaken(&error) && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// One listing from beginning to end.
    async fn list_through(&self, dir: Ino, lead: &Lead) -> Result<u64, RefreshError> {
        let mut token = self.catalog.begin_listing(dir).await?;
        let prefix = token.prefix.clone();
        let mut odd = OddKeys::default();
        let mut pages = Pages::default();
        let mut names = 0;
        let mut page = self.page(&prefix, None, &mut pages).await?;
        loop {
            let next = page.next.take();
            if next.is_some() && pages.count() >= self.pages_max {
                return Err(self.too_large(dir, &prefix));
            }
            let shown = self.shown(&prefix, page, &mut odd);
            names += shown.entries.len() as u64;
            let merge = async {
                let merged = self.catalog.merge_listing_page(&mut token, shown).await?;
                merged.beside.into_iter().for_each(|key| odd.met(key));
                for ino in merged.conflicts {
                    tracing::info!(
                        ino = ino.0,
                        "the object of inode {} changed while the file is dirty here",
                        ino.0
                    );
                }
                if next.is_some() {
                    lead.page();
                }
                Ok::<(), RefreshError>(())
            };
            let Some(next) = &next else {
                merge.await?;
                break;
            };
            // S3 looks for the next names while the catalog takes these.
            let ask = self.page(&prefix, Some(next), &mut pages);
            let (merged, asked) = tokio::join!(merge, ask);
            merged?;
            page = asked?;
        }
        for gone in self.catalog.finish_listing(token, self.clock.now()).await? {
            if let Err(error) = self.cache.remove(gone).await {
                // The next start removes cache files that belong to nobody.
                tracing::warn!("a cache file of a removed object stays behind: {error}");
            }
        }
        self.share.health.met_unrepresentable(&prefix, odd);
        Ok(names)
    }

    async fn page(
        &self,
        prefix: &str,
        token: Option<&str>,
        pages: &mut Pages,
    ) -> Result<ListPage, StoreError> {
        let page = self.share.store.list(prefix, token).await;
        let page = page.inspect_err(|error| self.failed(error))?;
        self.share.health.answered(Right::Read);
        pages.check(prefix, &page).inspect_err(|error| self.failed(error))?;
        Ok(page)
    }

    /// Whether a listing shows the object: it would be the first of those that begin with its key.
    pub(super) async fn shows(&self, key: &ObjectKey) -> Result<bool, StoreError> {
        let page = self.page(key.as_str(), None, &mut Pages::default()).await?;
        Ok(page.objects.iter().any(|listed| listed.key == key.as_str()))
    }

    /// Asks S3 for what it has under one name: an object of the name, or keys below it. One request, or
    /// two where more than a page of keys begins with the name. `false` when only a whole listing
    /// can tell: of an alias that was cut short, where more than a page of keys begins so.
    pub(super) async fn ask_for(&self, dir: Ino, name: &str) -> Result<bool, RefreshError> {
        let (begin, is_part) = match keymap::meant(name).0 {
            Meant::Part(part) => (part, true),
            Meant::Begins(begin) => (begin, false),
            Meant::Nothing => return Ok(true),
        };
        let mut token = self.catalog.begin_listing(dir).await?;
        let prefix = token.prefix.clone();
        let (object, below) = (format!("{prefix}{begin}"), format!("{prefix}{begin}/"));
        let mut page = self.page(&object, None, &mut Pages::default()).await?;
        let more = page.next.take().is_some();
        if is_part {
            if more && !page.prefixes.contains(&below) {
                // `name.` and `name-` come before `name/`.
                let inside = self.page(&below, None, &mut Pages::default()).await?;
                if !inside.objects.is_empty() || !inside.prefixes.is_empty() {
                    page.prefixes.push(below.clone());
                }
            }
            page.objects.retain(|listed| listed.key == object);
            page.prefixes.retain(|common| *common == below);
        }
        let mut page = self.shown(&prefix, page, &mut OddKeys::default());
        page.entries.retain(|entry| is_part || entry.name == name);
        let found = is_part || !more || !page.entries.is_empty();
        // A marker of the directory itself may be among what begins with nothing.
        page.marker = None;
        match self.catalog.merge_listing_page(&mut token, page).await {
            // The directory has another place by now: its first listing tells.
            Err(error) if is_overtaken(&error) => Ok(false),
            done => Ok(done.map(|_| found)?),
        }
    }

    /// What the directory has of a page; keys that are shown under an alias are counted in `odd`.
    fn shown(&self, prefix: &str, page: ListPage, odd: &mut OddKeys) -> ListedPage {
        let mut shown = ListedPage {
            entries: Vec::with_capacity(page.objects.len() + page.prefixes.len()),
            marker: None,
            defaults: self.share.defaults(),
            beside: keymap::beside,
            now: self.clock.now(),
        };
        for common in page.prefixes {
            let listed = keymap::listed_prefix(prefix, &common);
            shown.entries.extend(entry(listed, ListedKind::Directory, &common, odd));
        }
        for object in page.objects {
            let listed = keymap::listed_object(prefix, &object.key);
            if listed == Listed::Marker {
                shown.marker = Some(object.etag);
                continue;
            }
            let kind = ListedKind::File {
                size: object.size,
                etag: object.etag,
                last_modified: object.last_modified,
            };
            shown.entries.extend(entry(listed, kind, &object.key, odd));
        }
        shown
    }
}

fn entry(
    listed: Listed<'_>,
    kind: ListedKind,
    key: &str,
    odd: &mut OddKeys,
) -> Option<ListedEntry> {
    match listed {
        Listed::Name(name) => Some(ListedEntry { name: name.to_owned(), part: None, kind }),
        Listed::Alias { name, part } => {
            odd.met(key.to_owned());
            Some(ListedEntry { name, part: Some(part.to_owned()), kind })
        }
        // Neither is an entry, and what is elsewhere has made the page one that failed.
        Listed::Marker | Listed::Elsewhere => None,
    }
}

/// Whether the directory is not where it was when the listing began, or the listing took too long.
fn is_overtaken(error: &CatalogError) -> bool {
    matches!(error, CatalogError::ListingExpired | CatalogError::Changed)
}
