//! The sandbox as real SDK clients see it, in process and in the paused clock.

use std::time::Duration;

use aws_sdk_iam::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use serde_json::json;

use super::account::credentials_for;
use super::engine::{Launch, Process};
use super::listen::Listener;
use super::serving::Served;
use super::*;

mod s3;

#[derive(Debug)]
struct NoEngine;

impl Engine for NoEngine {
    fn name(&self) -> &str {
        "none"
    }
    fn start(&self, _: &Launch, _: Timestamp) {}
    fn process(&self, _: &str, _: Timestamp) -> Option<Process> {
        None
    }
    fn log(&self, _: &str, _: Timestamp) -> Vec<(Timestamp, String)> {
        Vec::new()
    }
    fn stop(&self, _: &str, _: Timestamp) {}
    fn end_instance(&self, _: &str, _: Timestamp) {}
}

fn setup() -> Setup {
    Setup {
        options: Options::default(),
        engine: Arc::new(NoEngine),
        keys: vec![Key { id: "AKIDSANDBOX".to_owned(), secret: "a secret".to_owned() }],
        endpoint: "http://127.0.0.1:4566".to_owned(),
        folder: None,
        clock_start: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

fn s3_of(config: &aws_config::SdkConfig) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(config).force_path_style(true).build())
}

fn code<T: std::fmt::Debug, E, R>(result: Result<T, aws_sdk_iam::error::SdkError<E, R>>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match result {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => match error.as_service_error() {
            Some(service) => service.code().unwrap_or("none").to_owned(),
            None => format!("{error:?}"),
        },
    }
}

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

fn rights(statements: serde_json::Value) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_role_lives_and_is_deleted_in_order() {
    let sandbox = Sandbox::new(setup());
    let config = sdk_config(&sandbox, Wire::default());
    let iam = aws_sdk_iam::Client::new(&config);
    let tag = aws_sdk_iam::types::Tag::builder().key("seqstack:address").value("role.x").build().unwrap();
    let create =
        || iam.create_role().role_name("r").path("/seqstack/x/").assume_role_policy_document(TRUST).tags(tag.clone());
    let role = create().send().await.unwrap().role.unwrap();
    assert_eq!(role.arn, "arn:aws:iam::123456789012:role/seqstack/x/r");
    assert_eq!(code(create().path("/").send().await), "EntityAlreadyExists");

    let got = iam.get_role().role_name("r").send().await.unwrap().role.unwrap();
    assert_eq!(wire::decode(&got.assume_role_policy_document.unwrap()).unwrap(), TRUST);
    assert_eq!(got.tags.unwrap(), [tag]);
    let listed = iam.list_roles().path_prefix("/seqstack/").send().await.unwrap();
    assert!(listed.roles[0].tags.is_none(), "listings carry no tags");

    let read = rights(json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"}));
    let policy = iam.create_policy().policy_name("r_policy").policy_document(&read).send().await.unwrap();
    let arn = policy.policy.unwrap().arn.unwrap();
    iam.attach_role_policy().role_name("r").policy_arn(&arn).send().await.unwrap();
    let aws = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy";
    iam.attach_role_policy().role_name("r").policy_arn(aws).send().await.unwrap();
    assert_eq!(
        code(iam.attach_role_policy().role_name("r").policy_arn("arn:aws:iam::aws:policy/No").send().await),
        "NoSuchEntity"
    );
    iam.create_instance_profile().instance_profile_name("p").send().await.unwrap();
    iam.add_role_to_instance_profile().instance_profile_name("p").role_name("r").send().await.unwrap();
    assert_eq!(
        code(iam.add_role_to_instance_profile().instance_profile_name("p").role_name("r").send().await),
        "LimitExceeded"
    );
    for _ in 0..4 {
        iam.create_policy_version().policy_arn(&arn).policy_document(&read).set_as_default(true).send().await.unwrap();
    }
    let fifth = iam.create_policy_version().policy_arn(&arn).policy_document(&read).send().await;
    assert_eq!(code(fifth), "LimitExceeded");
    assert_eq!(code(iam.delete_policy().policy_arn(&arn).send().await), "DeleteConflict");
    assert_eq!(code(iam.delete_role().role_name("r").send().await), "DeleteConflict");

    iam.remove_role_from_instance_profile().instance_profile_name("p").role_name("r").send().await.unwrap();
    iam.delete_instance_profile().instance_profile_name("p").send().await.unwrap();
    for arn in [arn.as_str(), aws] {
        iam.detach_role_policy().role_name("r").policy_arn(arn).send().await.unwrap();
    }
    for version in ["v1", "v2", "v3", "v4"] {
        iam.delete_policy_version().policy_arn(&arn).version_id(version).send().await.unwrap();
    }
    iam.delete_policy().policy_arn(&arn).send().await.unwrap();
    iam.delete_role().role_name("r").send().await.unwrap();
    assert_eq!(code(iam.get_role().role_name("r").send().await), "NoSuchEntity");
    assert_eq!(sandbox.counts()["iam:DeleteRole"], 2);
    assert_eq!(code(iam.create_user().user_name("u").send().await), "InvalidAction");
    let bad = iam.create_role().role_name("b").assume_role_policy_document("{").send().await;
    assert_eq!(code(bad), "MalformedPolicyDocument");
}

#[tokio::test(start_paused = true)]
async fn listings_come_in_pages() {
    let mut setup = setup();
    setup.options.settings.page = 2;
    let sandbox = Sandbox::new(setup);
    let config = sdk_config(&sandbox, Wire { latency: Duration::from_millis(50), ..Wire::default() });
    let iam = aws_sdk_iam::Client::new(&config);
    for n in 0..5 {
        let name = format!("r{n}");
        iam.create_role().role_name(name).assume_role_policy_document(TRUST).send().await.unwrap();
    }
    let pages = iam.list_roles().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    let names: Vec<&str> = pages.iter().map(|role| role.role_name.as_str()).collect();
    assert_eq!(names, ["r0", "r1", "r2", "r3", "r4"]);
    assert_eq!(sandbox.counts()["iam:ListRoles"], 3);

    let s3 = s3_of(&config);
    sandbox.create_bucket("b");
    for key in ["a/1", "a/2", "b", "c d/3", "e"] {
        sandbox.put_object("b", key, bytes::Bytes::from_static(b"x")).unwrap();
    }
    let mut seen = Vec::new();
    let mut pages = s3.list_objects_v2().bucket("b").delimiter("/").into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        seen.extend(page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap().to_owned()));
        seen.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
    }
    seen.sort();
    assert_eq!(seen, ["a/", "b", "c d/", "e"]);
    let after = s3.list_objects_v2().bucket("b").prefix("a/").start_after("a/1").send().await.unwrap();
    assert_eq!(after.contents()[0].key(), Some("a/2"));
}

