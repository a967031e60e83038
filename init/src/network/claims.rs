//! Whether an IPv4 address is ours to use: before it is used, the LAN is asked whether another machine has
//! it, and while it is used, whoever else uses it is noticed (RFC 5227). Pure: packets and time come in,
//! packets go out.
//!
//! RFC 5227 waits up to nine seconds before an address is used, for links of any kind. On Ethernet an answer
//! takes milliseconds, and those seconds would be added to every boot: three probes in 600 ms it is. What
//! they miss, because a switch does not yet pass anything on, is heard while the address is in use.
//!
//! Another machine's probe is no conflict here, as it is there: switches probe for the addresses of whoever
//! has just come up (Cisco's IP device tracking), and would be taken for a second owner. Of two machines that
//! probe at the same moment, each hears the other's announcement.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use super::{
    kernel::mac_in_words,
    packet::{Heard, Mac},
};

/// RFC 5227 §1.1, PROBE_NUM and ANNOUNCE_NUM.
const PROBES: u8 = 3;
const ANNOUNCEMENTS: u8 = 2;
/// From one probe to the next, and from the last one to the use of the address.
const PROBE_PAUSE: Duration = Duration::from_millis(200);
/// RFC 5227 §1.1, ANNOUNCE_INTERVAL.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(2);
/// RFC 5227 §1.1, DEFEND_INTERVAL: an address in use is defended once in that time. So often its
/// other user is heard, too: packets between do not count.
const DEFEND_PAUSE: Duration = Duration::from_secs(10);
/// An address that another machine has is asked for again after this time.
const TAKEN_PAUSE: Duration = Duration::from_secs(30);
/// Another user of an address in use is forgotten when it was not heard for so long. Neighbours are asked for
/// anew after a minute or so.
const CONTEST_TIME: Duration = Duration::from_secs(300);

/// An address on a link that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) adapter: String,
    pub(super) index: u32,
    pub(super) mac: Mac,
    pub(super) address: Ipv4Addr,
    /// Whether the kernel has it already.
    pub(super) in_use: bool,
}

/// The addresses that are ours to use, by adapter.
pub(super) type Free = BTreeSet<(String, Ipv4Addr)>;

/// A packet to be sent: who has `target`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) index: u32,
    pub(super) mac: Mac,
    /// Unspecified in a probe.
    pub(super) sender: Ipv4Addr,
    pub(super) target: Ipv4Addr,
}

/// What of an adapter's address is worth a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is asked for.
    Probed(Ipv4Addr),
    /// Another machine has it; it is not used.
    Taken(Ipv4Addr, Mac),
    /// Another machine uses it, too.
    Contested(Ipv4Addr, Mac),
}

impl Word {
    /// The lowest is said first.
    fn rank(&self) -> u8 {
        match self {
            Self::Taken(..) => 0,
            Self::Contested(..) => 1,
            Self::Probed(_) => 2,
        }
    }

    /// For the console.
    pub(super) fn in_words(&self, adapter: &str) -> String {
        match self {
            Self::Probed(ip) => format!("{adapter} asks whether another machine has {ip}"),
            Self::Taken(ip, mac) => format!(
                "another machine ({}) has the address {ip}: give {adapter} another one",
                mac_in_words(mac)
            ),
            Self::Contested(ip, mac) => format!(
                "another machine ({}) uses the address {ip} of {adapter}, too: give one of them another \
                 one",
                mac_in_words(mac)
            ),
        }
    }
}

/// How far a claim is; each with the time of what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Probing { sent: u8, due: Duration },
    Announcing { sent: u8, due: Duration },
    Held,
    Taken { due: Duration },
}

#[derive(Clone, Debug)]
struct Claim {
    index: u32,
    mac: Mac,
    stage: Stage,
    /// Who has the address, or uses it, too, and when that was heard last.
    other: Option<(Mac, Duration)>,
}

/// What is claimed, by adapter and address.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    claims: BTreeMap<(String, Ipv4Addr), Claim>,
    /// Hardware addresses of this machine: it may have several adapters on one LAN, and answers by any.
    own: BTreeSet<Mac>,
}

/// What is listened for: what the claims and this machine's hardware addresses were at some moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Ear(Claims);

