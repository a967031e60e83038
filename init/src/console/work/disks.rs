//! Cache disks: what the gateway is asked about them, and what PID 1 has done.
use super::text;
use crate::{
    console::command::Finished,
    control::Request,
    disks::Order,
    gateway_disks::{self, Verb},
};

/// Has an order carried out.
pub(super) fn order(order: Order) -> Result<Finished, String> {
    text(&Request::Disks { order })
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
