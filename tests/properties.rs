//! Properties of the core over random stacks, each read from text by the real reader and lowered by the real kinds.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use seqstack::address::{Address, Ids, links, settle};
use seqstack::desired::{Desired, lower};
use seqstack::diff::{Difference, Differences, Scope, diff};
use seqstack::event::{Event, Failure};
use seqstack::execute::{Performer, execute};
use seqstack::facts::{Facts, Image, InstanceType, LocalFile, Subnet};
use seqstack::kind::{Context, Found, KINDS, Owner, kind};
use seqstack::live::Live;
use seqstack::plan::{Phase, Plan, StepId, Verb, Why, plan};
use seqstack::rehearse::{ids, rehearse};
use seqstack::run::spec::RunSpec;
use seqstack::stack::{Request, Stack};
use serde_json::Value;

#[path = "properties/carrying_out.rs"]
mod carrying_out;
#[path = "properties/choosing.rs"]
mod choosing;
#[path = "properties/owners.rs"]
mod owners;

// ---------- random stacks, as text

prop_compose! {
    fn role()(attach in prop::collection::btree_set("[A-C]", 0..3), profile in any::<bool>(), read in any::<bool>(), write in any::<bool>(), seconds in prop::option::of(3600..43200_i64)) -> String {
        let attach: Vec<_> = attach.iter().map(|one| format!("\"service-role/{one}\"")).collect();
        let mut text = format!("trusts = \"ec2.amazonaws.com\"\nattach = [{}]\ninstance_profile = {profile}\n", attach.join(", "));
        if read { text.push_str("read = [\"reads\"]\n") }
        if write { text.push_str("write = [\"results\"]\n") }
        if let Some(seconds) = seconds { text.push_str(&format!("session_seconds = {seconds}\n")) }
        text
    }
}
prop_compose! {
    fn group()(description in "[p-r]", ports in prop::collection::btree_set(20..26_u16, 0..3)) -> String {
        let rules: Vec<_> = ports.iter().map(|port| format!("{{ protocol = \"tcp\", port = {port}, cidr = \"203.0.113.0/24\" }}")).collect();
        format!("description = \"{description}\"\ningress = [{}]\n", rules.join(", "))
    }
}
prop_compose! {
    fn log_group()(days in prop::option::of(prop::sample::select(vec![1, 7, 30, 90]))) -> String {
        days.map_or_else(String::new, |days| format!("retention_days = {days}\n"))
    }
}
prop_compose! {
    fn definition()(image in "[x-z]", memory in 128..300_i64, role in prop::option::of("[a-c]"), group in prop::option::of("[a-c]")) -> (String, Option<String>, Option<String>) {
        (format!("image = \"{image}:1\"\nmemory = {memory}\ncpu = 256\n"), role, group)
    }
}
prop_compose! {
    fn instance()(cluster in "[a-c]", role in "[a-c]", groups in prop::collection::btree_set("[a-c]", 0..3), size in 30..33_i64, hours in 1..4_i64) -> (String, String, BTreeSet<String>, String) {
        (cluster, role, groups, format!("type = \"t3.large\"\nami = \"ami-0123456789abcdef0\"\nmax_hours = {hours}\nvolume = {{ size_gib = {size}, type = \"gp3\" }}\n"))
    }
}
prop_compose! {
    fn text()(
        tag in "[s-u]",
        roles in prop::collection::btree_map("[a-c]", role(), 0..4),
        groups in prop::collection::btree_map("[a-c]", group(), 0..4),
        logs in prop::collection::btree_map("[a-c]", log_group(), 0..4),
        clusters in prop::collection::btree_set("[a-c]", 0..4),
        definitions in prop::collection::btree_map("[a-c]", definition(), 0..4),
        instances in prop::collection::btree_map("[a-c]", instance(), 0..4),
    ) -> String {
        let mut out = format!("[stack]\nname = \"s\"\nregion = \"eu-west-2\"\ntags = {{ project = \"{tag}\" }}\n[bucket.reads]\nname = \"lab-reads\"\n[bucket.results]\nname = \"lab-results\"\n");
        for (name, body) in &roles { out.push_str(&format!("[role.{name}]\n{body}")) }
        for (name, body) in &groups { out.push_str(&format!("[security_group.{name}]\n{body}")) }
        for (name, body) in &logs { out.push_str(&format!("[log_group.{name}]\n{body}")) }
        for name in &clusters { out.push_str(&format!("[cluster.{name}]\n")) }
        for (name, (body, role, group)) in &definitions {
            out.push_str(&format!("[task_definition.{name}]\n{body}"));
            if let Some(role) = role.as_ref().filter(|role| roles.contains_key(*role)) { out.push_str(&format!("execution_role = \"{role}\"\n")) }
            if let Some(group) = group.as_ref().filter(|group| logs.contains_key(*group)) { out.push_str(&format!("log_group = \"{group}\"\n")) }
        }
        for (name, (cluster, role, wanted, body)) in &instances {
            let profile = roles.get(role).is_some_and(|body| body.contains("instance_profile = true"));
            if !clusters.contains(cluster) || !profile { continue }
            let members: Vec<_> = wanted.iter().filter(|group| groups.contains_key(*group)).map(|group| format!("\"{group}\"")).collect();
            out.push_str(&format!("[instance.{name}]\ncluster = \"{cluster}\"\nrole = \"{role}\"\nsecurity_groups = [{}]\n{body}", members.join(", ")));
        }
        out
    }
}