impl Ear {
    /// Whether a packet that comes at `now` changes anything.
    pub(super) fn concerns(&self, heard: &Heard, now: Duration) -> bool {
        self.0.met_by(heard, now).is_some()
    }
}

impl Claims {
    /// Follows what is wanted, and nothing else, at `now`.
    pub(super) fn follow(&mut self, wanted: &[Wanted], own: BTreeSet<Mac>, now: Duration) {
        self.own = own;
        self.claims.retain(|(adapter, address), claim| {
            wanted.iter().any(|wanted| {
                (&wanted.adapter, wanted.address, wanted.index, wanted.mac)
                    == (adapter, *address, claim.index, claim.mac)
            })
        });
        for Wanted { adapter, index, mac, address, in_use } in wanted {
            // What is in use is not taken away to ask; it is announced, for a link that has come back.
            let stage = if *in_use {
                Stage::Announcing { sent: 0, due: now }
            } else {
                Stage::Probing { sent: 0, due: now }
            };
            let claim = Claim { index: *index, mac: *mac, stage, other: None };
            self.claims.entry((adapter.clone(), *address)).or_insert(claim);
        }
    }

    /// Goes on with every claim; the packets that are to be sent.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<Question> {
        let mut questions = Vec::new();
        for ((_, address), claim) in &mut self.claims {
            let due = claim.due().is_some_and(|due| due <= now);
            claim.other = claim.other.filter(|(_, at)| {
                claim.stage != Stage::Held || now.saturating_sub(*at) < CONTEST_TIME
            });
            if !due {
                continue;
            }
            let mut ask = |sender| {
                let (index, mac) = (claim.index, claim.mac);
                questions.push(Question { index, mac, sender, target: *address });
            };
            claim.stage = match claim.stage {
                Stage::Probing { sent, .. } if sent < PROBES => {
                    ask(Ipv4Addr::UNSPECIFIED);
                    Stage::Probing { sent: sent + 1, due: now + PROBE_PAUSE }
                }
                Stage::Taken { .. } => {
                    ask(Ipv4Addr::UNSPECIFIED);
                    Stage::Probing { sent: 1, due: now + PROBE_PAUSE }
                }
                Stage::Probing { .. } => {
                    claim.other = None;
                    ask(*address);
                    Stage::Announcing { sent: 1, due: now + ANNOUNCE_PAUSE }
                }
                Stage::Announcing { sent, .. } if sent < ANNOUNCEMENTS => {
                    ask(*address);
                    Stage::Announcing { sent: sent + 1, due: now + ANNOUNCE_PAUSE }
                }
                Stage::Announcing { .. } | Stage::Held => Stage::Held,
            };
        }
        questions
    }

    /// When a claim has to go on.
    pub(super) fn due(&self) -> Option<Duration> {
        self.claims.values().filter_map(Claim::due).min()
    }

    /// What of all that is sent concerns the claims.
    pub(super) fn ear(&self) -> Ear {
        Ear(self.clone())
    }

    /// Takes in a packet that came at `now`. An address in use is kept, and defended by the packet that
    /// comes back: clients have mounted shares by it (RFC 5227 §2.4 (c)).
    pub(super) fn hear(&mut self, heard: &Heard, now: Duration) -> Option<Question> {
        let key = self.met_by(heard, now)?;
        let claim = self.claims.get_mut(&key)?;
        claim.other = Some((heard.mac, now));
        match claim.stage {
            Stage::Probing { .. } | Stage::Taken { .. } => {
                claim.stage = Stage::Taken { due: now + TAKEN_PAUSE };
                None
            }
            Stage::Announcing { .. } | Stage::Held => {
                let (index, mac, address) = (claim.index, claim.mac, key.1);
                Some(Question { index, mac, sender: address, target: address })
            }
        }
    }

    /// The claim that a packet at `now` contradicts.
    fn met_by(&self, heard: &Heard, now: Duration) -> Option<(String, Ipv4Addr)> {
        if self.own.contains(&heard.mac) {
            return None;
        }
        let met = self.claims.iter().find(|((_, address), claim)| {
            let quiet = claim.is_free()
                && claim.other.is_some_and(|(_, at)| now.saturating_sub(at) < DEFEND_PAUSE);
            let taken = matches!(claim.stage, Stage::Taken { .. });
            claim.index == heard.index && !quiet && !taken && heard.sender == *address
        });
        met.map(|(key, _)| key.clone())
    }

    /// What is ours to use.
    pub(super) fn free(&self) -> Free {
        let free = self.claims.iter().filter(|(_, claim)| claim.is_free());
        free.map(|(key, _)| key.clone()).collect()
    }

    /// What is to be said of an adapter; of several addresses, what hinders most.
    pub(super) fn word(&self, adapter: &str) -> Option<Word> {
        let of_adapter = self.claims.iter().filter(|((of, _), _)| of == adapter);
        of_adapter.filter_map(|((_, ip), claim)| claim.word(*ip)).min_by_key(Word::rank)
    }

    /// Which other machine has this address of an adapter, so that it is not used.
    pub(super) fn taken_by(&self, adapter: &str, address: Ipv4Addr) -> Option<Mac> {
        let claim = self.claims.get(&(adapter.to_owned(), address))?;
        match claim.word(address) {
            Some(Word::Taken(_, mac)) => Some(mac),
            Some(Word::Probed(_) | Word::Contested(..)) | None => None,
        }
    }
}

