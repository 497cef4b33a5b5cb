//! Whose a live resource is, and which is meant where several are at one address.

use super::*;

const GROUP: &str = "[stack]\nname = \"s\"\nregion = \"eu-west-2\"\n[security_group.a]\ndescription = \"p\"\ningress = [{ protocol = \"all\", security_group = \"a\" }]\n";

fn at() -> Address {
    Address::new("security_group", "a")
}

/// The same group once for each owner.
fn live(owners: &[Owner]) -> Live {
    let world = applied(GROUP);
    let one = &world.live.found[&at()][0];
    let found = owners.iter().enumerate().map(|(n, owner)| Found {
        ids: [("id".to_owned(), format!("sg-{n}"))].into(),
        owner: owner.clone(),
        ..one.clone()
    });
    Live { found: [(at(), found.collect())].into(), ..Live::default() }
}

/// The group with another description, which cannot change in place.
fn other() -> Desired {
    desired(&GROUP.replace("\"p\"", "\"q\""))
}

#[test]
fn all_that_is_ours_and_not_wanted_goes_and_nothing_else() {
    let somebody = Owner::Stack("x".to_owned());
    let live = live(&[Owner::Ours, Owner::Nobody, Owner::Adopted, somebody, Owner::Remains]);
    let (plan, differences) = planned(&Desired::default(), &live);
    let gone = differences.deposed.iter().map(|one| one.ids["id"].as_str());
    assert_eq!(gone.collect::<Vec<_>>(), ["sg-2", "sg-4"]);
    assert_eq!(differences.by_address.len(), 1);
    let verbs: Vec<Verb> = plan.steps.keys().map(|id| id.verb).collect();
    assert_eq!(verbs.iter().filter(|verb| **verb == Verb::Delete).count(), 2, "{verbs:?}");
    assert_eq!(verbs.len(), 3);
}

#[test]
fn what_is_not_ours_beside_ours_is_not_left_over() {
    let live = live(&[Owner::Ours, Owner::Nobody, Owner::Stack("x".to_owned()), Owner::Ours]);
    let (_, differences) = planned(&desired(GROUP), &live);
    let left_over = differences.deposed.iter().map(|one| one.ids["id"].as_str());
    assert_eq!(left_over.collect::<Vec<_>>(), ["sg-3"]);
}

#[test]
fn what_was_adopted_is_never_replaced() {
    let (plan, differences) = planned(&other(), &live(&[Owner::Adopted]));
    assert!(plan.steps.is_empty() && differences.by_address.is_empty(), "{:?}", plan.steps);
    assert!(plan.conflicts[0].why.contains("cannot change in place"), "{:?}", plan.conflicts);
}

#[test]
fn taking_over_is_offered_only_where_it_can_be_done() {
    let (plan, _) = planned(&desired(GROUP), &live(&[Owner::Nobody]));
    assert!(plan.conflicts[0].hint.contains("--adopt security_group.a"), "{:?}", plan.conflicts);
    assert!(plan.conflicts[0].adopting.iter().any(|change| change.path.starts_with("tags.")));
    let (plan, _) = planned(&other(), &live(&[Owner::Nobody]));
    assert!(plan.conflicts[0].hint.starts_with("it cannot be taken over, since its `"), "{:?}", plan.conflicts);
    assert!(plan.conflicts[0].adopting.is_empty());
}

#[test]
fn what_remains_of_an_old_one_is_cleared_away_beside_a_new_one_and_never_built_upon() {
    let (_, differences) = planned(&desired(GROUP), &live(&[Owner::Remains]));
    assert!(matches!(differences.by_address[&at()], Difference::Missing { .. }));
    let mut live = live(&[Owner::Ours, Owner::Remains]);
    let own = [("id".to_owned(), "id-security_group.a-1".to_owned())].into();
    live.found.get_mut(&at()).unwrap()[0].ids = own;
    let (_, differences) = planned(&desired(GROUP), &live);
    assert!(differences.by_address.is_empty(), "{:?}", differences.by_address);
    assert_eq!(differences.deposed[0].ids["id"], "sg-1");
}