fn facts() -> Facts {
    Facts {
        account: "123456789012".into(),
        partition: "aws".into(),
        identity: "arn:aws:iam::123456789012:user/test".into(),
        region: "eu-west-2".into(),
        images: [(
            "ami-0123456789abcdef0".to_owned(),
            Image {
                id: "ami-0123456789abcdef0".into(),
                architecture: "x86_64".into(),
                root_device: "/dev/xvda".into(),
                size_gib: Some(30),
            },
        )]
        .into(),
        default_vpc: Some("vpc-1".into()),
        subnets: [(
            "subnet-1".to_owned(),
            Subnet {
                vpc: "vpc-1".into(),
                zone: "eu-west-2a".into(),
                default: true,
                public: true,
                way: None,
                endpoints: false,
            },
        )]
        .into(),
        instance_types: [(
            "t3.large".to_owned(),
            InstanceType { architectures: vec!["x86_64".into()], vcpus: 2, memory_mib: 8192, gpus: 0 },
        )]
        .into(),
        files: [("x".to_owned(), LocalFile { path: "/x".to_owned(), size: 1, sha256: "aa".to_owned() })].into(),
        ..Facts::default()
    }
}

fn stack(text: &str) -> Stack {
    let request = Request { sample: None, set: &[], needs_sample: false };
    let mut stack = match Stack::parse(Path::new("s.toml"), text, &request) {
        Ok(stack) => stack,
        Err(faults) => panic!("{}\n{text}", faults.render(false)),
    };
    stack.info.region = "eu-west-2".into();
    stack
}

fn desired(text: &str) -> Desired {
    let (stack, facts) = (stack(text), facts());
    let cx = Context { stack: &stack.info, facts: &facts, sample: None };
    lower(&stack, &cx, |_| true).expect("the facts make every random stack possible")
}

fn differences(desired: &Desired, live: &Live) -> Differences {
    diff(desired, live, &Scope::default()).expect("kinds link in one direction only")
}

fn planned(desired: &Desired, live: &Live) -> (Plan, Differences) {
    let differences = differences(desired, live);
    (plan(Phase::Converge, differences.clone(), &|_| Why::NotInStack), differences)
}

// ---------- a world to run plans in: a step takes effect as a whole, or not at all

#[derive(Default)]
struct World {
    live: Live,
    minted: usize,
}

impl World {
    fn apply(&mut self, id: &StepId, differences: &Differences) -> Ids {
        let found = self.live.found.entry(id.at.clone()).or_default();
        match (id.verb, differences.by_address.get(&id.at)) {
            (Verb::Delete, _) => {
                let gone = match (&id.deposed, differences.by_address.get(&id.at)) {
                    (None, Some(Difference::Extra { found } | Difference::Changed { found, .. })) => found.ids.clone(),
                    _ => differences
                        .deposed
                        .iter()
                        .find(|one| Some(seqstack::diff::name(one)) == id.deposed)
                        .expect("a deposed one")
                        .ids
                        .clone(),
                };
                found.retain(|one| one.ids != gone);
                if found.is_empty() {
                    self.live.found.remove(&id.at);
                }
                Ids::new()
            }
            (Verb::Create, Some(Difference::Missing { want } | Difference::Changed { want, .. })) => {
                self.minted += 1;
                let parts = kind(&id.at.kind).expect("a kind").parts();
                let mut ids: Ids = parts
                    .iter()
                    .map(|part| ((*part).to_owned(), format!("{part}-{}-{}", id.at, self.minted)))
                    .collect();
                ids.extend(kind(&id.at.kind).expect("a kind").named(want));
                let state = kind(&id.at.kind).expect("a kind").made(want, &ids);
                found.push(Found { at: id.at.clone(), ids: ids.clone(), owner: Owner::Ours, state });
                self.settle();
                ids
            }
            (Verb::Update, Some(Difference::Changed { want, found: old, .. })) => {
                let one = found.iter_mut().find(|one| one.ids == old.ids).expect("what is updated is there");
                // A task definition's update is a new revision, hence a new id.
                if id.at.kind == "task_definition" && one.ids.contains_key("arn") {
                    self.minted += 1;
                    one.ids.insert("arn".into(), format!("arn-{}-{}", id.at, self.minted));
                }
                one.state = kind(&id.at.kind).expect("a kind").made(want, &one.ids);
                self.settle();
                Ids::new()
            }
            (verb, difference) => panic!("{verb:?} of {difference:?}"),
        }
    }

