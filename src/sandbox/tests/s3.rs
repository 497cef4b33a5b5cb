//! S3 where accounts differ: checksums of parts, buckets of other regions, policies and keys, storage classes.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::upload_part::builders::UploadPartFluentBuilder;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, GlacierJobParameters,
    OptionalObjectAttributes, RestoreRequest, ServerSideEncryption, StorageClass, Tier,
};

use super::*;

const BODY: &[u8] = b"one part is enough";
const KEY: &str = "arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn client(sandbox: &Arc<Sandbox>, region: &str) -> Client {
    let config = sdk_config(sandbox, Wire::default()).into_builder().region(aws_config::Region::new(region.to_owned()));
    s3_of(&config.build())
}

async fn ready() -> (Arc<Sandbox>, Client) {
    let sandbox = Sandbox::new(setup());
    sandbox.create_bucket("b");
    let s3 = client(&sandbox, "eu-west-2");
    (sandbox, s3)
}

fn sum(algorithm: &str) -> String {
    crate::s3::checksum::of(algorithm, BODY).unwrap()
}

/// An upload in one part: what it declares, what the part is sent with, and what the completion says of it.
async fn upload(
    s3: &Client,
    declared: Option<(ChecksumAlgorithm, Option<ChecksumType>)>,
    sent: impl Fn(UploadPartFluentBuilder) -> UploadPartFluentBuilder,
    said: impl Fn(aws_sdk_s3::types::builders::CompletedPartBuilder) -> aws_sdk_s3::types::builders::CompletedPartBuilder,
) -> String {
    let (algorithm, kind) = declared.unzip();
    let create = s3.create_multipart_upload().bucket("b").key("k").set_checksum_algorithm(algorithm);
    let create = match create.set_checksum_type(kind.flatten()).send().await {
        Ok(made) => made,
        Err(refused) => return format!("create: {}", refused.code().unwrap()),
    };
    let id = create.upload_id.unwrap();
    let part = s3.upload_part().bucket("b").key("k").upload_id(&id).part_number(1);
    let part = match sent(part).body(ByteStream::from_static(BODY)).send().await {
        Ok(part) => part,
        Err(refused) => return format!("part: {}", refused.code().unwrap()),
    };
    let done = said(CompletedPart::builder().part_number(1).set_e_tag(part.e_tag)).build();
    let done = CompletedMultipartUpload::builder().parts(done).build();
    match s3.complete_multipart_upload().bucket("b").key("k").upload_id(&id).multipart_upload(done).send().await {
        Ok(done) => format!("{:?}", done.checksum_type),
        Err(refused) => format!("complete: {}", refused.code().unwrap()),
    }
}

