//! What a share must hold after the operations that were acknowledged.
use std::collections::BTreeMap;

/// Which of the objects that were ever seen.
pub(super) type Number = usize;

/// A file, directory or symbolic link.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) handle: Vec<u8>,
    /// Whether it has a name; without one its handle is stale.
    pub(super) alive: bool,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    File(Vec<u8>),
    Directory { entries: BTreeMap<Vec<u8>, Number>, parent: Number },
    Symlink(Vec<u8>),
}

/// The objects of a share; number 0 is its root.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) objects: Vec<Object>,
}

impl Model {
    /// An empty share.
    pub(super) fn new(root: Vec<u8>) -> Self {
        let content = Content::Directory { entries: BTreeMap::new(), parent: 0 };
        Self { objects: vec![Object { handle: root, alive: true, content }] }
    }

    /// Any number is an object.
    pub(super) fn pick(&self, number: u8) -> Number {
        usize::from(number) % self.objects.len()
    }

    pub(super) fn is_directory(&self, number: Number) -> bool {
        matches!(self.objects[number].content, Content::Directory { .. })
    }

    /// The names of a directory; none of what is no directory.
    pub(super) fn entries(&self, dir: Number) -> BTreeMap<Vec<u8>, Number> {
        match &self.objects[dir].content {
            Content::Directory { entries, .. } => entries.clone(),
            Content::File(_) | Content::Symlink(_) => BTreeMap::new(),
        }
    }

    /// What a name leads to.
    pub(super) fn find(&self, dir: Number, name: &[u8]) -> Option<Number> {
        let Content::Directory { entries, parent } = &self.objects[dir].content else {
            return None;
        };
        match name {
            b"." => Some(dir),
            b".." => Some(*parent),
            name => entries.get(name).copied(),
        }
    }

    /// The bytes of a file.
    pub(super) fn data(&self, file: Number) -> Option<&Vec<u8>> {
        match &self.objects[file].content {
            Content::File(data) => Some(data),
            Content::Directory { .. } | Content::Symlink(_) => None,
        }
    }

    /// A new name, for a new object or one that there was.
    pub(super) fn enter(&mut self, dir: Number, name: &[u8], handle: &[u8], content: Content) {
        if let Some(there) = self.find(dir, name) {
            assert_eq!(self.objects[there].handle, handle, "the name leads to what it led to");
            return;
        }
        assert!(self.objects[dir].alive, "a name in a directory that is gone");
        assert!(self.objects.iter().all(|o| o.handle != handle), "a handle is used once");
        let number = self.objects.len();
        self.objects.push(Object { handle: handle.to_vec(), alive: true, content });
        self.entries_mut(dir).insert(name.to_vec(), number);
    }

    /// SETATTR, CREATE: a file is cut or grows.
    pub(super) fn resize(&mut self, file: Number, size: u64) {
        let Content::File(data) = &mut self.objects[file].content else {
            panic!("what is no file has been given a size");
        };
        data.resize(usize::try_from(size).expect("sizes are bounded"), 0);
    }

    /// WRITE.
    pub(super) fn write(&mut self, file: Number, offset: u64, written: &[u8]) {
        let start = usize::try_from(offset).expect("offsets of files are bounded");
        let Content::File(data) = &mut self.objects[file].content else {
            panic!("what is no file has been written");
        };
        data.resize(data.len().max(start + written.len()), 0);
        data[start..start + written.len()].copy_from_slice(written);
    }

    /// REMOVE, RMDIR.
    pub(super) fn remove(&mut self, dir: Number, name: &[u8], directory: bool) {
        let gone = self.entries_mut(dir).remove(name).expect("what was removed had been there");
        assert_eq!(self.is_directory(gone), directory, "RMDIR removes directories, REMOVE others");
        assert!(self.entries(gone).is_empty(), "a directory that was removed was empty");
        self.objects[gone].alive = false;
    }

    /// RENAME.
    pub(super) fn rename(&mut self, from: (Number, &[u8]), to: (Number, &[u8])) {
        let moved = *self.entries(from.0).get(from.1).expect("what was renamed had been there");
        let there = self.entries(to.0).get(to.1).copied();
        if there == Some(moved) {
            return;
        }
        if there.is_some() {
            self.remove(to.0, to.1, self.is_directory(moved));
        }
        self.entries_mut(from.0).remove(from.1);
        self.entries_mut(to.0).insert(to.1.to_vec(), moved);
        if let Content::Directory { parent, .. } = &mut self.objects[moved].content {
            *parent = to.0;
        }
    }

    fn entries_mut(&mut self, dir: Number) -> &mut BTreeMap<Vec<u8>, Number> {
        match &mut self.objects[dir].content {
            Content::Directory { entries, .. } => entries,
            Content::File(_) | Content::Symlink(_) => panic!("what is no directory has names"),
        }
    }
}
