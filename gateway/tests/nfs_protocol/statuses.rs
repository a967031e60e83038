//! What each procedure says of each error of the file system: the status of RFC 1813 §2.6, in the arm that
//! the procedure has for failures. Crate nfs3_client takes the replies apart, to the last byte.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gateway::{
    clock::Timestamp,
    nfs::{Export, testing::open_policy},
    vfs::{
        Attr, Change, CreateHow, Created, DirPage, FsError, FsStat, Ino, ReadData, ReadDir,
        Renamed, RequestContext, SetAttr, ShareFs, ShareId, Stability, WriteVerifier, Written,
    },
};
use nfs3_client::nfs3_types::{
    nfs3::{
        ACCESS3args, COMMIT3args, CREATE3args, FSINFO3args, FSSTAT3args, GETATTR3args, LOOKUP3args,
        MKDIR3args, Nfs3Result, PATHCONF3args, READ3args, READDIR3args, READDIRPLUS3args,
        READLINK3args, REMOVE3args, RENAME3args, RMDIR3args, SETATTR3args, SYMLINK3args,
        WRITE3args, cookieverf3, createhow3, nfs_fh3, nfsstat3, sattr3, stable_how, symlinkdata3,
    },
    xdr_codec::Opaque,
};

use crate::{Client, Gateway, entry};

/// Every error, in the order of [`number`].
const ERRORS: [FsError; 19] = [
    FsError::NotFound,
    FsError::NotDirectory,
    FsError::IsDirectory,
    FsError::Exists,
    FsError::NotEmpty,
    FsError::Access,
    FsError::NotOwner,
    FsError::NameTooLong,
    FsError::Invalid,
    FsError::FileTooBig,
    FsError::NoSpace,
    FsError::ReadOnly,
    FsError::Stale,
    FsError::NotSync,
    FsError::BadCookie,
    FsError::CrossShare,
    FsError::NotSupported,
    FsError::TryLater,
    FsError::Io,
];

/// An error's place in [`ERRORS`] and its number in RFC 1813. A new error does not compile before it has
/// both.
fn number(error: FsError) -> (usize, u32) {
    match error {
        FsError::NotFound => (0, 2),
        FsError::NotDirectory => (1, 20),
        FsError::IsDirectory => (2, 21),
        FsError::Exists => (3, 17),
        FsError::NotEmpty => (4, 66),
        FsError::Access => (5, 13),
        FsError::NotOwner => (6, 1),
        FsError::NameTooLong => (7, 63),
        FsError::Invalid => (8, 22),
        FsError::FileTooBig => (9, 27),
        FsError::NoSpace => (10, 28),
        FsError::ReadOnly => (11, 30),
        FsError::Stale => (12, 70),
        FsError::NotSync => (13, 10_002),
        FsError::BadCookie => (14, 10_003),
        FsError::CrossShare => (15, 18),
        FsError::NotSupported => (16, 10_004),
        FsError::TryLater => (17, 10_008),
        FsError::Io => (18, 5),
    }
}

/// A file system that refuses everything with one error.
#[derive(Debug)]
struct Refusing(FsError);

#[async_trait]
impl ShareFs for Refusing {
    fn root(&self) -> Ino {
        Ino(1)
    }

    fn verifier(&self) -> WriteVerifier {
        WriteVerifier(*b"verifier")
    }

    async fn getattr(&self, _: &RequestContext, _: Ino) -> Result<Attr, FsError> {
        Err(self.0)
    }

    async fn setattr(
        &self,
        _: &RequestContext,
        _: Ino,
        _: SetAttr,
        _: Option<Timestamp>,
    ) -> Result<Change, FsError> {
        Err(self.0)
    }

    async fn lookup(&self, _: &RequestContext, _: Ino, _: &[u8]) -> Result<Attr, FsError> {
        Err(self.0)
    }

    async fn access(&self, _: &RequestContext, _: Ino, _: u32) -> Result<(u32, Attr), FsError> {
        Err(self.0)
    }

    async fn readlink(&self, _: &RequestContext, _: Ino) -> Result<(Bytes, Attr), FsError> {
        Err(self.0)
    }

    async fn read(&self, _: &RequestContext, _: Ino, _: u64, _: u32) -> Result<ReadData, FsError> {
        Err(self.0)
    }

    async fn write(
        &self,
        _: &RequestContext,
        _: Ino,
        _: u64,
        _: Bytes,
        _: Stability,
    ) -> Result<Written, FsError> {
        Err(self.0)
    }

    async fn commit(&self, _: &RequestContext, _: Ino) -> Result<(Change, WriteVerifier), FsError> {
        Err(self.0)
    }

    async fn create(
        &self,
        _: &RequestContext,
        _: Ino,
        _: &[u8],
        _: CreateHow,
    ) -> Result<Created, FsError> {
        Err(self.0)
    }

    async fn mkdir(
        &self,
        _: &RequestContext,
        _: Ino,
        _: &[u8],
        _: SetAttr,
    ) -> Result<Created, FsError> {
        Err(self.0)
    }

    async fn symlink(
        &self,
        _: &RequestContext,
        _: Ino,
        _: &[u8],
        _: &[u8],
        _: SetAttr,
    ) -> Result<Created, FsError> {
        Err(self.0)
    }

