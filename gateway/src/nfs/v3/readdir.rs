//! READDIR, READDIRPLUS (RFC 1813 §3.3.16, §3.3.17).
use nfsserve::nfs::nfsstat3;

use super::{Intent, Request, Target, args, attr::post_op, status};
use crate::{
    nfs::{
        handle::HANDLE_BYTES,
        rpc::{
            decode::{DecodeError, Decoder},
            limits::IO_BYTES_MAX,
            reply::Reply,
        },
    },
    vfs::{DirEntry, DirPage, ReadDir},
};

/// post_op_attr with attributes: flag and fattr3.
const POST_OP_ATTR_BYTES: usize = 4 + 84;
/// What a page holds besides entries: status, directory attributes, verifier, end of list, eof.
const PAGE_BYTES: usize = 4 + POST_OP_ATTR_BYTES + 8 + 4 + 4;
/// An entry without its name: "follows" flag, fileid, length of name, cookie.
const ENTRY_BYTES: usize = 4 + 8 + 4 + 8;
/// What READDIRPLUS adds to an entry: attributes, handle.
const PLUS_BYTES: usize = POST_OP_ATTR_BYTES + 4 + 4 + HANDLE_BYTES;
/// A common length of names, to guess how many entries fill a page. Entries asked for in excess
/// are thrown away; a page that could have held more is as good as a full one.
const NAME_BYTES_GUESS: usize = 16;
/// Most entries asked for at once, whatever fits: they are held in memory twice.
const ENTRIES_MAX: usize = 4096;

/// What the call asks, with sizes held to what is served.
struct Ask {
    dir: ReadDir,
    /// Most bytes of fileids, names and cookies.
    names_max: usize,
    /// Most bytes of the result.
    bytes_max: usize,
}

fn decode(args: &mut Decoder, plus: bool) -> Result<(bytes::Bytes, Ask), DecodeError> {
    let handle = args::handle(args)?;
    let (cookie, verifier) = (args.u64()?, args.fixed()?);
    let size = |bytes: u32| usize::try_from(bytes.min(IO_BYTES_MAX)).unwrap_or(PAGE_BYTES);
    let first = size(args.u32()?);
    let bytes_max = if plus { size(args.u32()?) } else { first };
    args.end()?;
    let entry = ENTRY_BYTES + NAME_BYTES_GUESS + if plus { PLUS_BYTES } else { 0 };
    let names = first / (ENTRY_BYTES + NAME_BYTES_GUESS);
    let entries_max = (bytes_max.saturating_sub(PAGE_BYTES) / entry).min(names);
    let entries_max = entries_max.clamp(2, ENTRIES_MAX);
    let dir = ReadDir { cookie, verifier, entries_max, want_attr: plus };
    Ok((handle, Ask { dir, names_max: first, bytes_max }))
}

/// What a page will hold, for its budget. Arguments that do not decode get no page.
pub(super) fn reply_bytes(procedure: u32, mut args: Decoder) -> usize {
    const READDIRPLUS: u32 = 17;
    decode(&mut args, procedure == READDIRPLUS).map_or(0, |(_, ask)| ask.bytes_max)
}

impl Request<'_> {
    pub(super) async fn readdir(&self, args: Decoder) -> Result<Reply, DecodeError> {
        self.list(args, false).await
    }

    pub(super) async fn readdirplus(&self, args: Decoder) -> Result<Reply, DecodeError> {
        self.list(args, true).await
    }

    async fn list(&self, mut args: Decoder, plus: bool) -> Result<Reply, DecodeError> {
        let (handle, ask) = decode(&mut args, plus)?;
        let dir = match self.target(&handle, Intent::Read) {
            Ok(dir) => dir,
            Err(status) => return Ok(self.failed(status, None).await),
        };
        Ok(match dir.export.fs.readdir(&dir.cx, dir.ino, ask.dir).await {
            Ok(page) => match self.page(&dir, &page, &ask) {
                Some(reply) => reply,
                None => self.failed(nfsstat3::NFS3ERR_TOOSMALL, Some(&dir)).await,
            },
            Err(error) => self.failed(status(error), Some(&dir)).await,
        })
    }

    /// As much of a page as the client has room for; `None` if that is not even one entry.
    fn page(&self, dir: &Target, page: &DirPage, ask: &Ask) -> Option<Reply> {
        let mut reply = self.ok();
        post_op(&mut reply, Some((dir, &page.dir)));
        reply.fixed(&page.verifier);
        let (mut bytes, mut names, mut sent) = (PAGE_BYTES, 0, 0);
        for entry in &page.entries {
            let name = ENTRY_BYTES + entry.name.len().next_multiple_of(4);
            bytes += name + if ask.dir.want_attr { PLUS_BYTES } else { 0 };
            names += name;
            // RFC 1813 §3.3.17: dircount is a hint; the first entry is not held to it.
            if bytes > ask.bytes_max || (sent > 0 && names > ask.names_max) {
                break;
            }
            self.entry(&mut reply, dir, entry, ask.dir.want_attr);
            sent += 1;
        }
        if (sent == 0 && !page.entries.is_empty()) || ask.bytes_max < PAGE_BYTES {
            return None;
        }
        reply.bool(false);
        reply.bool(page.end && sent == page.entries.len());
        Some(reply)
    }

    fn entry(&self, reply: &mut Reply, dir: &Target, entry: &DirEntry, plus: bool) {
        reply.bool(true);
        reply.u64(entry.ino.0);
        reply.opaque(&entry.name);
        reply.u64(entry.cookie);
        if plus {
            post_op(reply, entry.attr.as_ref().map(|attr| (dir, attr)));
            reply.bool(true);
            reply.opaque(&self.handle(dir, entry.ino));
        }
    }
}
