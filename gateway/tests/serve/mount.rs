//! A share mounted by a user-space NFSv3 client, used like a file system.
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
};

use nfs3_client::{
    Nfs3Connection, Nfs3ConnectionBuilder,
    io::{AsyncRead, AsyncWrite},
    net::Connector,
    nfs3_types::{
        nfs3::*,
        rpc::{auth_unix, opaque_auth},
        xdr_codec::Opaque,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};

/// A connection whose end is an error: a call that waits for its answer then fails, and does not wait on.
pub(crate) struct Line(TcpStream);

impl AsyncRead for Line {
    async fn async_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf).await? {
            0 if !buf.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

impl AsyncWrite for Line {
    async fn async_write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf).await
    }
}

struct Caller;

impl Connector for Caller {
    type Connection = Line;

    async fn connect(&self, address: SocketAddr) -> io::Result<Line> {
        Ok(Line(TcpStream::connect(address).await?))
    }

    async fn connect_with_port(&self, address: SocketAddr, _: u16) -> io::Result<Line> {
        self.connect(address).await
    }
}

/// The share `/NAME` of the gateway on a local port, as uid 1000 and gid 100.
pub(crate) struct Mount {
    runtime: Runtime,
    connection: Nfs3Connection<Line>,
    root: nfs_fh3,
}

/// Of one WRITE.
pub(crate) const WRITE_BYTES_MAX: usize = 1 << 20;

type Status = nfsstat3;

fn name(text: &str) -> filename3<'_> {
    filename3(Opaque::borrowed(text.as_bytes()))
}

impl Mount {
    pub(crate) fn new(port: u16, share: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        let credential = opaque_auth::auth_unix(&auth_unix {
            stamp: 1,
            machinename: Opaque::borrowed(b"test"),
            uid: 1000,
            gid: 100,
            gids: vec![],
        });
        let connection = runtime
            .block_on(
                Nfs3ConnectionBuilder::new(Caller, "127.0.0.1", format!("/{share}"))
                    .mount_port(port)
                    .nfs3_port(port)
                    .connect_from_privileged_port(false)
                    .credential(credential)
                    .mount(),
            )
            .expect("the share can be mounted");
        let root = connection.root_nfs_fh3();
        Self { runtime, connection, root }
    }

