//! What a stack's instances cost: instance-hours, and money only by the stack file's own `price_per_hour`. Disks, traffic,
//! logs and storage are billed besides, and not counted.

use crate::address::Address;
use crate::kind::Lifetime;
use crate::kinds::instance::Spec;
use crate::kinds::instance::billed::machine_of;
use crate::plan::{Phase, Plan, Verb};
use crate::report::cost::{at, hours};
use crate::stack::Stack;
use crate::stack::values::Price;

use super::apply::FRESH_INSTANCES;
use super::session::Session;

fn spec(stack: &Stack, at: &Address) -> Option<Spec> {
    let logical = Address::new(&at.kind, &at.name);
    let spec = stack.resources.get(&logical).filter(|_| at.kind == "instance")?;
    serde_json::from_value(spec.clone()).ok()
}

/// What an hour of this instance costs by the stack file; none where it says none for an instance of this type.
pub fn price(stack: &Stack, address: Option<&str>, r#type: &str) -> Option<Price> {
    let at: Address = address?.parse().ok()?;
    spec(stack, &at).filter(|spec| spec.r#type == r#type)?.price_per_hour
}

/// What the instances that a plan makes, and that of its run, come to at the most.
pub fn at_most(stack: &Stack, plan: &Plan) -> Vec<String> {
    let made = plan.phase(Phase::Converge).filter(|(id, _)| id.verb == Verb::Create).map(|(id, _)| &id.at);
    let mut of: Vec<&Address> = made.chain(plan.run.iter().map(|run| &run.spec.instance_at)).collect();
    of.sort();
    of.dedup();
    of.into_iter().filter_map(|at| Some(line(at, &spec(stack, at)?))).collect()
}

fn line(address: &Address, spec: &Spec) -> String {
    let price = spec.price_per_hour;
    let mut text = match spec.hours() {
        Some(most) => {
            let money = price.map(|price| format!(", {} {}", price.of(most * 3600), at(price))).unwrap_or_default();
            format!("at the most {most} instance-hours of {}{money}", spec.r#type)
        }
        None => {
            let money = price.map(|price| format!(", {price} an hour {}", at(price))).unwrap_or_default();
            format!("billed by the hour as {}{money}", spec.r#type)
        }
    };
    match (spec.lifetime, spec.hours()) {
        (Lifetime::Always, None) => text.push_str("; it stays, and is billed, until destroy"),
        (Lifetime::Always, Some(most)) => text.push_str(&format!("; it stays until destroy, or for {most} h")),
        // A run that loses its instance gets a fresh one.
        (Lifetime::Run, Some(most)) => {
            let all = most * (1 + i64::from(FRESH_INSTANCES));
            text.push_str(&format!("; {all} if the run loses {FRESH_INSTANCES} instances"));
        }
        (Lifetime::Run, None) => {}
    }
    if price.is_some() && spec.types.iter().any(|other| *other != spec.r#type) {
        text.push_str(&format!("; the price is that of {} only", spec.r#type));
    }
    format!("{address}: {text}")
}

/// What the instance of a run has come to so far. That it cannot be read, or is not known any more, is said too.
pub async fn so_far(session: &Session, instance: &str) -> String {
    match machine_of(&session.aws, &session.stack.info, instance).await {
        Ok(Some(machine)) => match machine.seconds {
            Some(seconds) => {
                let price = price(&session.stack, machine.address.as_deref(), &machine.r#type);
                format!("{instance} ({}) since its launch: {}", machine.r#type, hours(seconds, price))
            }
            None => format!("how long {instance} has been there is not known"),
        },
        Ok(None) => format!("how long {instance} was there is not known any more"),
        Err(error) => format!("how long {instance} has been there could not be read ({error})"),
    }
}
