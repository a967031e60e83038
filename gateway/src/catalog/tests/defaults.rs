//! Defaults of a share that change while rows have the old ones, or are about to get them.
use super::{listing::DEFAULTS, *};

const OTHERS: ListDefaults =
    ListDefaults { file_mode: 0o640, directory_mode: 0o750, uid: 7, gid: 8 };
/// Two steps and a half.
const ROWS: usize = 2500;

impl Fixture {
    /// Gives rows the other defaults to the end. Answers in how many steps.
    async fn give_others(&self) -> usize {
        let mut steps = 1;
        while self.catalog.give_defaults(self.share.id, OTHERS, at(90)).await.unwrap() {
            steps += 1;
        }
        steps
    }

    async fn want(&self, defaults: ListDefaults) -> bool {
        self.catalog.want_defaults(self.share.id, defaults).await.unwrap()
    }

    /// Mode, owner and group of what has this name.
    async fn attributes(&self, dir: Ino, name: &str) -> (u32, u32, u32) {
        let row = self.catalog.child(dir, name).await.unwrap().unwrap();
        (row.mode, row.uid, row.gid)
    }

    /// How many rows of `dir` have this mode.
    async fn count(&self, dir: Ino, mode: u32) -> usize {
        let rows = self.catalog.children(dir, Ino(0), 2 * ROWS).await.unwrap();
        rows.iter().filter(|row| row.mode == mode).count()
    }
}

/// Goal: all rows of the share follow, those of others do not, and a restart goes on where it was. Method: more rows
/// than two steps take, the catalog opened anew after the first.
#[tokio::test]
async fn many_rows_follow_new_defaults_in_steps_that_a_restart_goes_on_with() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let names: Vec<String> = (0..ROWS).map(|number| format!("n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(!f.want(DEFAULTS).await, "the first ones are those that rows have");
    f.list(root, &names).await;
    let other = f.catalog.ensure_share("other", "b2", "", ROOT).await.unwrap();
    f.list(other.root, &["theirs"]).await;
    let set = f.catalog.child(root, "n2000").await.unwrap().unwrap().ino;
    let mode = AttrChange { mode: Some(0o600), ..AttrChange::default() };
    f.catalog.set_attr(set, mode, stamp(8)).await.unwrap();

    assert!(f.want(OTHERS).await);
    assert!(f.catalog.give_defaults(f.share.id, OTHERS, at(90)).await.unwrap());
    let given = f.count(root, 0o640).await;
    assert!((900..=1000).contains(&given), "{given} in the first step");
    let f = f.crash().await;
    assert!(f.want(OTHERS).await, "it is not over");
    assert_eq!(f.count(root, 0o640).await, given);
    assert_eq!(f.give_others().await, 2, "from where it was");
    assert_eq!(f.count(root, 0o640).await, ROWS - 1);
    assert_eq!(f.attributes(root, "n2499").await, (0o640, 7, 8));
    assert_eq!(f.attributes(root, "n2000").await, (0o600, 65534, 65534), "a client's");
    assert_eq!(f.attributes(other.root, "theirs").await, (0o666, 65534, 65534));
    assert!(!f.want(OTHERS).await);
    f.verify().await;
}

/// Goal: a listing and a question of S3 that began before the defaults changed, and end when all rows have been given
/// the new ones, bring these too.
#[tokio::test]
async fn what_began_under_other_defaults_brings_those_in_force() {
    let f = Fixture::new().await;
    let root = f.share.root;
    f.want(DEFAULTS).await;
    f.list(root, &["asked"]).await;
    let asked = f.catalog.child(root, "asked").await.unwrap().unwrap().ino;
    let mut token = f.catalog.begin_listing(root).await.unwrap();
    assert!(f.want(OTHERS).await);
    f.give_others().await;
    let page = listing::page(&["asked", "late", "dir/"]);
    f.catalog.merge_listing_page(&mut token, page).await.unwrap();
    assert_eq!(f.attributes(root, "late").await, (0o640, 7, 8));
    assert_eq!(f.attributes(root, "dir").await, (0o750, 7, 8));
    let attr = HeadAttr {
        mode: None,
        uid: Some(5),
        gid: None,
        atime: at(1),
        mtime: at(2),
        defaults: DEFAULTS,
    };
    f.catalog.apply_head(asked, Some((tag("e").into(), attr))).await.unwrap();
    assert_eq!(f.attributes(root, "asked").await, (0o640, 5, 8));
    f.verify().await;
}