#[tokio::test(start_paused = true)]
async fn conditional_writes_are_a_lock() {
    let sandbox = Sandbox::new(setup());
    let s3 = s3_of(&sdk_config(&sandbox, Wire::default()));
    sandbox.create_bucket("b");
    let put =
        |body: &'static str| s3.put_object().bucket("b").key("a key/+&").body(ByteStream::from_static(body.as_bytes()));
    assert_eq!(code(put("0").if_match("\"x\"").send().await), "NoSuchKey");
    let first = put("1").if_none_match("*").metadata("sha", "1").send().await.unwrap().e_tag.unwrap();
    assert_eq!(code(put("2").if_none_match("*").send().await), "PreconditionFailed");
    let second = put("22").if_match(&first).send().await.unwrap().e_tag.unwrap();
    assert_eq!(code(put("3").if_match(&first).send().await), "PreconditionFailed");
    sandbox.with_account(|account, _| account.s3.conflicts = 1);
    let config = aws_sdk_s3::config::Builder::new().retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled());
    let raced = put("3").if_match(&second).customize().config_override(config).send().await;
    assert_eq!(code(raced), "ConditionalRequestConflict");

    let got = s3.get_object().bucket("b").key("a key/+&").send().await.unwrap();
    assert_eq!(got.e_tag.as_deref(), Some(second.as_str()));
    assert!(got.metadata.unwrap_or_default().is_empty());
    assert_eq!(got.body.collect().await.unwrap().into_bytes(), "22");
    let part = s3.get_object().bucket("b").key("a key/+&").range("bytes=1-").send().await.unwrap();
    assert_eq!(part.content_range.as_deref(), Some("bytes 1-1/2"));
    let head = s3.head_object().bucket("b").key("none").send().await.unwrap_err();
    assert!(head.into_service_error().is_not_found());
    assert_eq!(code(s3.get_object().bucket("nobody").key("k").send().await), "NoSuchBucket");
    assert_eq!(code(s3.get_bucket_acl().bucket("b").send().await), "NotImplemented");
    assert_eq!(code(s3.get_object_tagging().bucket("b").key("a key/+&").send().await), "NotImplemented");
    assert_eq!(code(s3.delete_bucket_cors().bucket("b").send().await), "NotImplemented");
    s3.delete_object().bucket("b").key("a key/+&").send().await.unwrap();
}

