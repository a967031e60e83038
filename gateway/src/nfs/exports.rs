//! The exports: which shares are served, to whom. Replaced as a whole while serving; the next
//! call sees the change.
use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use gateway_api::names::ShareName;

use crate::{
    share::access::AccessPolicy,
    vfs::{ShareFs, ShareId},
};

/// One share as NFS serves it. Its export path is `/NAME`.
#[derive(Clone)]
pub struct Export {
    /// Goes into its file handles.
    pub id: ShareId,
    /// Goes into its export path.
    pub name: ShareName,
    /// Who may use it.
    pub policy: AccessPolicy,
    /// Its files.
    pub fs: Arc<dyn ShareFs>,
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("id", &self.id).field("name", &self.name).finish()
    }
}

/// The table of exports.
#[derive(Debug, Default)]
pub struct Exports {
    table: ArcSwap<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// In the order of the settings.
    list: Vec<Arc<Export>>,
    by_id: HashMap<ShareId, Arc<Export>>,
}

impl Exports {
    /// Nothing exported yet: every peer is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all exports. Calls in execution finish under the old ones.
    pub fn replace(&self, exports: Vec<Export>) {
        let list: Vec<_> = exports.into_iter().map(Arc::new).collect();
        let by_id = list.iter().map(|export| (export.id, Arc::clone(export))).collect();
        self.table.store(Arc::new(Table { list, by_id }));
    }

    /// The export with an id.
    pub fn by_id(&self, id: ShareId) -> Option<Arc<Export>> {
        self.table.load().by_id.get(&id).map(Arc::clone)
    }

    /// The export with a name.
    pub fn by_name(&self, name: &[u8]) -> Option<Arc<Export>> {
        let table = self.table.load();
        table.list.iter().find(|export| export.name.as_str().as_bytes() == name).map(Arc::clone)
    }

    /// All exports.
    pub fn list(&self) -> Vec<Arc<Export>> {
        self.table.load().list.clone()
    }

    /// Whether any share has this address in its client list.
    pub fn list_anywhere(&self, address: IpAddr) -> bool {
        self.table.load().list.iter().any(|export| export.policy.lists(address))
    }
}