    /// The handle of `path`, looked up part by part.
    pub(crate) fn lookup(&mut self, path: &str) -> Result<nfs_fh3, Status> {
        let mut at = self.root.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let args = LOOKUP3args { what: diropargs3 { dir: at, name: name(part) } };
            match self.runtime.block_on(self.connection.lookup(&args)).expect("LOOKUP is answered")
            {
                Nfs3Result::Ok(found) => at = found.object,
                Nfs3Result::Err((status, _)) => return Err(status),
            }
        }
        Ok(at)
    }

    fn parent<'p>(&mut self, path: &'p str) -> (nfs_fh3, &'p str) {
        let (dir, last) = path.rsplit_once('/').unwrap_or(("", path));
        (self.lookup(dir).expect("the parent directory is there"), last)
    }

    pub(crate) fn getattr(&mut self, path: &str) -> fattr3 {
        let object = self.lookup(path).expect("the file is there");
        self.runtime
            .block_on(self.connection.getattr(&GETATTR3args { object }))
            .expect("GETATTR is answered")
            .unwrap()
            .obj_attributes
    }

    pub(crate) fn mkdir(&mut self, path: &str) {
        let (dir, last) = self.parent(path);
        let attributes = sattr3 { mode: Nfs3Option::Some(0o755), ..sattr3::default() };
        let args = MKDIR3args { where_: diropargs3 { dir, name: name(last) }, attributes };
        self.runtime.block_on(self.connection.mkdir(&args)).expect("MKDIR is answered").unwrap();
    }

    /// Creates or opens `path` (mode 0640) and writes `content` from its start, UNSTABLE then COMMIT,
    /// as a kernel client does at close.
    pub(crate) fn write(&mut self, path: &str, content: &[u8]) {
        let file = self.create(path);
        self.write_at(&file, 0, content);
    }

    /// Creates `path` (mode 0640), or cuts what is there to nothing.
    pub(crate) fn create(&mut self, path: &str) -> nfs_fh3 {
        let (dir, last) = self.parent(path);
        let how = createhow3::UNCHECKED(sattr3 {
            mode: Nfs3Option::Some(0o640),
            size: Nfs3Option::Some(0),
            ..sattr3::default()
        });
        let args = CREATE3args { where_: diropargs3 { dir, name: name(last) }, how };
        let created =
            self.runtime.block_on(self.connection.create(&args)).expect("CREATE is answered");
        created.unwrap().obj.unwrap()
    }

    pub(crate) fn write_at(&mut self, file: &nfs_fh3, at: u64, content: &[u8]) {
        let verifiers = self.write_unstable(file, at, content);
        let verifier = self.commit(file);
        assert!(verifiers.iter().all(|v| v.0 == verifier.0), "no write was lost on the way");
    }

    /// COMMIT of the whole file; the verifier of the reply.
    pub(crate) fn commit(&mut self, file: &nfs_fh3) -> writeverf3 {
        let args = COMMIT3args { file: file.clone(), offset: 0, count: 0 };
        let committed =
            self.runtime.block_on(self.connection.commit(&args)).expect("COMMIT is answered");
        committed.unwrap().verf
    }

    /// One WRITE without a COMMIT, that may be refused; the whole of it is written or nothing.
    pub(crate) fn try_write(
        &mut self,
        file: &nfs_fh3,
        at: u64,
        content: &[u8],
    ) -> Result<(), Status> {
        let args = WRITE3args {
            file: file.clone(),
            offset: at,
            count: u32::try_from(content.len()).expect("one WRITE"),
            stable: stable_how::UNSTABLE,
            data: Opaque::borrowed(content),
        };
        match self.runtime.block_on(self.connection.write(&args)).expect("WRITE is answered") {
            Nfs3Result::Ok(written) => {
                assert_eq!(written.count as usize, content.len());
                Ok(())
            }
            Nfs3Result::Err((status, _)) => Err(status),
        }
    }

    /// Writes without a COMMIT; the verifiers of the replies.
    pub(crate) fn write_unstable(
        &mut self,
        file: &nfs_fh3,
        at: u64,
        content: &[u8],
    ) -> Vec<writeverf3> {
        let mut verifiers = Vec::new();
        for (i, chunk) in content.chunks(WRITE_BYTES_MAX).enumerate() {
            let args = WRITE3args {
                file: file.clone(),
                offset: at + (i * WRITE_BYTES_MAX) as u64,
                count: u32::try_from(chunk.len()).expect("a chunk is at most 1 MiB"),
                stable: stable_how::UNSTABLE,
                data: Opaque::borrowed(chunk),
            };
            let written = self
                .runtime
                .block_on(self.connection.write(&args))
                .expect("WRITE is answered")
                .unwrap();
            assert_eq!(written.count as usize, chunk.len());
            verifiers.push(written.verf);
        }
        verifiers
    }

    /// A WRITE that is durable when it is answered.
    pub(crate) fn write_stable(&mut self, file: &nfs_fh3, at: u64, content: &[u8]) {
        let args = WRITE3args {
            file: file.clone(),
            offset: at,
            count: u32::try_from(content.len()).expect("one WRITE"),
            stable: stable_how::FILE_SYNC,
            data: Opaque::borrowed(content),
        };
        let written = self
            .runtime
            .block_on(self.connection.write(&args))
            .expect("WRITE is answered")
            .unwrap();
        assert_eq!(written.count as usize, content.len());
        assert_eq!(written.committed, stable_how::FILE_SYNC);
    }

    /// SETATTR of the size.
    pub(crate) fn resize(&mut self, path: &str, size: u64) {
        let object = self.lookup(path).expect("the file is there");
        let new_attributes = sattr3 { size: Nfs3Option::Some(size), ..sattr3::default() };
        let args = SETATTR3args { object, new_attributes, guard: Nfs3Option::None };
        self.runtime
            .block_on(self.connection.setattr(&args))
            .expect("SETATTR is answered")
            .unwrap();
    }

    pub(crate) fn rmdir(&mut self, path: &str) {
        let (dir, last) = self.parent(path);
        let args = RMDIR3args { object: diropargs3 { dir, name: name(last) } };
        self.runtime.block_on(self.connection.rmdir(&args)).expect("RMDIR is answered").unwrap();
    }

    /// All files with what they hold, and all directories (by their mode, 0755) but the root.
    pub(crate) fn tree(&mut self) -> (BTreeMap<String, Vec<u8>>, BTreeSet<String>) {
        let (mut files, mut dirs) = (BTreeMap::new(), BTreeSet::new());
        let mut ahead = vec![String::new()];
        while let Some(dir) = ahead.pop() {
            for name in self.list(&dir) {
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                if self.getattr(&path).mode & 0o7777 == 0o755 {
                    ahead.push(path.clone());
                    dirs.insert(path);
                } else {
                    let content = self.read(&path).expect("what is listed can be read");
                    files.insert(path, content);
                }
            }
        }
        (files, dirs)
    }

    pub(crate) fn read(&mut self, path: &str) -> Result<Vec<u8>, Status> {
        let file = self.lookup(path)?;
        let mut content = Vec::new();
        loop {
            let args =
                READ3args { file: file.clone(), offset: content.len() as u64, count: 1 << 20 };
            match self.runtime.block_on(self.connection.read(&args)).expect("READ is answered") {
                Nfs3Result::Ok(part) => {
                    content.extend_from_slice(part.data.as_ref());
                    if part.eof {
                        return Ok(content);
                    }
                }
                Nfs3Result::Err((status, _)) => return Err(status),
            }
        }
    }

    /// The names in a directory, sorted, without `.` and `..`.
    pub(crate) fn list(&mut self, path: &str) -> Vec<String> {
        let dir = self.lookup(path).expect("the directory is there");
        let mut names = Vec::new();
        let (mut cookie, mut cookieverf) = (0, cookieverf3::default());
        loop {
            let args = READDIR3args { dir: dir.clone(), cookie, cookieverf, count: 8192 };
            let page = self
                .runtime
                .block_on(self.connection.readdir(&args))
                .expect("READDIR is answered")
                .unwrap();
            for entry in page.reply.entries.0 {
                cookie = entry.cookie;
                names.push(String::from_utf8_lossy(entry.name.0.as_ref()).into_owned());
            }
            if page.reply.eof {
                names.retain(|name| name != "." && name != "..");
                names.sort();
                return names;
            }
            cookieverf = page.cookieverf;
        }
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let (from_dir, from_name) = self.parent(from);
        let (to_dir, to_name) = self.parent(to);
        let args = RENAME3args {
            from: diropargs3 { dir: from_dir, name: name(from_name) },
            to: diropargs3 { dir: to_dir, name: name(to_name) },
        };
        self.runtime.block_on(self.connection.rename(&args)).expect("RENAME is answered").unwrap();
    }

    pub(crate) fn remove(&mut self, path: &str) {
        let (dir, last) = self.parent(path);
        let args = REMOVE3args { object: diropargs3 { dir, name: name(last) } };
        self.runtime.block_on(self.connection.remove(&args)).expect("REMOVE is answered").unwrap();
    }
}