#[tokio::test]
async fn streams_and_parts_come_whole_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = setup();
    setup.folder = Some(folder.path().join("account"));
    let sandbox = Sandbox::new(setup.clone());
    let s3 = s3_of(&sdk_config(&sandbox, Wire::default()));
    let place = aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint("eu-west-2".into()).build();
    s3.create_bucket().bucket("bucket").create_bucket_configuration(place).send().await.unwrap();
    // Over plain HTTP the SDK signs every chunk of a stream.
    let file = folder.path().join("file");
    let content: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    std::fs::write(&file, &content).unwrap();
    s3.put_object().bucket("bucket").key("f").body(ByteStream::from_path(&file).await.unwrap()).send().await.unwrap();

    let upload = s3.create_multipart_upload().bucket("bucket").key("m").send().await.unwrap().upload_id.unwrap();
    let mut parts = aws_sdk_s3::types::CompletedMultipartUpload::builder();
    for (number, size) in [(1, 5 * 1024 * 1024), (2, 7)] {
        let body = ByteStream::from(vec![b'x'; size]);
        let call = s3.upload_part().bucket("bucket").key("m").upload_id(&upload).part_number(number).body(body);
        let etag = call.send().await.unwrap().e_tag.unwrap();
        parts = parts.parts(aws_sdk_s3::types::CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    let complete = s3.complete_multipart_upload().bucket("bucket").key("m").upload_id(&upload);
    let done = complete.multipart_upload(parts.build()).send().await.unwrap();
    assert!(done.e_tag.unwrap().ends_with("-2\""));
    drop(s3);
    drop(sandbox);

    let sandbox = Sandbox::new(setup);
    assert_eq!(sandbox.fault(), None);
    assert_eq!(sandbox.get_object("bucket", "f").unwrap(), content);
    assert_eq!(sandbox.get_object("bucket", "m").unwrap().len(), 5 * 1024 * 1024 + 7);
    let files = std::fs::read_dir(folder.path().join("account/objects")).unwrap().count();
    assert_eq!(files, 2, "parts are gone");
}

#[tokio::test(start_paused = true)]
async fn strangers_are_refused() {
    let sandbox = Sandbox::new(setup());
    let wrong = |id: &str| {
        let key = Key { id: id.to_owned(), secret: "guess".to_owned() };
        let config = sdk_config_as(&sandbox, Wire::default(), &key, None);
        let config = config.into_builder().disable_clock_skew_correction(true).build();
        (aws_sdk_sts::Client::new(&config), aws_sdk_ssm::Client::new(&config), s3_of(&config))
    };
    let (sts, ssm, s3) = wrong("AKIDSANDBOX");
    assert_eq!(code(sts.get_caller_identity().send().await), "SignatureDoesNotMatch");
    assert_eq!(code(ssm.get_parameters().names("x").send().await), "InvalidSignatureException");
    assert_eq!(code(s3.list_buckets().send().await), "SignatureDoesNotMatch");
    let (sts, ssm, s3) = wrong("AKIDOTHER");
    assert_eq!(code(sts.get_caller_identity().send().await), "InvalidClientTokenId");
    assert_eq!(code(ssm.get_parameters().names("x").send().await), "UnrecognizedClientException");
    assert_eq!(code(s3.list_buckets().send().await), "InvalidAccessKeyId");

    let ask = |host: &str| http::Request::builder().uri("/b/k").header("host", host).body(bytes::Bytes::new()).unwrap();
    assert_eq!(sandbox.handle(ask("evil.example:4566")).await.status(), 403);
    let unsigned = sandbox.handle(ask("127.0.0.1:4566")).await;
    assert_eq!(unsigned.status(), 403);
    assert!(String::from_utf8_lossy(unsigned.body()).contains("AccessDenied"));
    assert!(sandbox.counts().is_empty());

    // A request of twenty minutes ago is not served again.
    let config = sdk_config(&sandbox, Wire::default());
    let old =
        config.into_builder().time_source(aws_smithy_async::time::StaticTimeSource::new(sandbox.clock().now().into()));
    tokio::time::advance(Duration::from_secs(20 * 60)).await;
    let old = aws_sdk_sts::Client::new(&old.disable_clock_skew_correction(true).build());
    assert_eq!(code(old.get_caller_identity().send().await), "RequestExpired");
}

#[tokio::test(start_paused = true)]
async fn a_task_has_its_roles_rights_and_no_more() {
    let sandbox = Sandbox::new(setup());
    let config = sdk_config(&sandbox, Wire::default());
    let iam = aws_sdk_iam::Client::new(&config);
    iam.create_role().role_name("task").assume_role_policy_document(TRUST).send().await.unwrap();
    let document = rights(json!([
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::b/*"},
        {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::b/.seqstack/*"},
    ]));
    iam.put_role_policy().role_name("task").policy_name("p").policy_document(document).send().await.unwrap();
    sandbox.create_bucket("b");
    sandbox.put_object("b", "x", bytes::Bytes::from_static(b"1")).unwrap();
    let role = "arn:aws:iam::123456789012:role/task";
    let credentials = sandbox.with_account(|account, _| credentials_for(account, role, "t1").unwrap());

    let ask = |token: &str| {
        let uri = "/_seqstack/credentials/t1";
        let request = http::Request::builder().uri(uri).header("host", "127.0.0.1:4566").header("authorization", token);
        request.body(bytes::Bytes::new()).unwrap()
    };
    assert_eq!(sandbox.handle(ask("wrong")).await.status(), 403);
    let answer = sandbox.handle(ask(&credentials.authorization)).await;
    let answer: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(answer["Expiration"], "2026-01-01T06:00:00Z");
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    let key = Key { id: text("AccessKeyId"), secret: text("SecretAccessKey") };
    let config = sdk_config_as(&sandbox, Wire::default(), &key, Some(&text("Token")));
    let s3 = s3_of(&config);
    s3.get_object().bucket("b").key("x").send().await.unwrap();
    s3.put_object().bucket("b").key("y").body(ByteStream::from_static(b"2")).send().await.unwrap();
    assert_eq!(code(s3.get_object().bucket("b").key("missing").send().await), "AccessDenied");
    assert_eq!(code(s3.put_object().bucket("b").key(".seqstack/l").send().await), "AccessDenied");
    assert_eq!(code(s3.list_objects_v2().bucket("b").send().await), "AccessDenied");
    let me = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await.unwrap();
    assert_eq!(me.arn.as_deref(), Some("arn:aws:sts::123456789012:assumed-role/task/t1"));
    let ecs = aws_sdk_ecs::Client::new(&config);
    assert_eq!(code(ecs.list_clusters().send().await), "AccessDeniedException");
    sandbox.with_account(|account, _| account::end_credentials(account, "t1"));
    assert_eq!(code(s3.get_object().bucket("b").key("x").send().await), "InvalidAccessKeyId");
}

#[tokio::test(start_paused = true)]
async fn a_tasks_rights_are_weighed_for_each_object_and_version() {
    use aws_sdk_s3::types::{BucketVersioningStatus, Delete, ObjectIdentifier, VersioningConfiguration};
    let sandbox = Sandbox::new(setup());
    let config = sdk_config(&sandbox, Wire::default());
    let (iam, owner) = (aws_sdk_iam::Client::new(&config), s3_of(&config));
    let boundary = rights(json!([
        {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]},
        {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::b/shut/*"},
    ]));
    let boundary = iam.create_policy().policy_name("boundary").policy_document(boundary).send().await.unwrap();
    let boundary = boundary.policy.unwrap().arn.unwrap();
    let role = iam.create_role().role_name("task").assume_role_policy_document(TRUST);
    role.permissions_boundary(boundary).send().await.unwrap();
    let document = rights(json!([
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::b/kept*"},
    ]));
    iam.put_role_policy().role_name("task").policy_name("p").policy_document(document).send().await.unwrap();
    for bucket in ["b", "other"] {
        sandbox.create_bucket(bucket);
        for key in ["a", "kept", "shut/x"] {
            sandbox.put_object(bucket, key, bytes::Bytes::from_static(b"1")).unwrap();
        }
    }
    let status = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    owner.put_bucket_versioning().bucket("b").versioning_configuration(status).send().await.unwrap();
    let role = "arn:aws:iam::123456789012:role/task";
    let credentials = sandbox.with_account(|account, _| credentials_for(account, role, "t1").unwrap());
    let key = Key { id: credentials.access_key_id, secret: credentials.secret_access_key };
    let s3 = s3_of(&sdk_config_as(&sandbox, Wire::default(), &key, Some(&credentials.token)));

    // Its policy allows all of these, its boundary only the first.
    s3.get_object().bucket("b").key("a").send().await.unwrap();
    assert_eq!(code(s3.get_object().bucket("other").key("a").send().await), "AccessDenied");
    assert_eq!(code(s3.get_object().bucket("b").key("shut/x").send().await), "AccessDenied");
    assert_eq!(code(s3.copy_object().bucket("b").key("c").copy_source("other/a").send().await), "AccessDenied");
    // A version is another right than the object.
    assert_eq!(code(s3.get_object().bucket("b").key("a").version_id("null").send().await), "AccessDenied");
    assert_eq!(code(s3.delete_object().bucket("b").key("a").version_id("null").send().await), "AccessDenied");
    assert_eq!(code(s3.list_object_versions().bucket("b").send().await), "AccessDenied");
    assert_eq!(code(s3.delete_bucket().bucket("b").send().await), "AccessDenied");
    // Of many in one request, those that it may are deleted.
    let many = ["a", "kept", "shut/x"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let many = Delete::builder().set_objects(Some(many.to_vec())).build().unwrap();
    let answer = s3.delete_objects().bucket("b").delete(many).send().await.unwrap();
    assert_eq!(answer.deleted().iter().map(|one| one.key().unwrap()).collect::<Vec<_>>(), ["a"]);
    let refused: Vec<_> = answer.errors().iter().map(|one| (one.key().unwrap(), one.code().unwrap())).collect();
    assert_eq!(refused, [("kept", "AccessDenied"), ("shut/x", "AccessDenied")]);
    let left = owner.list_objects_v2().bucket("b").send().await.unwrap();
    assert_eq!(left.contents().iter().map(|one| one.key().unwrap()).collect::<Vec<_>>(), ["kept", "shut/x"]);
}

#[tokio::test(start_paused = true)]
async fn faults_break_calls_before_or_after_they_take_effect() {
    let sandbox = Sandbox::new(setup());
    let fates: connector::Fates = Arc::new(|passing| match (passing.name.as_str(), passing.nth) {
        ("iam:CreateRole", 1) => Fate::NotSent,
        ("iam:CreateRole", 2) => Fate::AnswerLost,
        _ => Fate::Pass,
    });
    let config = sdk_config(&sandbox, Wire { fates: Some(fates), ..Wire::default() });
    let iam = aws_sdk_iam::Client::new(&config);
    // The SDK tries again by itself, and meets what its lost second attempt made.
    let created = iam.create_role().role_name("r").assume_role_policy_document(TRUST).send().await;
    assert_eq!(code(created), "EntityAlreadyExists");
    assert_eq!(sandbox.counts()["iam:CreateRole"], 2);
}

#[tokio::test(start_paused = true)]
async fn parameters_hold_images() {
    let sandbox = Sandbox::new(setup());
    let ssm = aws_sdk_ssm::Client::new(&sdk_config(&sandbox, Wire::default()));
    let answer = ssm.get_parameters().names(images::of("eu-west-2")[0].parameter).names("/no").send().await.unwrap();
    assert_eq!(answer.parameters()[0].value(), Some(images::of("eu-west-2")[0].id.as_str()));
    assert_eq!(answer.invalid_parameters(), ["/no"]);
    assert_eq!(code(ssm.get_parameter().name("/no").send().await), "ParameterNotFound");
    assert_eq!(code(ssm.list_documents().send().await), "UnknownOperationException");
}

fn serve(sandbox: &Arc<Sandbox>, listener: tokio::net::TcpListener) -> tokio::task::JoinHandle<()> {
    let served = Arc::new(Served(sandbox.clone()));
    let listener = Listener::loopback(listener).unwrap();
    tokio::spawn(async move {
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        listen::listen(served, listener, Arc::default(), stopped, Duration::ZERO).await;
    })
}

#[tokio::test]
async fn it_is_served_over_loopback_and_nothing_else() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut setup = setup();
    setup.endpoint = format!("http://{}", listener.local_addr().unwrap());
    let sandbox = Sandbox::new(setup);
    let server = serve(&sandbox, listener);
    let mut config = sdk_config(&sandbox, Wire::default()).into_builder();
    config.set_http_client(None);
    let config = config.build();
    let s3 = s3_of(&config);
    sandbox.create_bucket("b");
    s3.head_bucket().bucket("b").send().await.unwrap();
    s3.put_object().bucket("b").key("k").body(ByteStream::from_static(b"abc")).send().await.unwrap();
    let head = s3.head_object().bucket("b").key("k").send().await.unwrap();
    assert_eq!(head.content_length, Some(3));
    let got = s3.get_object().bucket("b").key("k").send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().into_bytes(), "abc");
    let me = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await.unwrap();
    assert_eq!(me.account.as_deref(), Some("123456789012"));
    server.abort();

    let outside = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    assert!(Listener::loopback(outside).is_err());
}
