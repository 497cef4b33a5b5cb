//! Part of a plan: what a choice takes out of it leaves a plan that is sound by itself.

use seqstack::address::Link;
use seqstack::choose::{Choice, Pick, choose};

use super::*;

fn pick() -> impl Strategy<Value = Pick> {
    let kind = || prop::sample::select(KINDS.iter().map(|kind| kind.table()).collect::<Vec<_>>());
    prop_oneof![
        1 => kind().prop_map(|kind| Pick::Kind(kind.to_owned())),
        4 => (kind(), "[a-c]").prop_map(|(kind, name)| Pick::Address(Address::new(kind, name))),
    ]
}

prop_compose! {
    fn choice()(targets in prop::collection::vec(pick(), 0..3), excludes in prop::collection::vec(pick(), 0..3)) -> Choice {
        Choice { targets, excludes }
    }
}

/// What the stack file asks for after; none for destroy.
fn after() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.8, text())
}

fn wanted(after: &Option<String>) -> Desired {
    after.as_deref().map(desired).unwrap_or_default()
}

fn named(picks: &[Pick], at: &Address) -> bool {
    picks.iter().any(|pick| match pick {
        Pick::Kind(kind) => *kind == at.kind,
        Pick::Address(one) => one == at,
    })
}

fn at(plan: &Plan) -> BTreeSet<Address> {
    plan.steps.keys().map(|id| id.at.clone()).collect()
}

/// Links of live things to what is not there.
fn dangling(live: &Live) -> BTreeSet<String> {
    let there: BTreeSet<(&str, &String)> =
        live.found.values().flatten().flat_map(|one| one.ids.values().map(|id| (one.at.kind.as_str(), id))).collect();
    let all = live.found.values().flatten().flat_map(|one| links(&one.state).into_iter().map(|link| (&one.at, link)));
    all.filter_map(|(at, link)| match link {
        Link::Theirs { kind, id } if !there.contains(&(kind.as_str(), &id)) => Some(format!("{at} has {kind} {id}")),
        _ => None,
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chosen_plan_is_a_part_of_the_whole_closed_under_what_its_steps_wait_for(before in text(), after in after(), choice in choice()) {
        let (live, desired) = (applied(&before).live, wanted(&after));
        let whole = planned(&desired, &live).0;
        let chosen = choose(whole.clone(), &choice, &desired, &live);
        for (id, step) in &chosen.steps {
            // The very step, with all that it waits for.
            prop_assert_eq!(whole.steps.get(id), Some(step));
            prop_assert!(step.after.iter().all(|before| chosen.steps.contains_key(before)), "{} waits for what is left out", id);
            prop_assert!(!named(&choice.excludes, &id.at), "{} is touched", id);
        }
        let (all, in_it) = (at(&whole), at(&chosen));
        // A resource is in it whole, or not at all.
        prop_assert!(whole.steps.keys().all(|id| in_it.contains(&id.at) == chosen.steps.contains_key(id)));
        prop_assert_eq!(&chosen.left_out, &all.difference(&in_it).cloned().collect());
        // Nothing is left out for no reason.
        if choice.excludes.is_empty() {
            prop_assert!(all.iter().filter(|at| named(&choice.targets, at)).all(|at| in_it.contains(at)));
        }
        // What came uninvited, or did not come though it was asked for, is told.
        let told: BTreeSet<&Address> = chosen.notes.iter().map(|(at, _)| at).collect();
        let asked = |at: &Address| choice.targets.is_empty() || named(&choice.targets, at);
        for one in &all {
            let uninvited = in_it.contains(one) && !asked(one);
            let missed = !in_it.contains(one) && asked(one) && !named(&choice.excludes, one);
            prop_assert!(!(uninvited || missed) || told.contains(one), "{}", one);
        }
    }

    #[test]
    fn everything_as_a_target_is_no_target(before in text(), after in after()) {
        let (live, desired) = (applied(&before).live, wanted(&after));
        let whole = planned(&desired, &live).0;
        let targets = KINDS.iter().map(|kind| Pick::Kind(kind.table().to_owned())).collect();
        prop_assert_eq!(choose(whole.clone(), &Choice { targets, excludes: Vec::new() }, &desired, &live), whole.clone());
        prop_assert_eq!(choose(whole.clone(), &Choice::default(), &desired, &live), whole);
    }

    #[test]
    fn a_part_and_then_the_whole_is_the_whole_at_once(before in text(), after in after(), choice in choice()) {
        let (world, desired) = (RefCell::new(applied(&before)), wanted(&after));
        let live = world.borrow().live.clone();
        let (whole, differences) = planned(&desired, &live);
        let chosen = choose(whole, &choice, &desired, &live);
        let (_, clean) = carry_out(&world, &chosen, &differences, None);
        prop_assert!(clean);
        // Nothing was deleted under its holder: not but where the whole plan does so too (an instance whose groups are left
        // open keeps the one that it has).
        let live = world.borrow().live.clone();
        let at_once = RefCell::new(applied(&before));
        apply(&at_once, &desired, None);
        let (part, all) = (dangling(&live), dangling(&at_once.borrow().live));
        prop_assert!(part.is_subset(&all), "{:?}", part);
        // The same choice again finds nothing to do.
        let again = choose(planned(&desired, &live).0, &choice, &desired, &live);
        prop_assert_eq!(at(&again), BTreeSet::new());
        prop_assert_eq!(&again.left_out, &chosen.left_out);

        let (_, _, clean) = apply(&world, &desired, None);
        prop_assert!(clean);
        let left = super::differences(&desired, &world.borrow().live);
        prop_assert_eq!(left.by_address, BTreeMap::new());
        prop_assert_eq!(left.deposed, vec![]);
        let there: Vec<Address> = world.borrow().live.found.keys().cloned().collect();
        prop_assert_eq!(there, desired.0.keys().cloned().collect::<Vec<_>>());
    }
}