#[test]
fn what_was_left_over_is_gone_in_what_is_rehearsed_and_what_was_taken_over_stays_so() {
    let mut live = live(&[Owner::Ours, Owner::Ours, Owner::Remains]);
    let own = [("id".to_owned(), "id-security_group.a-1".to_owned())].into();
    live.found.get_mut(&at()).unwrap()[0].ids = own;
    let next = rehearse(&live, &desired(GROUP), &differences(&desired(GROUP), &live));
    assert_eq!(next.found[&at()], live.found[&at()][..1]);

    let live = self::live(&[Owner::Nobody]);
    let scope = Scope { adopt: [at()].into(), ..Scope::default() };
    let taken = diff(&desired(GROUP), &live, &scope).unwrap();
    assert_eq!(rehearse(&live, &desired(GROUP), &taken).found[&at()][0].owner, Owner::Adopted);
}

#[test]
fn who_holds_another_goes_before_it_and_what_needs_no_call_to_go_has_no_step() {
    const PAIR: &str = "[stack]\nname = \"s\"\nregion = \"eu-west-2\"\n[security_group.a]\n\
                        [security_group.b]\ningress = [{ protocol = \"all\", security_group = \"a\" }]\n";
    let mut live = applied(PAIR).live;
    let uploaded = Found {
        at: Address::new("upload", "reads"),
        ids: Ids::new(),
        owner: Owner::Ours,
        state: serde_json::json!({ "bucket": "lab-reads", "objects": { "S1.fq": "aa" } }),
    };
    live.found.insert(uploaded.at.clone(), vec![uploaded]);
    let (plan, _) = planned(&Desired::default(), &live);
    let order = |(id, step): (&StepId, &seqstack::plan::Step)| {
        (id.at.to_string(), step.after.iter().map(|id| id.at.to_string()).collect::<Vec<_>>())
    };
    let (held, holder) = ("security_group.a".to_owned(), "security_group.b".to_owned());
    let order: Vec<_> = plan.steps.iter().map(order).collect();
    assert_eq!(order, [(held, vec![holder.clone()]), (holder, vec![])]);
}

#[test]
fn what_is_replaced_goes_when_its_holder_has_been_moved_off() {
    const PAIR: &str = "[stack]\nname = \"s\"\nregion = \"eu-west-2\"\n[security_group.a]\ndescription = \"p\"\n\
                        [security_group.b]\ningress = [{ protocol = \"all\", security_group = \"a\" }]\n";
    let live = applied(PAIR).live;
    let (plan, _) = planned(&desired(&PAIR.replace("\"p\"", "\"q\"")), &live);
    let order = |(id, step): (&StepId, &seqstack::plan::Step)| {
        let of = |id: &StepId| (id.at.name.clone(), id.verb);
        (of(id), step.after.iter().map(of).collect::<BTreeSet<_>>())
    };
    let order: BTreeMap<_, _> = plan.steps.iter().map(order).collect();
    let of = |name: &str, verb| (name.to_owned(), verb);
    assert_eq!(order[&of("b", Verb::Update)], [of("a", Verb::Create)].into());
    assert_eq!(order[&of("a", Verb::Delete)], [of("a", Verb::Create), of("b", Verb::Update)].into());
}

#[test]
fn what_goes_waits_for_its_holders_update_but_not_where_that_waits_for_what_comes_in_its_place() {
    let stack = |roles: &str, role: &str| {
        format!(
            "[stack]\nname = \"s\"\nregion = \"eu-west-2\"\n{roles}\n\
             [task_definition.t]\nimage = \"bwa:1\"\nmemory = 128\ntask_role = \"{role}\"\n"
        )
    };
    let role = |name: &str, key: &str| format!("[role.{name}]\ntrusts = \"ecs-tasks.amazonaws.com\"\n{key}\n");
    let live = applied(&stack(&role("a", ""), "a")).live;
    let after = |text: &str| {
        let (plan, _) = planned(&desired(text), &live);
        let of = |id: &StepId| (id.at.to_string(), id.verb);
        let gone = plan.steps.iter().find(|(id, _)| of(id) == ("role.a".to_owned(), Verb::Delete));
        let (_, step) = gone.unwrap_or_else(|| panic!("{:?}", plan.steps.keys()));
        assert!(
            plan.steps.keys().any(|id| of(id) == ("task_definition.t".to_owned(), Verb::Update)),
            "{:?}",
            plan.steps.keys()
        );
        step.after.iter().map(|id| id.at.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(after(&stack(&role("b", ""), "b")), ["task_definition.t"]);
    assert_eq!(after(&stack(&role("a", "name = \"another\""), "a")), Vec::<String>::new());
}