    async fn remove(&self, _: &RequestContext, _: Ino, _: &[u8]) -> Result<Change, FsError> {
        Err(self.0)
    }

    async fn rmdir(&self, _: &RequestContext, _: Ino, _: &[u8]) -> Result<Change, FsError> {
        Err(self.0)
    }

    async fn rename(
        &self,
        _: &RequestContext,
        _: Ino,
        _: &[u8],
        _: Ino,
        _: &[u8],
    ) -> Result<Renamed, FsError> {
        Err(self.0)
    }

    async fn readdir(&self, _: &RequestContext, _: Ino, _: ReadDir) -> Result<DirPage, FsError> {
        Err(self.0)
    }

    async fn statfs(&self, _: &RequestContext) -> Result<FsStat, FsError> {
        Err(self.0)
    }
}

fn status<T: std::fmt::Debug, E>(result: Nfs3Result<T, E>) -> nfsstat3 {
    match result {
        Nfs3Result::Ok(done) => panic!("{done:?} instead of a failure"),
        Nfs3Result::Err((status, _)) => status,
    }
}

/// What every procedure that asks the file system answers, by its number.
async fn answers(client: &mut Client, at: &nfs_fh3) -> Vec<(u32, nfsstat3)> {
    let (object, file, dir) = (at.clone(), at.clone(), at.clone());
    let set = sattr3::default;
    let name = || entry(at, "name");
    let mut said = Vec::new();
    let args = GETATTR3args { object: object.clone() };
    said.push((1, status(client.getattr(&args).await.unwrap())));
    let guard = nfs3_client::nfs3_types::nfs3::Nfs3Option::None;
    let args = SETATTR3args { object: object.clone(), new_attributes: set(), guard };
    said.push((2, status(client.setattr(&args).await.unwrap())));
    said.push((3, status(client.lookup(&LOOKUP3args { what: name() }).await.unwrap())));
    let args = ACCESS3args { object: object.clone(), access: 1 };
    said.push((4, status(client.access(&args).await.unwrap())));
    let args = READLINK3args { symlink: object.clone() };
    said.push((5, status(client.readlink(&args).await.unwrap())));
    let args = READ3args { file: file.clone(), offset: 0, count: 1 };
    said.push((6, status(client.read(&args).await.unwrap())));
    let (stable, data) = (stable_how::UNSTABLE, Opaque::borrowed(b"x"));
    let args = WRITE3args { file: file.clone(), offset: 0, count: 1, stable, data };
    said.push((7, status(client.write(&args).await.unwrap())));
    let args = CREATE3args { where_: name(), how: createhow3::GUARDED(set()) };
    said.push((8, status(client.create(&args).await.unwrap())));
    let args = MKDIR3args { where_: name(), attributes: set() };
    said.push((9, status(client.mkdir(&args).await.unwrap())));
    let symlink = symlinkdata3 { symlink_attributes: set(), symlink_data: b"to".as_slice().into() };
    let args = SYMLINK3args { where_: name(), symlink };
    said.push((10, status(client.symlink(&args).await.unwrap())));
    said.push((12, status(client.remove(&REMOVE3args { object: name() }).await.unwrap())));
    said.push((13, status(client.rmdir(&RMDIR3args { object: name() }).await.unwrap())));
    let args = RENAME3args { from: name(), to: entry(at, "other") };
    said.push((14, status(client.rename(&args).await.unwrap())));
    let (cookie, cookieverf) = (0, cookieverf3::default());
    let args = READDIR3args { dir: dir.clone(), cookie, cookieverf, count: 8192 };
    said.push((16, status(client.readdir(&args).await.unwrap())));
    let cookieverf = cookieverf3::default();
    let args = READDIRPLUS3args { dir, cookie, cookieverf, dircount: 8192, maxcount: 8192 };
    said.push((17, status(client.readdirplus(&args).await.unwrap())));
    let fsroot = object.clone();
    said.push((18, status(client.fsstat(&FSSTAT3args { fsroot }).await.unwrap())));
    let fsroot = object.clone();
    said.push((19, status(client.fsinfo(&FSINFO3args { fsroot }).await.unwrap())));
    said.push((20, status(client.pathconf(&PATHCONF3args { object }).await.unwrap())));
    let args = COMMIT3args { file, offset: 0, count: 0 };
    said.push((21, status(client.commit(&args).await.unwrap())));
    said
}

#[tokio::test]
async fn every_error_is_its_status_of_the_rfc_from_every_procedure() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    for (place, error) in ERRORS.into_iter().enumerate() {
        let (known, number) = number(error);
        assert_eq!(known, place, "{error:?} is not where the table has it");
        let (id, name) = (ShareId(7), "share".parse().unwrap());
        let fs = Arc::new(Refusing(error));
        gateway.exports.replace(vec![Export { id, name, policy: open_policy(), fs }]);
        let said = answers(&mut client, &root).await;
        assert_eq!(said.len(), 22 - 3, "all but NULL, MKNOD and LINK, which ask nothing");
        for (procedure, status) in said {
            assert_eq!(status as u32, number, "{error:?} from procedure {procedure}");
        }
    }
}
