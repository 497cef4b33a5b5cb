//! Saved plans: applied exactly as they are, or refused with what has moved since, and nothing changed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use seqstack::address::{Address, Ids};
use seqstack::aws::Aws;
use seqstack::cli::{Consent, Wish};
use seqstack::command::session::Session;
use seqstack::command::{Exit, Problem, apply, prepare, saved};
use seqstack::saved::{Moved, Request, SCHEMA, Saved, Unusable, is_saved, moved};

mod lab;
use lab::{Lab, STACK, wish, yes};

/// The lab's stack with an instance that stays and a group that nobody uses.
fn stack() -> String {
    STACK
        .replace("lifetime        = \"run\"", "lifetime        = \"always\"")
        .replace("[cluster.main]", "[security_group.spare]\ndescription = \"spare\"\n[cluster.main]")
}

/// The lab's stack with a variable that is a secret.
fn with_secret() -> String {
    lab::edited("image = \"tool:1\"", "image = \"tool:1\"\nenvironment = { TOKEN = { secret = \"ssm:/lab/token\" } }")
}

/// The same with one thing to change.
fn changed() -> String {
    stack().replace("retention_days = 7", "retention_days = 14")
}

fn request() -> Request {
    Request { set: Vec::new(), region: None, wish: wish() }
}

async fn save(session: &Session) -> Saved {
    let prepared = prepare::converge(session, &wish(), "plan").await.unwrap_or_else(|problem| panic!("{problem}"));
    saved::of(session, &request(), &prepared)
}

async fn saved_plan(lab: &Lab, text: &str) -> Saved {
    save(&lab.session(text, None, true)).await
}

async fn apply_saved(lab: &Lab, text: &str, saved: &Saved) -> Result<Exit, Problem> {
    apply::apply_saved(&lab.session(text, None, true), saved, &yes()).await
}

/// A lab whose stack is applied, and the plan of one more change to it.
async fn settled() -> (Lab, Saved) {
    let lab = Lab::new();
    assert_eq!(lab.apply(&stack()).await, Exit::Done);
    let saved = saved_plan(&lab, &changed()).await;
    (lab, saved)
}

/// What somebody does to the account behind a plan's back.
type Drift = fn(&Lab, Aws, BTreeMap<Address, Ids>) -> std::pin::Pin<Box<dyn Future<Output = ()>>>;

macro_rules! drift {
    (|$lab:pat_param, $aws:pat_param, $id:ident| $body:expr) => {
        |lab: &Lab, aws: Aws, ids: BTreeMap<Address, Ids>| {
            let sandbox = lab.sandbox.clone();
            Box::pin(async move {
                let $id = |at: &str, part: &str| ids[&at.parse::<Address>().unwrap()][part].clone();
                let $lab = sandbox;
                let $aws = aws;
                $body;
            })
        }
    };
}

