//! File handles: what is accepted is exactly what was given out; one bit more or less is not.
use arbitrary::Unstructured;

use super::world::World;
use crate::{
    nfs::{HandleCodec, handle::HandleError},
    vfs::{Ino, ShareId},
};

/// Input: a handle as a client may make one up, which also says which real one to alter, and how.
pub(super) fn run(input: &[u8]) {
    let codec = World::handles(World::GENERATION);
    match codec.decode(input) {
        Ok((share, ino)) => assert_eq!(codec.encode(share, ino), input, "a file has one handle"),
        Err(HandleError::Bad | HandleError::Stale) => {}
    }
    altered(&codec, input).unwrap_or_default();
}

fn altered(codec: &HandleCodec, input: &[u8]) -> arbitrary::Result<()> {
    let mut input = Unstructured::new(input);
    let file = (ShareId(input.arbitrary()?), Ino(input.arbitrary()?));
    let mut handle = codec.encode(file.0, file.1);
    assert_eq!(codec.decode(&handle), Ok(file), "a handle names its file");

    let stale = World::handles(World::GENERATION ^ input.arbitrary::<u64>()?.max(1));
    let old = stale.encode(file.0, file.1);
    assert_eq!(codec.decode(&old), Err(HandleError::Stale), "a handle of another catalog");

    let (at, mask) = (usize::from(input.arbitrary::<u8>()?), input.arbitrary::<u8>()?.max(1));
    let len = handle.len();
    handle[at % len] ^= mask;
    assert_eq!(codec.decode(&handle), Err(HandleError::Bad), "a handle that was altered");
    Ok(())
}