#[tokio::test(start_paused = true)]
async fn parts_are_completed_only_with_the_checksums_that_their_upload_declared() {
    use ChecksumAlgorithm::{Crc32, Crc64Nvme, Sha256};
    let (_sandbox, s3) = ready().await;
    let none = || None;
    // The SDK adds CRC32 by itself; where nothing is declared it must not be named at the end.
    assert_eq!(upload(&s3, none(), |part| part, |done| done).await, "Some(FullObject)");
    let head = s3.head_object().bucket("b").key("k").checksum_mode("ENABLED".into()).send().await.unwrap();
    assert_eq!(head.checksum_crc64_nvme, Some(sum("crc64nvme")));
    assert_eq!(
        upload(&s3, none(), |part| part, |done| done.checksum_crc32(sum("crc32"))).await,
        "complete: InvalidPart"
    );
    let sha = |part: UploadPartFluentBuilder| part.checksum_sha256(sum("sha256"));
    assert_eq!(upload(&s3, none(), sha, |done| done).await, "Some(FullObject)");

    let declared = || Some((Sha256, None));
    assert_eq!(upload(&s3, declared(), |part| part, |done| done).await, "part: InvalidRequest");
    assert_eq!(upload(&s3, declared(), sha, |done| done).await, "complete: InvalidRequest");
    let named = |done: aws_sdk_s3::types::builders::CompletedPartBuilder| done.checksum_sha256(sum("sha256"));
    assert_eq!(upload(&s3, declared(), sha, named).await, "Some(Composite)");
    let wrong = |part: UploadPartFluentBuilder| part.checksum_sha256(sum("sha256").replace('=', "A"));
    assert_eq!(upload(&s3, declared(), wrong, named).await, "part: InvalidRequest");
    let other = |done: aws_sdk_s3::types::builders::CompletedPartBuilder| done.checksum_crc32(sum("crc32"));
    assert_eq!(upload(&s3, declared(), sha, other).await, "complete: BadDigest");
    let bad = |done: aws_sdk_s3::types::builders::CompletedPartBuilder| done.checksum_sha256(sum("crc32"));
    assert_eq!(upload(&s3, declared(), sha, bad).await, "complete: InvalidPart");

    // The checksum of the whole asks for none of the parts.
    let whole = |algorithm| Some((algorithm, Some(ChecksumType::FullObject)));
    assert_eq!(upload(&s3, whole(Crc32), |part| part, |done| done).await, "Some(FullObject)");
    let head = s3.head_object().bucket("b").key("k").checksum_mode("ENABLED".into()).send().await.unwrap();
    assert_eq!(head.checksum_crc32, Some(sum("crc32")));
    assert_eq!(upload(&s3, whole(Sha256), sha, named).await, "create: InvalidRequest");
    let parts = Some((Crc64Nvme, Some(ChecksumType::Composite)));
    assert_eq!(upload(&s3, parts, |part| part, |done| done).await, "create: InvalidRequest");
}