    /// AWS knows ids only.
    fn settle(&mut self) {
        // The newest at an address is the one that links mean.
        let known: BTreeMap<Address, Ids> =
            self.live.found.iter().filter_map(|(at, all)| Some((at.clone(), all.last()?.ids.clone()))).collect();
        for (at, all) in &mut self.live.found {
            for one in all {
                settle(&mut one.state, &|to, part| known.get(to)?.get(part).cloned());
                one.state = kind(&at.kind).expect("a kind").normal(one.state.clone());
            }
        }
    }
}

struct Actor<'a> {
    world: &'a RefCell<World>,
    plan: &'a Plan,
    differences: &'a Differences,
    begun: RefCell<BTreeMap<StepId, usize>>,
    /// The n-th step to end fails, either before it took effect or after.
    fault: Option<(usize, bool)>,
    ended: RefCell<usize>,
}

impl Actor<'_> {
    fn step(&self, at: &Address, call: &Value) -> StepId {
        let mut matching = self.plan.steps.iter().filter(|(id, step)| {
            id.at == *at && step.calls.len() > *self.begun.borrow().get(*id).unwrap_or(&0) && {
                let made = *self.begun.borrow().get(*id).unwrap_or(&0);
                kind(&at.kind).expect("a kind").describe(&step.calls[made]).split(' ').next()
                    == kind(&at.kind).expect("a kind").describe(call).split(' ').next()
            }
        });
        matching.next().map(|(id, _)| id.clone()).expect("the call is one of the plan's")
    }
}

impl Performer for Actor<'_> {
    async fn call(&self, at: &Address, call: Value) -> Result<Ids, Failure> {
        assert!(links(&call).iter().all(|link| link.id().is_ok()), "a call with an id that nobody knows: {call}");
        let id = self.step(at, &call);
        let made = {
            let mut begun = self.begun.borrow_mut();
            let made = begun.entry(id.clone()).or_default();
            *made += 1;
            *made
        };
        // Effects come with the first call of a create (ids become known) and the last of anything else.
        let (first, last) = (made == 1, made == self.plan.steps[&id].calls.len());
        let takes_effect = if id.verb == Verb::Create { first } else { last };
        if !takes_effect {
            return Ok(Ids::new());
        }
        let nth = {
            let mut ended = self.ended.borrow_mut();
            *ended += 1;
            *ended - 1
        };
        let failure =
            Failure { call: String::new(), error: "injected".into(), left: String::new(), hint: None, ended: false };
        match self.fault {
            Some((n, false)) if n == nth => Err(failure),
            Some((n, true)) if n == nth => {
                self.world.borrow_mut().apply(&id, self.differences);
                Err(failure)
            }
            _ => Ok(self.world.borrow_mut().apply(&id, self.differences)),
        }
    }
    fn describe(&self, at: &Address, call: &Value) -> String {
        kind(&at.kind).expect("a kind").describe(call)
    }
    async fn run(&self, _: RunSpec) -> Result<(), Failure> {
        unreachable!("no pipeline in these stacks")
    }
}

/// Applies; gives what happened, in order.
fn apply(world: &RefCell<World>, desired: &Desired, fault: Option<(usize, bool)>) -> (Plan, Vec<Event>, bool) {
    let (plan, differences) = planned(desired, &world.borrow().live.clone());
    let (events, clean) = carry_out(world, &plan, &differences, fault);
    (plan, events, clean)
}

/// Carries out a plan, or a part of one.
fn carry_out(
    world: &RefCell<World>,
    plan: &Plan,
    differences: &Differences,
    fault: Option<(usize, bool)>,
) -> (Vec<Event>, bool) {
    assert_eq!(plan.conflicts, vec![]);
    let actor = Actor { world, plan, differences, begun: RefCell::default(), fault, ended: RefCell::default() };
    let events = RefCell::new(Vec::new());
    let outcome = futures_util::FutureExt::now_or_never(execute(
        plan,
        &actor,
        &|event| events.borrow_mut().push(event),
        &AtomicBool::new(false),
    ))
    .expect("nothing here waits");
    (events.into_inner(), outcome.clean())
}

fn applied(text: &str) -> World {
    let world = RefCell::default();
    let (_, _, clean) = apply(&world, &desired(text), None);
    assert!(clean);
    world.into_inner()
}

