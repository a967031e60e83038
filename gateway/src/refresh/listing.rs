//! One listing, from its first page to its last, into the catalog; and the listing of one name.
use super::{RefreshError, flight::Lead, pages::Pages, refresher::Inner};
use crate::{
    catalog::{CatalogError, ListedEntry, ListedKind, ListedPage},
    ids::Ino,
    share::{
        OddKeys,
        keymap::{self, Listed},
    },
    store::{ListPage, StoreError},
};

/// Listings begun anew because the directory changed its place or the listing took too long.
const ATTEMPTS: u32 = 3;

impl Inner {
    /// Lists `dir`, and tells `lead` how far it has come.
    pub(super) async fn list(&self, dir: Ino, lead: &Lead) -> Result<(), RefreshError> {
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
    async fn list_through(&self, dir: Ino, lead: &Lead) -> Result<(), RefreshError> {
        let mut token = self.catalog.begin_listing(dir).await?;
        let prefix = token.prefix.clone();
        let mut odd = OddKeys::default();
        let mut pages = Pages::default();
        let mut next: Option<String> = None;
        loop {
            let mut page = self.page(&prefix, next.as_deref(), &mut pages).await?;
            next = page.next.take();
            let page = self.shown(&prefix, page, &mut odd);
            let merged = self.catalog.merge_listing_page(&mut token, page).await?;
            for ino in merged.conflicts {
                tracing::info!(
                    ino = ino.0,
                    "the object of inode {} changed while the file is dirty here",
                    ino.0
                );
            }
            if next.is_none() {
                break;
            }
            lead.page();
        }
        for gone in self.catalog.finish_listing(token, self.clock.now()).await? {
            if let Err(error) = self.cache.remove(gone).await {
                // The next start removes cache files that belong to nobody.
                tracing::warn!("a cache file of a removed object stays behind: {error}");
            }
        }
        self.share.health.met_unrepresentable(&prefix, odd);
        Ok(())
    }

    async fn page(
        &self,
        prefix: &str,
        token: Option<&str>,
        pages: &mut Pages,
    ) -> Result<ListPage, StoreError> {
        let page = self.share.store.list(prefix, token).await;
        let page = page.inspect_err(|error| self.failed(error))?;
        self.share.health.answered();
        pages.check(prefix, &page).inspect_err(|error| self.failed(error))?;
        Ok(page)
    }

    /// Asks S3 for what it has under one name: an object of the name, or keys below it. One request, or
    /// two where more than a page of keys begins with the name.
    pub(super) async fn ask_for(&self, dir: Ino, name: &str) -> Result<(), RefreshError> {
        if !keymap::is_file_name(name) {
            return Ok(());
        }
        let mut token = self.catalog.begin_listing(dir).await?;
        let prefix = token.prefix.clone();
        let (object, below) = (format!("{prefix}{name}"), format!("{prefix}{name}/"));
        let mut page = self.page(&object, None, &mut Pages::default()).await?;
        if page.next.is_some() && !page.prefixes.contains(&below) {
            // `name.` and `name-` come before `name/`.
            let inside = self.page(&below, None, &mut Pages::default()).await?;
            if !inside.objects.is_empty() || !inside.prefixes.is_empty() {
                page.prefixes.push(below.clone());
            }
        }
        page.objects.retain(|listed| listed.key == object);
        page.prefixes.retain(|common| *common == below);
        let page = self.shown(&prefix, page, &mut OddKeys::default());
        match self.catalog.merge_listing_page(&mut token, page).await {
            // The directory has another place by now: its first listing tells.
            Err(error) if is_overtaken(&error) => Ok(()),
            done => Ok(done.map(drop)?),
        }
    }

    /// What of a page can be shown; the rest goes to `odd`.
    fn shown(&self, prefix: &str, page: ListPage, odd: &mut OddKeys) -> ListedPage {
        let mut shown = ListedPage {
            entries: Vec::with_capacity(page.objects.len() + page.prefixes.len()),
            marker: None,
            defaults: self.share.defaults(),
            now: self.clock.now(),
        };
        for common in page.prefixes {
            match keymap::listed_prefix(prefix, &common) {
                Listed::Name(name) => shown
                    .entries
                    .push(ListedEntry { name: name.to_owned(), kind: ListedKind::Directory }),
                Listed::Marker | Listed::Unrepresentable => odd.met(common),
            }
        }
        for object in page.objects {
            match keymap::listed_object(prefix, &object.key) {
                Listed::Marker => shown.marker = Some(object.etag),
                Listed::Name(name) => {
                    let kind = ListedKind::File {
                        size: object.size,
                        etag: object.etag,
                        last_modified: object.last_modified,
                    };
                    shown.entries.push(ListedEntry { name: name.to_owned(), kind });
                }
                Listed::Unrepresentable => odd.met(object.key),
            }
        }
        shown
    }
}

/// Whether the directory is not where it was when the listing began, or the listing took too long.
fn is_overtaken(error: &CatalogError) -> bool {
    matches!(error, CatalogError::ListingExpired | CatalogError::Changed)
}
