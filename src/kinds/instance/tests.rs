use serde_json::{Value, json};

use super::*;
use crate::facts::{Facts, Image, InstanceType, Subnet};
use crate::kind::StackInfo;

const AMI: &str = "ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id";

fn at() -> Address {
    Address::new("instance", "worker").of(Some("NA12878"))
}

fn facts() -> Facts {
    let kind = |name: &str| InstanceType { architectures: vec![name.to_owned()], vcpus: 8, memory_mib: 65536, gpus: 0 };
    let subnet = |zone: &str| Subnet {
        vpc: "vpc-1".to_owned(),
        zone: zone.to_owned(),
        default: true,
        public: true,
        way: None,
        endpoints: false,
    };
    let image = |id: &str| Image {
        id: id.to_owned(),
        architecture: "x86_64".to_owned(),
        root_device: "/dev/xvda".to_owned(),
        size_gib: Some(30),
    };
    Facts {
        default_vpc: Some("vpc-1".to_owned()),
        images: [(AMI.to_owned(), image("ami-2")), ("ami-1".to_owned(), image("ami-1"))].into(),
        subnets: [("subnet-b".to_owned(), subnet("eu-west-2b")), ("subnet-a".to_owned(), subnet("eu-west-2a"))].into(),
        instance_types: ["r6i.2xlarge", "r5.2xlarge"]
            .map(|name| (name.to_owned(), kind("x86_64")))
            .into_iter()
            .chain([("r6g.2xlarge".to_owned(), kind("arm64"))])
            .collect(),
        ..Facts::default()
    }
}

