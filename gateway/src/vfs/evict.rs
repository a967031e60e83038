//! The catalog as the evictor sees it: which leaf knows the other is decided here.
use async_trait::async_trait;

use crate::{
    cache::{CacheError, evict::CleanFiles},
    catalog::{Catalog, CatalogError},
    ids::Ino,
};

fn in_words(error: CatalogError) -> CacheError {
    CacheError::Catalog(error.to_string())
}

#[async_trait]
impl CleanFiles for Catalog {
    async fn clean_cached(&self, after: Ino, limit: usize) -> Result<Vec<Ino>, CacheError> {
        Catalog::clean_cached(self, after, limit).await.map_err(in_words)
    }

    async fn forget_cached(&self, ino: Ino) -> Result<bool, CacheError> {
        self.drop_ranges(ino).await.map_err(in_words)
    }
}