impl Claim {
    fn word(&self, ip: Ipv4Addr) -> Option<Word> {
        match (self.stage, self.other) {
            (Stage::Probing { .. }, None) => Some(Word::Probed(ip)),
            (Stage::Probing { .. } | Stage::Taken { .. }, Some((mac, _))) => {
                Some(Word::Taken(ip, mac))
            }
            (Stage::Announcing { .. } | Stage::Held, Some((mac, _))) => {
                Some(Word::Contested(ip, mac))
            }
            (_, None) => None,
        }
    }

    fn is_free(&self) -> bool {
        matches!(self.stage, Stage::Announcing { .. } | Stage::Held)
    }

    fn due(&self) -> Option<Duration> {
        match self.stage {
            Stage::Probing { due, .. } | Stage::Announcing { due, .. } | Stage::Taken { due } => {
                Some(due)
            }
            Stage::Held => self.other.map(|(_, at)| at + CONTEST_TIME),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Mac = [2, 0, 0, 0, 0, 1];
    const SECOND: Mac = [2, 0, 0, 0, 0, 2];
    const THEIRS: Mac = [2, 0, 0, 0, 0, 9];
    const IP: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 5);
    const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);

    fn ms(ms: u64) -> Duration {
        Duration::from_secs(1000) + Duration::from_millis(ms)
    }

    fn wanted(in_use: bool) -> Wanted {
        Wanted { adapter: "eth0".to_owned(), index: 2, mac: OURS, address: IP, in_use }
    }

    fn follows(claims: &mut Claims, in_use: bool, at: Duration) {
        claims.follow(&[wanted(in_use)], BTreeSet::from([OURS, SECOND]), at);
    }

    fn packet(mac: Mac, sender: Ipv4Addr) -> Heard {
        Heard { index: 2, mac, sender }
    }

    /// Claims that have asked for the address, which nobody has.
    fn held() -> Claims {
        let mut claims = Claims::default();
        follows(&mut claims, false, ms(0));
        for at in [0, 200, 400, 600, 2600, 4600] {
            claims.tick(ms(at));
        }
        claims
    }

    #[test]
    fn an_address_is_used_after_three_probes_that_nobody_answers() {
        let mut claims = Claims::default();
        follows(&mut claims, false, ms(0));
        assert!(claims.free().is_empty());
        assert_eq!(claims.word("eth0"), Some(Word::Probed(IP)));
        let probe = Question { index: 2, mac: OURS, sender: Ipv4Addr::UNSPECIFIED, target: IP };
        let announcement = Question { sender: IP, ..probe };
        for (at, sends) in [
            (0, Some(probe)),
            (100, None),
            (200, Some(probe)),
            (400, Some(probe)),
            (599, None),
            (600, Some(announcement)),
            (2600, Some(announcement)),
            (4600, None),
        ] {
            assert_eq!(claims.tick(ms(at)), sends.into_iter().collect::<Vec<_>>(), "at {at}");
            assert_eq!(claims.free().contains(&("eth0".to_owned(), IP)), at >= 600, "at {at}");
        }
        assert_eq!((claims.word("eth0"), claims.due()), (None, None));
    }