/// SEQSTACK_CASES=n asks for more.
fn cases() -> u32 {
    std::env::var("SEQSTACK_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_the_same_twice(before in text(), after in text()) {
        let world = applied(&before);
        let once = planned(&desired(&after), &world.live).0;
        let twice = planned(&desired(&after), &world.live).0;
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn nothing_is_left_to_do_after_a_rehearsal(before in text(), after in text()) {
        let world = applied(&before);
        let desired = desired(&after);
        let first = differences(&desired, &world.live);
        let next = rehearse(&world.live, &desired, &first);
        let again = differences(&desired, &next);
        prop_assert_eq!(again.by_address, BTreeMap::new());
        prop_assert_eq!(again.deposed, vec![]);
        prop_assert!(ids(&next).len() <= desired.0.len());
    }

    #[test]
    fn every_step_runs_once_and_after_what_it_waits_for(before in text(), after in text()) {
        let world = RefCell::new(applied(&before));
        let (plan, events, clean) = apply(&world, &desired(&after), None);
        prop_assert!(clean);
        let mut done = BTreeSet::new();
        for event in events {
            match event {
                Event::Started { step } => prop_assert!(plan.steps[&step].after.iter().all(|before| done.contains(before)), "{} began too early", step),
                Event::Done { step } => prop_assert!(done.insert(step)),
                _ => {}
            }
        }
        prop_assert_eq!(done.len(), plan.steps.len());
        let left = differences(&desired(&after), &world.borrow().live);
        prop_assert_eq!(left.by_address, BTreeMap::new());
        prop_assert_eq!(left.deposed, vec![]);
    }

    #[test]
    fn one_fault_anywhere_and_a_second_apply_converges(before in text(), after in text(), nth in 0..8_usize, took_effect in any::<bool>()) {
        let world = RefCell::new(applied(&before));
        let desired = desired(&after);
        apply(&world, &desired, Some((nth, took_effect)));
        let (_, _, clean) = apply(&world, &desired, None);
        prop_assert!(clean);
        let left = differences(&desired, &world.borrow().live);
        prop_assert_eq!(left.by_address, BTreeMap::new());
        prop_assert_eq!(left.deposed, vec![]);
    }

    #[test]
    fn destroying_leaves_nothing(before in text()) {
        let world = RefCell::new(applied(&before));
        let (_, _, clean) = apply(&world, &Desired::default(), None);
        prop_assert!(clean);
        prop_assert_eq!(&world.borrow().live.found, &BTreeMap::new());
    }
}

#[test]
fn every_path_named_as_fixed_exists_in_its_kinds_state() {
    let text = "[stack]\nname = \"s\"\nregion = \"eu-west-2\"\n[bucket.b]\nname = \"lab-b\"\n[role.r]\ntrusts = \"ec2.amazonaws.com\"\ninstance_profile = true\n[key_pair.k]\n[security_group.g]\ndescription = \"d\"\n[log_group.l]\n[cluster.c]\n[task_definition.t]\nimage = \"i:1\"\ncpu = 256\nmemory = 256\n[instance.i]\ncluster = \"c\"\nrole = \"r\"\nkey_pair = \"k\"\ntype = \"t3.large\"\nami = \"ami-0123456789abcdef0\"\nmax_hours = 1\nvolume = { size_gib = 30, type = \"gp3\" }\n[upload.u]\nbucket = \"b\"\nfiles = [\"x\"]\n";
    let desired = desired(text);
    for kind in KINDS {
        let (at, state) = desired
            .0
            .iter()
            .find(|(at, _)| at.kind == kind.table())
            .unwrap_or_else(|| panic!("a {} in the stack", kind.table()));
        for path in kind.fixed() {
            let pointer = format!("/{}", path.replace('.', "/"));
            assert!(state.pointer(&pointer).is_some(), "{at} has no {path}: {state}");
        }
    }
}

#[test]
fn each_resource_that_cannot_be_is_told_with_why() {
    let long = ["a", "b"].map(|letter| letter.repeat(60));
    let roles = long.iter().map(|name| format!("[role.{name}]\ntrusts = \"ec2.amazonaws.com\"\n"));
    let text = format!("[stack]\nname = \"some-lab\"\nregion = \"eu-west-2\"\n{}", roles.collect::<String>());
    let (stack, facts) = (stack(&text), facts());
    let wrong = lower(&stack, &Context { stack: &stack.info, facts: &facts, sample: None }, |_| true).unwrap_err();
    assert_eq!(wrong.iter().map(|(at, _)| at.name.clone()).collect::<Vec<_>>(), long);
    assert!(wrong.iter().all(|(_, why)| why.contains("longer than IAM's 64 characters")), "{wrong:?}");
}
