//! The support bundle as an operator sees it.
use crate::console::{
    command::{Command, Finished, Outcome, StepReport},
    keys::Key,
    operator::Operator,
};

fn at_support() -> Operator {
    let mut operator = Operator::logged_in();
    operator.choose("Support Bundle");
    operator
}

#[test]
fn a_bundle_is_sent_to_a_bucket() {
    let mut operator = at_support();
    operator.sees_golden("support");
    operator.choose("Send to the Bucket");
    operator.sees_golden("support-send");
    operator.press(Key::Down);
    operator.press(Key::Clear);
    operator.types("/a\n\n");
    assert!(operator.sees().contains("without / at either end"), "{}", operator.sees());
    operator.press(Key::Clear);
    operator.types("help/a.tar.gz\n\n");
    let share = "sales".parse().unwrap();
    let key = "help/a.tar.gz".to_owned();
    assert_eq!(operator.command(), Command::SendBundle { share, key });
}

#[test]
fn a_bundle_is_sent_while_no_gateway_runs() {
    let mut operator = Operator::logged_in();
    let (_, settings) = operator.view.gateway_settings.clone().unwrap();
    operator.view.gateway_settings = Err("it is being started".to_owned());
    operator.view.stored_settings = Ok(settings);
    operator.choose("Support Bundle");
    operator.choose("Send to the Bucket");
    assert!(operator.sees().contains("< sales >"), "{}", operator.sees());
    operator.view.stored_settings.as_mut().unwrap().shares[0].read_only = true;
    operator.types("\x1b");
    operator.choose("Send to the Bucket");
    assert!(operator.sees().contains("no file share that may be written"), "{}", operator.sees());
}

#[test]
fn the_address_of_an_offer_is_shown_until_it_ends() {
    let mut operator = at_support();
    operator.choose("Offer for Download");
    operator.sees_golden("support-offer");
    operator.types("y");
    assert_eq!(operator.command(), Command::OfferBundle);
    let (job, _) = operator.asked.clone().unwrap();
    let mut step = |title: &str, outcome, advice: &str| {
        let (title, advice) = (title.to_owned(), advice.to_owned());
        operator.app.step(job, StepReport { title, outcome, advice });
    };
    step("Collected 39 files, 214 KiB", Outcome::Passed, "1 could not be had.");
    step(
        "curl -OJ http://192.168.100.100:8010/0123456789abcdef0123456789abcdef",
        Outcome::Note,
        "Once, within 10 minutes.",
    );
    operator.sees_golden("support-offered");
    operator
        .finished(Ok(Finished::Said(vec!["It was downloaded from 192.0.2.7:51234.".to_owned()])));
    assert!(operator.sees().contains("downloaded from 192.0.2.7"), "{}", operator.sees());
}