#[tokio::test(start_paused = true)]
async fn an_algorithm_without_its_checksum_is_refused() {
    use aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired;
    let (sandbox, _) = ready().await;
    let config = sdk_config(&sandbox, Wire::default()).into_builder().request_checksum_calculation(WhenRequired);
    let s3 = s3_of(&config.build());
    let put = || s3.put_object().bucket("b").key("k").body(ByteStream::from_static(BODY));
    assert_eq!(code(put().checksum_algorithm(ChecksumAlgorithm::Crc32).send().await), "InvalidRequest");
    put().send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_reached_in_its_own_region_only() {
    let (sandbox, home) = ready().await;
    let there = client(&sandbox, "us-west-1");
    let place = aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint("us-west-1".into()).build();
    assert_eq!(
        code(home.create_bucket().bucket("far").create_bucket_configuration(place.clone()).send().await),
        "IllegalLocationConstraintException"
    );
    there.create_bucket().bucket("far").create_bucket_configuration(place).send().await.unwrap();
    there.put_object().bucket("far").key("k").body(ByteStream::from_static(BODY)).send().await.unwrap();
    there.head_object().bucket("far").key("k").send().await.unwrap();

    let region = |raw: Option<&aws_sdk_s3::config::http::HttpResponse>| {
        raw.unwrap().headers().get("x-amz-bucket-region").map(str::to_owned)
    };
    let listed = home.list_objects_v2().bucket("far").send().await.unwrap_err();
    assert_eq!(
        (listed.code(), region(listed.raw_response())),
        (Some("PermanentRedirect"), Some("us-west-1".to_owned()))
    );
    let head = home.head_object().bucket("far").key("k").send().await.unwrap_err();
    assert_eq!((head.code(), head.raw_response().unwrap().status().as_u16()), (None, 301));
    assert_eq!(region(head.raw_response()).as_deref(), Some("us-west-1"));
    let head = home.head_bucket().bucket("far").send().await.unwrap_err();
    assert_eq!(region(head.raw_response()).as_deref(), Some("us-west-1"));
    // From elsewhere to here the other answer, which says the region but to HeadObject.
    assert_eq!(code(there.get_object().bucket("b").key("k").send().await), "AuthorizationHeaderMalformed");
    let head = there.head_object().bucket("b").key("k").send().await.unwrap_err();
    assert_eq!((head.raw_response().unwrap().status().as_u16(), region(head.raw_response())), (400, None));
    let head = there.head_bucket().bucket("b").send().await.unwrap_err();
    assert_eq!(region(head.raw_response()).as_deref(), Some("eu-west-2"));
}

fn deny(condition: &serde_json::Value) -> String {
    json!({"Statement": {
        "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*", "Condition": condition,
    }})
    .to_string()
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_demands_encryption_looks_at_the_request_only() {
    let (_sandbox, s3) = ready().await;
    let put = || s3.put_object().bucket("b").key("k").body(ByteStream::from_static(BODY));
    assert_eq!(code(s3.get_bucket_policy().bucket("b").send().await), "NoSuchBucketPolicy");
    assert_eq!(code(s3.put_bucket_policy().bucket("b").policy("{").send().await), "MalformedPolicy");
    for condition in [
        json!({"Null": {"s3:x-amz-server-side-encryption": "true"}}),
        json!({"Null": {"s3:x-amz-server-side-encryption": true}}),
        json!({"StringNotEquals": {"s3:x-amz-server-side-encryption": "AES256"}}),
    ] {
        s3.put_bucket_policy().bucket("b").policy(deny(&condition)).send().await.unwrap();
        assert_eq!(code(put().send().await), "AccessDenied", "{condition}");
        put().server_side_encryption(ServerSideEncryption::Aes256).send().await.unwrap();
        // The parts of an upload go by what its beginning said, and cannot say it themselves.
        assert_eq!(code(s3.create_multipart_upload().bucket("b").key("k").send().await), "AccessDenied");
        let create =
            s3.create_multipart_upload().bucket("b").key("k").server_side_encryption(ServerSideEncryption::Aes256);
        let id = create.send().await.unwrap().upload_id.unwrap();
        let part = s3.upload_part().bucket("b").key("k").upload_id(&id).part_number(1);
        part.body(ByteStream::from_static(BODY)).send().await.unwrap();
    }
    let with_key = json!({"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": KEY}});
    s3.put_bucket_policy().bucket("b").policy(deny(&with_key)).send().await.unwrap();
    let kms = || put().server_side_encryption(ServerSideEncryption::AwsKms);
    assert_eq!(code(kms().send().await), "AccessDenied");
    kms().ssekms_key_id(KEY).send().await.unwrap();
    let head = s3.head_object().bucket("b").key("k").send().await.unwrap();
    assert_eq!(head.ssekms_key_id.as_deref(), Some(KEY));
    assert!(s3.get_bucket_policy().bucket("b").send().await.unwrap().policy.unwrap().contains("Deny"));
    s3.delete_bucket_policy().bucket("b").send().await.unwrap();
    put().send().await.unwrap();
    assert_eq!(code(put().ssekms_key_id(KEY).send().await), "InvalidArgument");
}

#[tokio::test(start_paused = true)]
async fn a_role_needs_the_rights_to_the_key() {
    use aws_sdk_s3::types::{
        ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    };
    let (sandbox, owner) = ready().await;
    let default =
        ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::AwsKms).kms_master_key_id(KEY);
    let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default.build().unwrap());
    let configuration = ServerSideEncryptionConfiguration::builder().rules(rule.build()).build().unwrap();
    let set = owner.put_bucket_encryption().bucket("b").server_side_encryption_configuration(configuration);
    set.send().await.unwrap();
    owner.put_object().bucket("b").key("k").body(ByteStream::from_static(BODY)).send().await.unwrap();

    let iam = aws_sdk_iam::Client::new(&sdk_config(&sandbox, Wire::default()));
    iam.create_role().role_name("task").assume_role_policy_document(TRUST).send().await.unwrap();
    let role = "arn:aws:iam::123456789012:role/task";
    let credentials = sandbox.with_account(|account, _| credentials_for(account, role, "t1").unwrap());
    let key = Key { id: credentials.access_key_id, secret: credentials.secret_access_key };
    let s3 = s3_of(&sdk_config_as(&sandbox, Wire::default(), &key, Some(&credentials.token)));
    let objects = json!({"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]});
    for (rights_to_key, reads, writes) in [
        (json!([]), false, false),
        (json!(["kms:Decrypt"]), true, false),
        (json!(["kms:Decrypt", "kms:GenerateDataKey"]), true, true),
    ] {
        let keys = json!({"Effect": "Allow", "Action": rights_to_key, "Resource": KEY});
        let document = rights(json!([objects, keys]));
        iam.put_role_policy().role_name("task").policy_name("p").policy_document(document).send().await.unwrap();
        assert_eq!(s3.get_object().bucket("b").key("k").send().await.is_ok(), reads);
        let put = s3.put_object().bucket("b").key("new").body(ByteStream::from_static(BODY)).send().await;
        assert_eq!(put.is_ok(), writes);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_archived_is_listed_and_not_given_out() {
    let (sandbox, s3) = ready().await;
    for class in ["GLACIER", "DEEP_ARCHIVE", "GLACIER_IR", "STANDARD_IA", "STANDARD"] {
        let put = s3.put_object().bucket("b").key(class).storage_class(StorageClass::from(class));
        put.body(ByteStream::from_static(BODY)).send().await.unwrap();
    }
    let odd = s3.put_object().bucket("b").key("odd").storage_class("COLD".into());
    assert_eq!(code(odd.send().await), "InvalidStorageClass");
    let listed = s3.list_objects_v2().bucket("b").send().await.unwrap();
    assert!(listed.contents().iter().all(|one| one.key() == one.storage_class().map(|class| class.as_str())));
    for (class, readable) in [("GLACIER", false), ("DEEP_ARCHIVE", false), ("GLACIER_IR", true), ("STANDARD_IA", true)]
    {
        let got = s3.get_object().bucket("b").key(class).send().await;
        assert_eq!(got.is_ok(), readable, "{class}");
        assert!(readable || code(got) == "InvalidObjectState", "{class}");
        let head = s3.head_object().bucket("b").key(class).send().await.unwrap();
        assert_eq!(head.storage_class.unwrap().as_str(), class);
    }
    let copy = s3.copy_object().bucket("b").key("copy").copy_source("b/GLACIER");
    assert_eq!(code(copy.send().await), "InvalidObjectState");

    let tier = GlacierJobParameters::builder().tier(Tier::Standard).build().unwrap();
    let days = RestoreRequest::builder().days(2).glacier_job_parameters(tier).build();
    let restore = |key: &str| s3.restore_object().bucket("b").key(key).restore_request(days.clone()).send();
    assert_eq!(code(restore("STANDARD").await), "InvalidObjectState");
    restore("GLACIER").await.unwrap();
    assert_eq!(code(restore("GLACIER").await), "RestoreAlreadyInProgress");
    let status = async || {
        let list = s3.list_objects_v2().bucket("b").prefix("GLACIER");
        let listed = list.optional_object_attributes(OptionalObjectAttributes::RestoreStatus).send().await.unwrap();
        let status = listed.contents()[0].restore_status().cloned();
        (
            status.as_ref().and_then(|one| one.is_restore_in_progress()),
            status.is_some_and(|one| one.restore_expiry_date.is_some()),
        )
    };
    assert_eq!(status().await, (Some(true), false));
    assert_eq!(code(s3.get_object().bucket("b").key("GLACIER").send().await), "InvalidObjectState");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(status().await, (Some(false), true));
    s3.get_object().bucket("b").key("GLACIER").send().await.unwrap();
    let head = s3.head_object().bucket("b").key("GLACIER").send().await.unwrap();
    assert!(head.restore.unwrap().starts_with("ongoing-request=\"false\", expiry-date="));
    tokio::time::sleep(Duration::from_secs(2 * 24 * 3600)).await;
    assert_eq!(status().await, (None, false));
    drop(sandbox);
}