    #[test]
    fn what_another_machine_has_is_not_used_and_asked_for_again_later() {
        let heard = packet(THEIRS, IP);
        let mut claims = Claims::default();
        follows(&mut claims, false, ms(0));
        claims.tick(ms(0));
        assert!(claims.ear().concerns(&heard, ms(5)));
        assert_eq!(claims.hear(&heard, ms(5)), None);
        assert_eq!(claims.word("eth0"), Some(Word::Taken(IP, THEIRS)));
        assert!(claims.tick(ms(700)).is_empty() && claims.free().is_empty());
        follows(&mut claims, false, ms(800));
        // Half a minute later it is asked for again: the other machine may be gone.
        for at in [30_005, 30_205, 30_405, 30_605] {
            assert_eq!(claims.word("eth0"), Some(Word::Taken(IP, THEIRS)), "until it is free");
            assert_eq!(claims.tick(ms(at)).len(), 1, "at {at}");
        }
        assert_eq!((claims.word("eth0"), claims.free().len()), (None, 1));
    }

    #[test]
    fn what_does_not_contradict_a_claim_changes_nothing() {
        let mut claims = Claims::default();
        follows(&mut claims, false, ms(0));
        claims.tick(ms(0));
        for (heard, what) in [
            (packet(SECOND, IP), "its other adapter"),
            (packet(THEIRS, ROUTER), "the router, whatever it asks for"),
            (packet(THEIRS, Ipv4Addr::UNSPECIFIED), "a switch that probes"),
            (Heard { index: 3, ..packet(THEIRS, IP) }, "another link"),
        ] {
            assert!(!claims.ear().concerns(&heard, ms(5)), "{what}");
            assert_eq!(claims.hear(&heard, ms(5)), None, "{what}");
        }
        assert_eq!(claims.word("eth0"), Some(Word::Probed(IP)));
    }

    #[test]
    fn an_address_in_use_is_kept_and_defended_and_the_other_user_is_said() {
        let mut claims = held();
        let theirs = packet(THEIRS, IP);
        let defence = claims.hear(&theirs, ms(10_000)).unwrap();
        assert_eq!((defence.sender, defence.target), (IP, IP));
        assert_eq!(claims.word("eth0"), Some(Word::Contested(IP, THEIRS)));
        assert!(claims.free().contains(&("eth0".to_owned(), IP)));
        assert_eq!(claims.hear(&theirs, ms(19_000)), None, "no storm of two that defend");
        assert!(claims.hear(&theirs, ms(21_000)).is_some());
        assert_eq!(claims.due(), Some(ms(321_000)));
        claims.tick(ms(320_000));
        assert!(claims.word("eth0").is_some());
        claims.tick(ms(321_000));
        assert_eq!(claims.word("eth0"), None, "it was not heard for five minutes");
    }

    #[test]
    fn an_address_that_the_kernel_has_is_not_taken_away_to_ask() {
        let mut claims = Claims::default();
        follows(&mut claims, true, ms(0));
        assert_eq!(claims.free().len(), 1);
        let announced = claims.tick(ms(0));
        assert_eq!((announced.len(), announced[0].sender), (1, IP));
        claims.follow(&[], BTreeSet::new(), ms(1));
        assert!(claims.free().is_empty(), "what is wanted no more is claimed no more");
        follows(&mut claims, false, ms(2));
        assert!(claims.free().is_empty(), "and asked for when it is wanted again");
    }

    #[test]
    fn words_name_the_address_and_the_other_machine() {
        let taken = Word::Taken(IP, THEIRS).in_words("eth0");
        assert_eq!(
            taken,
            "another machine (02:00:00:00:00:09) has the address 10.7.0.5: give eth0 another one"
        );
        let both = Word::Contested(IP, THEIRS).in_words("eth0");
        assert!(both.contains("uses the address 10.7.0.5 of eth0, too"), "{both}");
    }
}
