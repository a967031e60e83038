//! Calls that come twice.
use crate::{
    Gateway,
    procedures::{create, read},
    raw::{Call, NFS, Raw, call, mount, opaque, word, words},
};

/// MKDIR with no attributes set.
fn mkdir(root: &[u8], name: &str, xid: u32) -> Call {
    let args = [opaque(root), opaque(name.as_bytes()), words(&[0; 6])].concat();
    Call { xid, ..call(NFS, 9, args) }
}

#[tokio::test]
async fn a_repeated_change_gets_the_first_reply_on_the_same_and_on_another_connection() {
    let gateway = Gateway::start().await;
    let root = mount(gateway.address, "/share").await.unwrap();
    let mut raw = Raw::connect(gateway.address).await;
    let first = raw.ask(&mkdir(&root, "d", 7)).await.unwrap();
    assert_eq!(word(&first, 6), 0);
    assert_eq!(raw.ask(&mkdir(&root, "d", 7)).await.unwrap(), first);
    drop(raw);
    let mut raw = Raw::connect(gateway.address).await;
    assert_eq!(raw.ask(&mkdir(&root, "d", 7)).await.unwrap(), first);
    // The same xid with other arguments is another call, and another xid is another call.
    assert_eq!(word(&raw.ask(&mkdir(&root, "e", 7)).await.unwrap(), 6), 0);
    assert_eq!(word(&raw.ask(&mkdir(&root, "d", 8)).await.unwrap(), 6), 17);
    assert_eq!(gateway.fs.arrived(), 3);
}

#[tokio::test]
async fn a_call_repeated_during_its_execution_is_executed_once_even_if_its_connection_is_lost() {
    let gateway = Gateway::start().await;
    let root = mount(gateway.address, "/share").await.unwrap();
    gateway.fs.close_gate();
    let mut lost = Raw::connect(gateway.address).await;
    lost.send(&mkdir(&root, "d", 7).record()).await;
    while gateway.fs.arrived() == 0 {
        tokio::task::yield_now().await;
    }
    drop(lost);
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(&mkdir(&root, "d", 7).record()).await;
    raw.send(&mkdir(&root, "d", 7).record()).await;
    // Proof that both have been read: a later call on the connection is answered.
    assert!(raw.is_served().await);
    gateway.fs.open_gate();
    let first = raw.reply().await.unwrap();
    assert_eq!(word(&first, 6), 0, "made, and not 'exists'");
    assert_eq!(raw.reply().await.unwrap(), first);
    assert_eq!(gateway.fs.arrived(), 1);
}

/// Goal: a WRITE that was sent again over a new connection, and then turns up on the old one after
/// all, does not bring back what a later WRITE has replaced.
#[tokio::test]
async fn a_repeated_write_does_not_undo_a_later_one() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "f").await;
    let write = |xid, data: &[u8]| {
        let count = u32::try_from(data.len()).unwrap();
        let to = [opaque(file.data.as_ref()), words(&[0, 0, count, 0])].concat();
        let credential = words(&[0, 0, 1000, 100, 0]);
        Call { xid, flavour: 1, credential, ..call(NFS, 7, [to, opaque(data)].concat()) }
    };
    // Of one length, and alike but for their ends.
    let (old, new) = ([&[1; 9000][..], b"old"].concat(), [&[1; 9000][..], b"new"].concat());
    let mut raw = Raw::connect(gateway.address).await;
    let first = raw.ask(&write(7, &old)).await.unwrap();
    assert_eq!(word(&first, 6), 0);
    assert_eq!(word(&raw.ask(&write(8, &new)).await.unwrap(), 6), 0);
    let mut late = Raw::connect(gateway.address).await;
    assert_eq!(late.ask(&write(7, &old)).await.unwrap(), first);
    assert_eq!(read(&mut client, &file, 9000, 9).await, (b"new".to_vec(), true));
    // The same xid with other data is another call.
    late.ask(&write(8, &old)).await.unwrap();
    assert_eq!(read(&mut client, &file, 9000, 9).await, (b"old".to_vec(), true));
}

#[tokio::test]
async fn calls_of_one_connection_overtake_one_that_waits() {
    let gateway = Gateway::start().await;
    let root = mount(gateway.address, "/share").await.unwrap();
    gateway.fs.close_gate();
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(&mkdir(&root, "slow", 7).record()).await;
    let getattr = Call { xid: 8, ..call(NFS, 1, opaque(&root)) };
    assert_eq!(word(&raw.ask(&getattr).await.unwrap(), 0), 8);
    gateway.fs.open_gate();
    assert_eq!(word(&raw.reply().await.unwrap(), 0), 7);
}