/// Each with what the refusal must say.
const DRIFTS: &[(&str, &[&str], Drift)] = &[
    (
        "a rule added",
        &["update security_group.ecs: new", "ingress", "198.51.100.0/24"],
        drift!(|_, aws, id| {
            let request = aws.ec2.authorize_security_group_ingress().group_id(id("security_group.ecs", "id"));
            let rule = aws_sdk_ec2::types::IpPermission::builder()
                .ip_protocol("tcp")
                .from_port(443)
                .to_port(443)
                .ip_ranges(aws_sdk_ec2::types::IpRange::builder().cidr_ip("198.51.100.0/24").build());
            request.ip_permissions(rule.build()).send().await.unwrap();
        }),
    ),
    (
        "a rule removed",
        &["update security_group.ecs: new", "ingress", "203.0.113.0/24"],
        drift!(|_, aws, id| {
            let request = aws.ec2.revoke_security_group_ingress().group_id(id("security_group.ecs", "id"));
            let rule = aws_sdk_ec2::types::IpPermission::builder()
                .ip_protocol("tcp")
                .from_port(22)
                .to_port(22)
                .ip_ranges(aws_sdk_ec2::types::IpRange::builder().cidr_ip("203.0.113.0/24").build());
            request.ip_permissions(rule.build()).send().await.unwrap();
        }),
    ),
    (
        "a policy edited",
        &["update role.input: new", "s3:*"],
        drift!(|_, aws, id| {
            let arn = id("role.input", "arn").replace(":role/", ":policy/") + "_policy";
            let document =
                r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
            let request = aws.iam.create_policy_version().policy_arn(arn).policy_document(document);
            request.set_as_default(true).send().await.unwrap();
        }),
    ),
    (
        "an attachment removed",
        &["update role.execution: new", "AmazonECSTaskExecutionRolePolicy"],
        drift!(|_, aws, id| {
            let arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy";
            let request = aws.iam.detach_role_policy().role_name(id("role.execution", "name"));
            request.policy_arn(arn).send().await.unwrap();
        }),
    ),
    (
        "a tag changed",
        &["update role.input: new", "tags.project: live theirs, to be ngs"],
        drift!(|_, aws, id| {
            let tag = aws_sdk_iam::types::Tag::builder().key("project").value("theirs").build().unwrap();
            aws.iam.tag_role().role_name(id("role.input", "name")).tags(tag).send().await.unwrap();
        }),
    ),
    (
        "a retention changed",
        &["update log_group.pipeline: differs", "changes.retention_days.live: then 7, now 30"],
        drift!(|_, aws, id| {
            let request = aws.logs.put_retention_policy().log_group_name(id("log_group.pipeline", "name"));
            request.retention_in_days(30).send().await.unwrap();
        }),
    ),
    (
        "a retention changed to what was wanted",
        &["update log_group.pipeline: not needed any more"],
        drift!(|_, aws, id| {
            let request = aws.logs.put_retention_policy().log_group_name(id("log_group.pipeline", "name"));
            request.retention_in_days(14).send().await.unwrap();
        }),
    ),
    (
        "an instance terminated",
        &["create instance.worker: new: is not there"],
        drift!(|_, aws, id| {
            aws.ec2.terminate_instances().instance_ids(id("instance.worker", "id")).send().await.unwrap();
        }),
    ),
    (
        "a group deleted",
        &["create security_group.spare: new: is not there"],
        drift!(|_, aws, id| {
            aws.ec2.delete_security_group().group_id(id("security_group.spare", "id")).send().await.unwrap();
        }),
    ),
    (
        "a log group deleted",
        &["update log_group.pipeline: not needed any more", "create log_group.pipeline: new"],
        drift!(|_, aws, id| {
            aws.logs.delete_log_group().log_group_name(id("log_group.pipeline", "name")).send().await.unwrap();
        }),
    ),
    (
        "a task definition revision registered by hand",
        &["task_definition.tool", "image", "theirs:2"],
        drift!(|_, aws, id| {
            let container =
                aws_sdk_ecs::types::ContainerDefinition::builder().name("tool").image("theirs:2").memory(64);
            let request = aws.ecs.register_task_definition().family(id("task_definition.tool", "family"));
            let tag = |key: &str, value: &str| aws_sdk_ecs::types::Tag::builder().key(key).value(value).build();
            request
                .container_definitions(container.build())
                .tags(tag("seqstack:stack", "lab"))
                .tags(tag("seqstack:region", "eu-west-2"))
                .tags(tag("seqstack:address", "task_definition.tool"))
                .send()
                .await
                .unwrap();
        }),
    ),
    (
        "a key pair deleted",
        &["create key_pair.key: new: is not there"],
        drift!(|_, aws, id| {
            aws.ec2.delete_key_pair().key_name(id("key_pair.key", "name")).send().await.unwrap();
        }),
    ),
    (
        "an input object changed",
        &["run pipeline.run[S1]: new: is due", "S1.fq"],
        drift!(|sandbox, _, id| {
            let _ = id;
            sandbox.put_object("lab-reads", "S1.fq", "other reads".into()).unwrap();
        }),
    ),
    (
        "an output deleted",
        &["run pipeline.run[S1]: new: is due", "S1/S1.vcf is missing"],
        drift!(|_, aws, id| {
            let _ = id;
            aws.s3.delete_object().bucket("lab-results").key("S1/S1.vcf").send().await.unwrap();
        }),
    ),
];

