//! Cache disks: what the gateway is asked about them, and what PID 1 has done.
use super::text;
use crate::{
    console::command::Finished,
    control::Request,
    disks::Order,
    gateway_disks::{self, Verb},
};

/// Has an order carried out. A gateway that runs forgets a disk first: it must not wait for it.
pub(super) fn order(order: Order) -> Result<Finished, String> {
    let mut said = Vec::new();
    if let Order::Forget { uuid } = &order
        && gateway_disks::list()
            .is_ok_and(|disks| disks.iter().any(|disk| disk.name.as_str() == uuid))
    {
        let lost = gateway_disks::give_up(uuid)?;
        said.push(format!("{lost} files were only there and are lost."));
    }
    match text(&Request::Disks { order })? {
        Finished::Said(words) => {
            said.extend(words);
            Ok(Finished::Said(said))
        }
        other => Ok(other),
    }
}

/// Asks the gateway, and has PID 1 follow what becomes of it.
pub(super) fn ask_gateway(verb: Verb, uuid: &str) -> Result<Finished, String> {
    gateway_disks::ask(verb, uuid)?;
    text(&Request::Disks { order: Order::Look })?;
    let said = match verb {
        Verb::Release => {
            "The disk is being emptied: nothing new goes there, and what is there leaves it. Its page \
             shows how far it is. As soon as it is empty it is taken out of use and may be detached."
        }
        Verb::Keep => "The disk is used as before.",
    };
    Ok(Finished::Said(vec![said.to_owned()]))
}
