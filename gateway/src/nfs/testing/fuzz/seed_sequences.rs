//! Sequences of operations to begin with: what clients do, and what is easily got wrong.
use super::operation::Operation;

/// Named inputs of the target `operations`.
pub(super) fn operations() -> Vec<(&'static str, Vec<u8>)> {
    let op = |procedure, object, name| Operation { procedure, object, name, ..Default::default() };
    let create = |dir, name| Operation { flags: 1, ..op(8, dir, name) };
    let (mkdir, list) = (op(9, 0, 1), Operation { length: 4096, ..op(17, 0, 0) });
    let write =
        |object, offset, length, flags| Operation { offset, length, flags, ..op(7, object, 0) };
    let read =
        |object, offset, length, flags| Operation { offset, length, flags, ..op(6, object, 0) };
    let cut = |object, size| Operation { offset: size, flags: 0x20, ..op(2, object, 0) };
    let rename =
        |object, name, to_object, to_name| Operation { to_object, to_name, ..op(14, object, name) };
    let twice = |op: Operation| Operation { flags: op.flags | 0x40, ..op };
    let late = |back| op(23, back, 0);
    let user = |op: Operation| Operation { caller: 1, ..op };
    let all = |operations: &[Operation]| {
        operations.iter().flat_map(Operation::bytes).collect::<Vec<u8>>()
    };
    let each: Vec<_> = (1..24).map(|procedure| op(procedure, 1, 0)).collect();
    let names: Vec<_> = (0..8).map(|name| create(0, name)).collect();
    let small = |procedure| Operation { length: 400, ..op(procedure, 0, 0) };
    vec![
        ("create-write-read", all(&[create(0, 0), write(1, 0, 100, 2), read(1, 0, 200, 0)])),
        (
            "overwrite",
            all(&[create(0, 0), write(1, 0, 99, 0), write(1, 50, 99, 0), read(1, 1, 300, 0)]),
        ),
        ("hole", all(&[create(0, 0), write(1, 5000, 3, 0), read(1, 0, 6000, 0), op(21, 1, 0)])),
        (
            "grow-and-cut",
            all(&[create(0, 0), write(1, 0, 9, 0), cut(1, 4), cut(1, 20), read(1, 0, 30, 0)]),
        ),
        (
            "longest-write",
            all(&[create(0, 0), write(1, 0, 0xffff, 0x80), read(1, 9, 0xffff, 0x80)]),
        ),
        ("end-of-numbers", all(&[create(0, 0), write(1, u32::MAX, 9, 0), read(1, u32::MAX, 9, 0)])),
        ("names", all(&[&names[..], &[list, small(16), small(17)]].concat())),
        ("tree", all(&[mkdir, create(1, 0), op(3, 1, 0), op(3, 1, 5), op(17, 1, 0), op(22, 0, 1)])),
        ("remove", all(&[create(0, 0), op(12, 0, 0), op(1, 1, 0), create(0, 0), op(3, 0, 0)])),
        ("rmdir", all(&[mkdir, create(1, 0), op(13, 0, 1), op(12, 1, 0), op(13, 0, 1), list])),
        ("rename-over", all(&[create(0, 0), create(0, 1), rename(0, 0, 0, 1), op(1, 2, 0), list])),
        ("rename-dir", all(&[mkdir, op(9, 0, 2), rename(0, 1, 2, 0), op(3, 1, 5), op(17, 2, 0)])),
        ("into-itself", all(&[mkdir, rename(0, 1, 1, 1), op(3, 1, 1), op(13, 1, 1)])),
        (
            "repeated",
            all(&[
                twice(create(0, 0)),
                twice(cut(1, 9)),
                twice(rename(0, 0, 0, 1)),
                twice(op(12, 0, 1)),
            ]),
        ),
        ("repeated-late", all(&[create(0, 0), op(12, 0, 0), create(0, 0), late(2), late(1), list])),
        (
            "exclusive",
            all(&[Operation { flags: 2, ..op(8, 0, 0) }, Operation { flags: 2, ..op(8, 0, 0) }]),
        ),
        ("symlink", all(&[Operation { length: 20, ..op(10, 0, 0) }, op(5, 1, 0), op(1, 1, 0)])),
        ("long-symlink", all(&[Operation { length: 4096, ..op(10, 0, 0) }, op(5, 1, 0)])),
        (
            "user",
            all(&[create(0, 0), user(write(1, 0, 9, 0)), user(create(0, 1)), user(op(4, 1, 0))]),
        ),
        ("each-procedure", all(&[&[create(0, 0)], &each[..]].concat())),
    ]
}
