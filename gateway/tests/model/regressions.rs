//! Cases that once failed, at their shortest.
use crate::{
    ops::{Disk, Fault, How, Op},
    remote::{self, Case, Change, Late, Round},
};

/// 404 answers `If-Match` of an object that is gone: a large file was sent again for ever.
#[test]
fn regression_a_large_file_whose_object_others_deleted_is_put_back() {
    let large = Op::Truncate { file: 0, size: 17 << 20 };
    let file = Op::Create { dir: 0, name: 0, mode: 0, how: How::Guarded };
    let rounds =
        vec![vec![Change::Here(file)], vec![Change::Here(large), Change::Delete { key: 0 }]];
    let rounds = rounds.into_iter().map(Round::from).collect();
    remote::check(&Case { disk: Disk::Host, rounds }).unwrap();
}

/// Two files swap their names while another writer replaces the object of one: all three are kept.
#[test]
fn regression_names_swapped_while_one_object_is_replaced_lose_no_version() {
    let put = |name| Change::Put { dir: 0, name, len: 1 };
    let swap = Change::Here(Op::Swap { one: 0, other: 1 });
    let rounds = vec![vec![put(2), put(3)].into(), vec![put(3), swap].into()];
    remote::check(&Case { disk: Disk::Host, rounds }).unwrap();
}

/// An upload in parts is done and not answered, and then another writer replaces the object: both versions are kept,
/// since nobody can tell any more whether the other writer had seen this one.
#[test]
fn regression_an_unanswered_upload_and_what_replaces_it_are_both_kept() {
    let create = Op::Create { dir: 0, name: 0, mode: 0, how: How::Guarded };
    let write = |len, stable| Change::Here(Op::Write { file: 0, at: 0, len, stable });
    let unanswered = Op::Break { fault: Fault::BreaksAfter, operation: 129, times: 1 };
    let late = Late { requests: 3, changes: vec![Change::Replace { key: 0, len: 1 }] };
    let rounds = vec![
        vec![Change::Here(create), write(17 << 20, true)].into(),
        Round { changes: vec![Change::Here(unanswered), write(1, false)], late: Some(late) },
    ];
    remote::check(&Case { disk: Disk::Host, rounds }).unwrap();
}