fn lower(more: &Value) -> Result<State, String> {
    let mut spec = json!({
        "cluster": "main", "type": "r6i.2xlarge", "ami": AMI, "role": "instance", "key_pair": "ecs_key",
        "security_groups": ["ecs"], "lifetime": "run", "max_hours": 12,
        "volume": { "size_gib": 200 },
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let stack = StackInfo { name: "germline".to_owned(), region: "eu-west-2".to_owned(), ..StackInfo::default() };
    let (spec, facts) = (serde_json::from_value(spec).unwrap(), facts());
    Instance::lower(&at(), spec, &Context { stack: &stack, facts: &facts, sample: Some("NA12878") })
}

fn want() -> State {
    lower(&json!({})).unwrap()
}

/// What a launch of it is read back as.
fn launched(want: &State) -> State {
    let mut state = serde_json::to_value(want).unwrap();
    crate::address::settle(&mut state, &|to, part| Some(format!("{part}-of-{}", to.name)));
    let state: State = serde_json::from_value(state).unwrap();
    State {
        choices: Vec::new(),
        ami_behind: None,
        id: Some("i-1".to_owned()),
        launched: Some("2026-01-01T00:00:00Z".to_owned()),
        ..state
    }
}

fn settled(state: &State) -> State {
    State {
        choices: state.choices.clone(),
        ami_behind: state.ami_behind.clone(),
        id: None,
        launched: None,
        ..launched(state)
    }
}

fn kept(want: &State, live: &State) -> (State, Vec<String>) {
    let mut want = settled(want);
    let notes = Instance::keep(&mut want, live);
    (want, notes)
}

fn described(live: Option<&State>, want: Option<&State>) -> Vec<String> {
    Instance::calls(&at(), live, want).iter().map(Instance::describe).collect()
}

#[test]
fn a_launched_instance_is_what_was_wanted() {
    let live = launched(&want());
    let (want, notes) = kept(&want(), &live);
    assert_eq!(want, live);
    assert!(notes.is_empty());
    assert!(described(Some(&live), Some(&want)).is_empty());
    assert_eq!(described(Some(&live), None), ["ec2:TerminateInstances i-1"]);
}

#[test]
fn a_volume_that_the_account_has_encrypted_stays_and_is_told_of() {
    let open = lower(&json!({ "volume": { "size_gib": 30, "encrypted": false } })).unwrap();
    let mut live = launched(&open);
    live.volume.as_mut().unwrap().encrypted = true;
    let (want, notes) = kept(&open, &live);
    assert_eq!(want, live);
    assert_eq!(notes.len(), 1, "{notes:?}");
    // The other way round it is another volume.
    let (want, notes) = kept(&live, &launched(&open));
    assert_ne!(want, launched(&open));
    assert_eq!(notes, [""; 0]);
}

#[test]
fn another_subnet_or_type_that_was_allowed_is_no_difference_and_a_newer_ami_a_note() {
    let want = lower(&json!({ "types": ["r5.2xlarge"] })).unwrap();
    let mut live = launched(&want);
    (live.r#type, live.subnet, live.ami) = ("r5.2xlarge".to_owned(), "subnet-b".to_owned(), "ami-0".to_owned());
    let (same, notes) = kept(&want, &live);
    assert_eq!(same, live);
    assert_eq!(notes.len(), 1, "{notes:?}");
    // One that is replaced for another reason is launched with all that is known now.
    live.launch = "older".to_owned();
    let (other, _) = kept(&want, &live);
    assert_eq!((other.ami.as_str(), other.choices.len()), ("ami-2", 4));
}

#[test]
fn groups_that_are_left_open_stay_as_they_are_but_a_new_instance_does_not_take_them_over() {
    let live = launched(&want());
    let open = lower(&json!({ "security_groups": [] })).unwrap();
    assert_eq!(kept(&open, &live).0.security_groups, live.security_groups);
    let replaced = lower(&json!({ "security_groups": [], "cluster": "other" })).unwrap();
    assert!(kept(&replaced, &live).0.security_groups.is_empty());
}

#[test]
fn an_ami_that_was_pinned_is_a_difference() {
    let want = lower(&json!({ "ami": "ami-1" })).unwrap();
    let live = State { ami: "ami-0".to_owned(), ..launched(&want) };
    assert_eq!(kept(&want, &live).0.ami, "ami-1");
}

#[test]
fn a_moved_deadline_is_counted_from_the_launch() {
    let live = launched(&want());
    let (mut want, _) = kept(&want(), &live);
    want.max_hours = Some(36);
    let calls = Instance::calls(&at(), Some(&live), Some(&want));
    let Some(Call::CreateTags { tags, .. }) = calls.first() else { panic!("{calls:?}") };
    assert_eq!(tags[TAG_MAX_HOURS], "36");
    assert_eq!(tags[TAG_DEADLINE], "2026-01-02T12:00:00Z");
}

#[test]
fn another_architecture_and_a_zone_that_is_not_there_are_refused() {
    assert!(lower(&json!({ "type": "r6g.2xlarge" })).unwrap_err().contains("arm64"));
    assert!(lower(&json!({ "zones": ["eu-west-2c"] })).unwrap_err().contains("eu-west-2a, eu-west-2b"));
    assert_eq!(lower(&json!({ "zones": ["eu-west-2b"] })).unwrap().subnet, "subnet-b");
}

#[test]
fn a_token_is_the_launchs_own() {
    let (want, stack) = (settled(&want()), ("eu-west-2", "germline"));
    let choice = want.choices[0].clone();
    let until: jiff::Timestamp = "2026-01-01T12:05:00Z".parse().unwrap();
    let token = |at: &Address, generation| launch::token(stack, at, &choice, Some(until), generation);
    let first = token(&at(), 0);
    assert!(first.len() <= 64);
    assert_eq!(first, token(&at(), 0));
    assert_ne!(first, token(&at(), 1));
    assert_ne!(first, token(&at().of(Some("other")), 0));
    assert_ne!(first, launch::token(stack, &at(), &choice, None, 0));
}

#[test]
fn a_deadline_is_that_of_the_same_five_minutes_and_never_early() {
    let of = |now: &str| launch::deadline_of(now.parse().unwrap(), 2).to_string();
    assert_eq!(of("2026-01-01T00:00:01Z"), "2026-01-01T02:05:00Z");
    assert_eq!(of("2026-01-01T00:04:59.9Z"), "2026-01-01T02:05:00Z");
    assert_eq!(of("2026-01-01T00:05:00Z"), "2026-01-01T02:05:00Z");
    assert_eq!(of("2026-01-01T00:05:00.1Z"), "2026-01-01T02:10:00Z");
}

#[test]
fn volumes_that_ec2_refuses_only_at_the_launch_are_faults_of_the_file() {
    let faults = |volume: Value| -> Vec<String> {
        let spec = json!({ "cluster": "c", "type": "t3.large", "ami": AMI, "role": "r", "volume": volume });
        let spec: Spec = serde_json::from_value(spec).unwrap();
        Instance::check(&spec).into_iter().map(|fault| fault.key).collect()
    };
    let none = [""; 0];
    assert_eq!(faults(json!({ "size_gib": 65536 })), none);
    assert_eq!(faults(json!({ "size_gib": 200, "iops": 4000, "throughput": 1000 })), none);
    assert_eq!(faults(json!({ "size_gib": 160, "iops": 80000, "throughput": 2000 })), none);
    assert_eq!(faults(json!({ "size_gib": 8, "type": "io2", "iops": 8000 })), none);
    assert_eq!(faults(json!({ "size_gib": 500, "type": "st1" })), ["volume.type"]);
    assert_eq!(faults(json!({ "size_gib": 500, "type": "sc1" })), ["volume.type"]);
    assert_eq!(faults(json!({ "size_gib": 20000, "type": "gp2" })), ["volume.size_gib"]);
    assert_eq!(faults(json!({ "size_gib": 200, "iops": 2999 })), ["volume.iops"]);
    assert_eq!(faults(json!({ "size_gib": 30, "iops": 16000 })), ["volume.iops"]);
    assert_eq!(faults(json!({ "size_gib": 30, "type": "io1", "iops": 1501 })), ["volume.iops"]);
    assert_eq!(faults(json!({ "size_gib": 200, "throughput": 751 })), ["volume.throughput"]);
}

#[test]
fn a_volume_is_at_least_as_large_as_the_amis() {
    let mut facts = facts();
    facts.images.get_mut(AMI).unwrap().size_gib = Some(50);
    let stack = StackInfo::default();
    let lower = |volume: Value| {
        let spec = json!({ "cluster": "c", "type": "r6i.2xlarge", "ami": AMI, "role": "r", "volume": volume });
        let cx = Context { stack: &stack, facts: &facts, sample: None };
        Instance::lower(&at(), serde_json::from_value(spec).unwrap(), &cx).map(|state| state.volume.unwrap().size_gib)
    };
    assert_eq!((lower(Value::Null), lower(json!({ "size_gib": 50 }))), (Ok(50), Ok(50)));
    assert!(lower(json!({ "size_gib": 49 })).unwrap_err().contains("itself has 50 GiB"));
}

#[test]
fn a_folder_that_a_living_instance_lacks_replaces_it_and_one_that_is_wanted_no_more_does_not() {
    let mut want = want();
    want.folders = [("/a".to_owned(), "1000:1000 0755".to_owned())].into();
    let live = launched(&want);
    want.folders.clear();
    assert_eq!(kept(&want, &live).0, live);
    want.folders = [("/b".to_owned(), "1000:1000 0755".to_owned())].into();
    assert_ne!(kept(&want, &live).0.folders, live.folders);
    assert!(Instance::FIXED.contains(&"folders"));
}