#[tokio::test(start_paused = true)]
async fn a_saved_plan_is_refused_after_any_drift_and_nothing_is_changed() {
    for (name, told, drift) in DRIFTS {
        let (lab, saved) = settled().await;
        let ids = lab.plan(&changed()).await.plan.ids;
        drift(&lab, lab.aws(), ids).await;
        // What is being ended has ended.
        tokio::time::sleep(std::time::Duration::from_secs(120)).await;
        let before = lab.mutations();
        let refused = apply_saved(&lab, &changed(), &saved).await;
        let problem = refused.err().unwrap_or_else(|| panic!("{name}: applied"));
        println!("after {name}:\n{problem}\n");
        assert_eq!(problem.exit, Exit::Failed, "{name}");
        assert!(problem.text.contains("nothing was changed"), "{name}: {problem}");
        for part in *told {
            assert!(problem.text.contains(part), "{name}: no `{part}` in: {problem}");
        }
        assert!(!problem.text.contains("the plan: differs"), "{name}: what differs is told by its name: {problem}");
        assert_eq!(lab.mutations(), before, "{name}: {problem}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_saved_plan_is_applied_where_nothing_has_moved_with_exactly_its_calls() {
    let (lab, saved) = settled().await;
    let saved = Saved::from_text(saved.to_text().unwrap().as_bytes()).unwrap();
    let before = lab.mutations();
    assert_eq!(apply_saved(&lab, &changed(), &saved).await.unwrap(), Exit::Done);
    let mut after = lab.mutations();
    for (name, times) in before {
        *after.get_mut(&name).unwrap() -= times;
    }
    after.retain(|_, times| *times > 0);
    assert_eq!(after, BTreeMap::from([("logs:PutRetentionPolicy".to_owned(), 1)]));
    // Once it is done, it is not what has to be done any more.
    let again = apply_saved(&lab, &changed(), &saved).await.err().unwrap();
    assert!(again.text.contains("update log_group.pipeline: not needed any more"), "{again}");
}

#[tokio::test(start_paused = true)]
async fn another_thing_under_the_same_address_has_moved_although_no_step_is_about_it() {
    let (_, saved) = settled().await;
    let mut now = saved.clone();
    let at: Address = "cluster.main".parse().unwrap();
    now.plan.ids.get_mut(&at).unwrap().insert("arn".to_owned(), "another".to_owned());
    assert!(saved.plan.steps.keys().all(|id| id.at != at));
    assert_eq!(moved(&saved, &saved), []);
    let moved = moved(&saved, &now);
    assert!(matches!(moved.as_slice(), [Moved::Differs { what, .. }] if what == "cluster.main"), "{moved:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cold_plan_with_its_run_is_applied_from_its_file_or_refused_for_another_input_or_a_taken_name() {
    let (warm, cold) = (Lab::new(), Lab::new());
    let saved = saved_plan(&cold, STACK).await;
    assert_eq!(saved, saved_plan(&warm, STACK).await, "the same plan of the same account");

    cold.sandbox.put_object("lab-reads", "S1.fq", "other reads".into()).unwrap();
    let problem = apply_saved(&cold, STACK, &saved).await.err().unwrap();
    assert!(problem.text.contains("~ the run: differs"), "{problem}");
    assert!(problem.text.contains("inputs.s3://lab-reads/S1.fq"), "{problem}");
    assert_eq!(cold.mutations().values().sum::<usize>(), 0);

    cold.sandbox.put_object("lab-reads", "S1.fq", "content of S1.fq".into()).unwrap();
    let trusts = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    let role = cold.aws().iam.create_role().role_name("lab-input").assume_role_policy_document(trusts);
    role.send().await.unwrap();
    let problem = apply_saved(&cold, STACK, &saved).await.err().unwrap();
    assert!(problem.text.contains("! role.input: in the way now: lab-input exists already"), "{problem}");
    cold.aws().iam.delete_role().role_name("lab-input").send().await.unwrap();

    assert_eq!(apply_saved(&cold, STACK, &saved).await.unwrap(), Exit::Done);
    assert_eq!(cold.started(), ["pull S1", "call S1", "push S1"]);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_was_not_there_is_not_overwritten_by_a_saved_plan() {
    let lab = Lab::new();
    let saved = saved_plan(&lab, STACK).await;
    let (bucket, key) = ("lab-results", "S1/S1.vcf");
    for theirs in ["made by hand", "made by hand once more"] {
        lab.sandbox.put_object(bucket, key, theirs.into()).unwrap();
        let problem = apply_saved(&lab, STACK, &saved).await.err().unwrap();
        assert!(problem.text.contains("outputs.s3://lab-results/S1/S1.vcf: then (none), now "), "{problem}");
        assert_eq!(lab.mutations().values().sum::<usize>(), 0);
    }
    // Whoever saves a plan now has been told of it, but of that one only.
    let saved = saved_plan(&lab, STACK).await;
    lab.sandbox.put_object(bucket, key, "another".into()).unwrap();
    let problem = apply_saved(&lab, STACK, &saved).await.err().unwrap();
    assert!(problem.text.contains("outputs.s3://lab-results/S1/S1.vcf"), "{problem}");
    lab.sandbox.put_object(bucket, key, "made by hand once more".into()).unwrap();
    let problem = apply_saved(&lab, STACK, &saved).await.err().unwrap();
    assert!(problem.hint.unwrap().contains("--overwrite"));
    let (session, consent) = (lab.session(STACK, None, true), Consent { overwrite: true, ..lab::yes() });
    assert_eq!(apply::apply_saved(&session, &saved, &consent).await.unwrap(), Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_asks_for_the_same_plan_again_and_for_no_more() {
    let lab = Lab::new();
    let session = lab.session(STACK, None, true);
    let mut wish = wish();
    wish.retry = true;
    wish.adopt = vec!["role.input".parse().unwrap()];
    wish.choice.targets = vec!["role".parse().unwrap(), "cluster.main".parse().unwrap()];
    wish.choice.excludes = vec!["pipeline".parse().unwrap()];
    let prepared = prepare::converge(&session, &wish, "plan").await.unwrap_or_else(|problem| panic!("{problem}"));
    let saved = saved::of(&session, &Request { wish, ..request() }, &prepared);
    assert_eq!(
        lab.try_apply(STACK, Wish { choice: saved.request.wish.choice.clone(), ..lab::wish() }).await.unwrap(),
        Exit::Done
    );
    let problem = apply_saved(&lab, STACK, &saved).await.err().unwrap();
    assert_eq!(
        problem.hint.unwrap(),
        "make the plan anew: seqstack plan lab.toml --target role --target cluster.main --exclude pipeline \
         --adopt role.input --retry --out FILE --sandbox"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_not_due_needs_its_instance_which_never_was() {
    let lab = Lab::new();
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    let text = STACK.replace("retention_days = 7", "retention_days = 14");
    let saved = saved_plan(&lab, &text).await;
    lab.sandbox.put_object("lab-reads", "S1.fq", "other reads".into()).unwrap();
    let problem = apply_saved(&lab, &text, &saved).await.err().unwrap();
    assert!(problem.text.contains("+ create instance.worker[S1]: new: is needed for the run"), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn another_accounts_plan_is_refused() {
    let (lab, saved) = settled().await;
    let before = lab.mutations();
    let other = Saved { account: "999999999999".to_owned(), ..saved };
    let problem = apply_saved(&lab, &changed(), &other).await.err().unwrap();
    assert!(
        problem.text.starts_with("the plan is for account 999999999999, and these credentials are of "),
        "{problem}"
    );
    assert_eq!(lab.mutations(), before);
}

#[tokio::test(start_paused = true)]
async fn what_would_be_lost_is_agreed_to_apart() {
    let lab = Lab::with(|line| if line.starts_with("call") { lab::fails(3) } else { lab::fine() });
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    // The instance with the first step's files is replaced.
    let text = lab::edited("size_gib = 30", "size_gib = 40");
    let saved = saved_plan(&lab, &text).await;
    let before = lab.mutations();
    let problem = apply_saved(&lab, &text, &saved).await.err().unwrap();
    assert!(problem.text.contains("would lose the intermediate files"), "{problem}");
    assert_eq!(lab.mutations(), before);
}

/// The lab's stack with credentials in it, of every sort that the warnings know: by a name, by a var's name, in a command.
fn with_credentials(password: &str, token: &str, mode: &str) -> String {
    let environment = format!(
        "environment = {{ DB_PASSWORD = \"{password}\", ENTRY = \"${{vars.token}}\", URL = \"https://me:{password}@db/x\", MODE = \"{mode}\" }}"
    );
    lab::edited("image = \"tool:1\"", &format!("image = \"tool:1\"\n{environment}"))
        .replace("push ${sample.name}", "push ${sample.name} --password swordfish ${vars.token}")
        + &format!("[vars]\ntoken = \"{token}\"\n")
}

/// All that is told and kept of a plan.
async fn told(lab: &Lab, text: &str) -> String {
    let prepared = lab.plan(text).await;
    let event = serde_json::to_string(&prepared.told()).unwrap();
    let saved = saved_plan(lab, text).await;
    [prepared.text(true), prepared.text(false), prepared.json().unwrap(), event, saved.to_text().unwrap()].join("\n")
}

#[tokio::test(start_paused = true)]
async fn credentials_are_digests_wherever_a_plan_is_told_and_whole_in_aws() {
    let digest = |text: &str| format!("(credential, sha256 {})", &seqstack::saved::sha256(text.as_bytes())[..8]);
    let hidden = |told: &str, these: &[&str]| {
        for credential in these {
            assert!(!told.contains(credential), "{credential} in {told}");
            assert!(told.contains(&digest(credential)), "no digest of {credential} in {told}");
        }
    };
    // The first has a comma and a quote in it; the other is a word like any other.
    let (lab, first) = (Lab::new(), with_credentials("hunt,er'22", "squirrel", "fast"));
    let cold = told(&lab, &first).await;
    hidden(&cold, &["hunt,er'22", "squirrel", "swordfish"]);
    assert!(cold.contains("\"MODE\": \"fast\""), "what looks like none is shown: {cold}");

    // What is done is done with the real ones, from a saved plan too.
    let saved = saved_plan(&lab, &first).await;
    let saved = Saved::from_text(saved.to_text().unwrap().as_bytes()).unwrap();
    assert_eq!(apply_saved(&lab, &first, &saved).await.unwrap(), Exit::Done);
    let definitions = lab.aws().ecs.list_task_definitions().send().await.unwrap();
    let arn = definitions.task_definition_arns().first().unwrap();
    let definition = lab.aws().ecs.describe_task_definition().task_definition(arn).send().await.unwrap();
    let definition = definition.task_definition.unwrap();
    let variables = definition.container_definitions()[0].environment();
    let variables: BTreeMap<_, _> = variables.iter().filter_map(|one| Some((one.name()?, one.value()?))).collect();
    assert_eq!((variables["DB_PASSWORD"], variables["ENTRY"]), ("hunt,er'22", "squirrel"));
    assert_eq!(lab.started().last().unwrap(), "push S1 --password swordfish squirrel");

    // Others in their places: both are digests, also the old one under a name that says nothing.
    let second = with_credentials("hunt,er'33", "chipmunks", "slow");
    let warm = told(&lab, &second).await;
    hidden(&warm, &["hunt,er'22", "hunt,er'33", "squirrel", "chipmunks", "swordfish"]);
    assert!(warm.contains("\"- fast\"") && warm.contains("\"+ slow\""), "{warm}");
    let saved = saved_plan(&lab, &second).await;
    let third = with_credentials("hunt,er'44", "chipmunks", "slow");
    let problem = apply_saved(&lab, &third, &saved).await.err().unwrap();
    hidden(&problem.text, &["hunt,er'33", "hunt,er'44"]);
}

#[test]
fn a_credential_on_the_command_line_is_not_saved() {
    let text = lab::edited("image = \"tool:1\"", "image = \"tool:1\"\nenvironment = { DB_PASSWORD = \"${vars.key}\" }")
        + "[vars]\nkey = \"\"\nthreads = 4\napi_token = \"\"\n";
    let refused = |key: &str, value: &str| {
        let set = [(key.to_owned(), value.to_owned())];
        let request = seqstack::stack::Request { sample: None, set: &set, needs_sample: true };
        let stack = seqstack::stack::Stack::parse(std::path::Path::new("lab.toml"), &text, &request).unwrap();
        saved::can_keep(&set, &stack.credentials).err().map(|problem| problem.to_string())
    };
    assert_eq!(refused("threads", "8"), None);
    // By its own name, by where it comes to stand, by its shape.
    for (key, value) in
        [("api_token", "hunter22"), ("key", "hunter2"), ("key", "ghp_abcdefghijklmnopqrstuvwxyz0123456789")]
    {
        let problem = refused(key, value).unwrap();
        assert!(problem.contains(&format!("--set {key}: what looks like a credential")), "{problem}");
        assert!(!problem.contains(value), "{problem}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_saved_over_a_saved_plan_and_over_nothing_else() {
    let (lab, plan) = settled().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |name: &str| saved::write(&at(name), &plan).err().map(|problem| problem.text).unwrap_or_default();
    std::fs::write(at("empty"), "").unwrap();
    for name in ["lab.plan", "lab.plan", "empty"] {
        assert_eq!(refused(name), "");
        assert_eq!(saved::read(&at(name)).unwrap().as_ref(), Some(&plan));
    }
    // Another version's is one too.
    let text = plan.to_text().unwrap();
    std::fs::write(at("lab.plan"), text.replacen(env!("CARGO_PKG_VERSION"), "0.0.1", 1)).unwrap();
    assert_eq!(refused("lab.plan"), "");

    for (n, other) in
        ["{\"variants\": 14}\n", "{}", "{\"seqstack_plan\": true}", &text[..text.len() / 2]].iter().enumerate()
    {
        let name = format!("results-{n}.json");
        std::fs::write(at(&name), other).unwrap();
        assert!(refused(&name).contains("is there and is no saved plan: it was left as it is"));
        assert_eq!(std::fs::read_to_string(at(&name)).unwrap(), *other);
    }
    std::os::unix::fs::symlink("lab.plan", at("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
    for name in ["link", "dangling"] {
        assert!(refused(name).contains("is there and is a symbolic link"));
        assert!(std::fs::symlink_metadata(at(name)).unwrap().is_symlink());
    }
    // A socket is what a test may make of what is no file; /dev/null is another.
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    assert!(refused("socket").contains("is there and is no regular file"));
    assert!(std::fs::symlink_metadata(at("socket")).is_ok_and(|there| !there.is_file()));

    // Whatever else is JSON is called that, and not a damaged plan.
    std::fs::write(at("plan.json"), lab.plan(&changed()).await.json().unwrap()).unwrap();
    let problem = saved::read(&at("plan.json")).err().unwrap();
    assert!(problem.text.ends_with("plan.json is JSON, but no saved plan; nothing was changed"), "{problem}");
    assert!(problem.hint.unwrap().contains("plan STACK --out FILE"));
}

#[tokio::test(start_paused = true)]
async fn the_file_is_the_same_twice_holds_no_secret_and_shows_any_damage() {
    let (lab, saved) = settled().await;
    let text = saved.to_text().unwrap();
    assert_eq!(text, saved_plan(&lab, &changed()).await.to_text().unwrap());
    assert_eq!(Saved::from_text(text.as_bytes()).unwrap(), saved);
    assert!(is_saved(text.as_bytes()) && !is_saved(STACK.as_bytes()));

    // A plan of everything: with the secret's variable, the key pair and the credentials that read the account.
    let key = std::fs::read_to_string(lab.state().join("lab/keys/key")).unwrap();
    let everything = saved_plan(&Lab::new(), &with_secret()).await.to_text().unwrap();
    assert!(everything.contains("parameter/lab/token") && everything.contains("import_key_pair"), "{everything}");
    for text in [&text, &everything] {
        for line in key.lines().chain(["AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI", "PRIVATE KEY"]) {
            assert!(!text.contains(line), "{line}");
        }
    }

    let damaged = |bytes: &[u8]| matches!(Saved::from_text(bytes), Err(Unusable::Damaged(_)));
    for end in (0..text.trim_end().len()).step_by(97) {
        assert!(damaged(&text.as_bytes()[..end]), "{end}");
    }
    for at in (0..text.len()).step_by(101) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        // A space between two members may be another: the plan is then what it was.
        assert!(Saved::from_text(&bytes).is_ok_and(|read| read == saved) || Saved::from_text(&bytes).is_err(), "{at}");
    }
    assert!(damaged(text.replacen("14", "13", 1).as_bytes()), "an edited number");
    let older = text.replacen(env!("CARGO_PKG_VERSION"), "0.0.1", 1);
    let version = Unusable::Version { version: "0.0.1".to_owned(), schema: SCHEMA };
    assert_eq!(Saved::from_text(older.as_bytes()), Err(version));
    let newer = text.replacen("\"seqstack_plan\": 1", "\"seqstack_plan\": 2, \"more\": []", 1);
    assert!(matches!(Saved::from_text(newer.as_bytes()), Err(Unusable::Version { schema: 2, .. })));
}
