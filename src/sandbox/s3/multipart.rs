//! Multipart uploads.

use std::collections::BTreeMap;
use std::ops::Bound;

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::super::account::{Account, seconds};
use super::super::service::{ApiError, Caller, Cx};
use super::super::sigv4::sha256_hex;
use super::super::wire;
use super::checksum::Declared;
use super::keeping::{self, Keeping};
use super::objects::{Source, quoted};
use super::state::{Completed, Object, Part, Upload};
use super::store::{Staged, Store};
use super::{Call, Reply, argument, checksum, conditions, members, xml};

/// The least size of every part but the last, bytes.
const SMALLEST_PART: u64 = 5 * 1024 * 1024;

pub(super) fn create(account: &mut Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    account.s3.bucket(&call.bucket)?;
    conditions::key_length(&call.key)?;
    let upload = Upload {
        bucket: call.bucket.clone(),
        key: call.key.clone(),
        headers: call.kept_headers()?,
        keeping: Keeping::asked(call, account.s3.bucket(&call.bucket)?)?,
        said_encryption: (
            call.header(keeping::METHOD).map(str::to_owned),
            call.header(keeping::KEY).map(str::to_owned),
        ),
        declared: Declared::read(call)?,
        begun: cx.now,
        disturbed: false,
        parts: BTreeMap::new(),
    };
    let id = sha256_hex(format!("upload {}", account.s3.number()).as_bytes());
    let result = json!({"Bucket": call.bucket, "Key": call.key, "UploadId": id});
    let mut reply = upload.keeping.encryption.told(Reply::xml("InitiateMultipartUploadResult", &result));
    // Clients that asked for an algorithm send each part's checksum by it.
    if let Some(declared) = &upload.declared {
        reply = reply.header("x-amz-checksum-algorithm", declared.algorithm.to_uppercase());
        reply = reply.header("x-amz-checksum-type", declared.kind());
    }
    account.s3.uploads.insert(id, upload);
    Ok(reply)
}

fn find<'a>(account: &'a mut Account, call: &Call) -> Result<(String, &'a mut Upload), ApiError> {
    let id = call.parameter("uploadId").unwrap_or_default().to_owned();
    account
        .s3
        .uploads
        .get_mut(&id)
        .filter(|upload| upload.bucket == call.bucket && upload.key == call.key)
        .map(|upload| (id, upload))
        .ok_or_else(|| no_such_upload(call))
}

fn no_such_upload(call: &Call) -> ApiError {
    let message = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    ApiError {
        more: Some(json!({"UploadId": call.parameter("uploadId")})),
        ..ApiError::new("NoSuchUpload", message).status(404)
    }
}

fn number(call: &Call) -> Result<u32, ApiError> {
    let text = call.parameter("partNumber").unwrap_or_default();
    let number = text.parse().ok().filter(|n| (1..=10_000).contains(n));
    number.ok_or_else(|| argument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive"))
}

/// Keeps staged content as a part, with its checksum by the upload's algorithm; gives its MD5.
fn keep(
    account: &mut Account,
    cx: &Cx,
    store: &Store,
    call: &Call,
    (number, checksum): (u32, Option<String>),
    staged: Staged,
) -> Result<String, ApiError> {
    find(account, call)?;
    let blob = account.s3.number();
    let md5 = staged.md5();
    let part = Part { blob, size: staged.size(), md5: md5.clone(), checksum, modified: cx.now };
    store.commit(staged, blob)?;
    let old = find(account, call)?.1.parts.insert(number, part);
    account.s3.garbage.extend(old.map(|old| old.blob));
    Ok(md5)
}

/// The checksum that is kept of a part, if the part carries one as the upload declared it. Where nothing is declared S3 takes
/// any, CRC32 above all, which SDKs add by themselves, checks it and forgets it (attic#268).
fn part_checksum(declared: Option<&Declared>, sent: Option<&(String, String)>) -> Result<Option<String>, ApiError> {
    let algorithm = sent.and_then(|(name, _)| name.strip_prefix("x-amz-checksum-"));
    match (declared, algorithm) {
        (None, _) => Ok(None),
        (Some(declared), None) if declared.whole => Ok(None),
        (Some(declared), Some(algorithm)) if declared.algorithm == algorithm => {
            Ok(sent.map(|(_, value)| value.clone()))
        }
        (declared, algorithm) => {
            let expected = declared.map_or("null", |declared| declared.algorithm.as_str());
            let actual = algorithm.unwrap_or("null");
            let message = format!(
                "Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {actual}"
            );
            Err(ApiError::new("InvalidRequest", message))
        }
    }
}

pub(super) fn part(
    account: &mut Account,
    cx: &Cx,
    store: &Store,
    call: &Call,
    staged: Option<Staged>,
) -> Result<Reply, ApiError> {
    let staged = staged.ok_or_else(|| ApiError::new("InternalError", "the body was not staged").status(500))?;
    let number = number(call)?;
    if call.header(keeping::METHOD).is_some() {
        let message = "x-amz-server-side-encryption header is not supported for this operation.";
        return Err(ApiError::new("InvalidArgument", message));
    }
    let upload = find(account, call)?.1;
    let encryption = upload.keeping.encryption.clone();
    let checksum = part_checksum(upload.declared.as_ref(), call.checksum.as_ref())?;
    let md5 = keep(account, cx, store, call, (number, checksum), staged)?;
    let reply = encryption.told(Reply::empty(200).header("etag", quoted(&md5)));
    Ok(match &call.checksum {
        Some((name, value)) => reply.header(name, value),
        None => reply,
    })
}

pub(super) fn part_copy(
    account: &mut Account,
    cx: &Cx,
    store: &Store,
    caller: &Caller,
    call: &Call,
) -> Result<Reply, ApiError> {
    let number = number(call)?;
    let upload = find(account, call)?.1;
    let (declared, encryption) = (upload.declared.clone(), upload.keeping.encryption.clone());
    let source = Source::find(account, cx, caller, call)?;
    let range = match call.header("x-amz-copy-source-range") {
        Some(text) => Some(copied_range(text, source.object.size)?),
        None => None,
    };
    let content = store.open(source.object.blob, source.object.size)?.read(range)?;
    let checksum = declared.as_ref().map(|declared| checksum::of(&declared.algorithm, &content)).transpose()?;
    let md5 = keep(account, cx, store, call, (number, checksum.clone()), store.stage(&content)?)?;
    let mut result = json!({"ETag": quoted(&md5), "LastModified": seconds(cx.now)});
    if let (Some(declared), Some(checksum)) = (declared, checksum) {
        result[checksum::element(&declared.algorithm)] = json!(checksum);
    }
    Ok(source.named(encryption.told(Reply::xml("CopyPartResult", &result))))
}

/// `bytes=first-last`, both there and both within the source. The API's page wants a source of more than 5 MB; S3 does not.
fn copied_range(text: &str, size: u64) -> Result<(u64, u64), ApiError> {
    let invalid = |message: &str| argument("x-amz-copy-source-range", text, message);
    let ends = text.strip_prefix("bytes=").and_then(|text| text.split_once('-'));
    let ends = ends.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let (first, last): (u64, u64) = ends.filter(|(first, last)| first <= last).ok_or_else(|| {
        invalid("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
    })?;
    if first >= size {
        let message = "The specified copy range is invalid for the source object size";
        return Err(ApiError::new("InvalidRequest", message));
    }
    if last >= size {
        return Err(invalid(&format!("Range specified is not valid for source object of size: {size}")));
    }
    Ok((first, last))
}

pub(super) fn parts(account: &mut Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let most = call.at_most("max-parts")?;
    let after = match call.parameter("part-number-marker") {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            argument("part-number-marker", text, "Provided part-number-marker not an integer or within integer range")
        })?,
    };
    let owner = super::owner(account);
    let (id, upload) = find(account, call)?;
    let mut found = upload.parts.range((Bound::Excluded(after), Bound::Unbounded));
    let shown: Vec<(&u32, &Part)> = found.by_ref().take(most.min(cx.options.settings.page.max(1))).collect();
    let more = !shown.is_empty() && found.next().is_some();
    let parts: Vec<Value> = shown
        .iter()
        .map(|(number, part)| {
            let mut shown = json!({
                "PartNumber": number, "ETag": quoted(&part.md5), "Size": part.size,
                "LastModified": seconds(part.modified),
            });
            if let (Some(declared), Some(checksum)) = (&upload.declared, &part.checksum) {
                shown[checksum::element(&declared.algorithm)] = json!(checksum);
            }
            shown
        })
        .collect();
    let declared = upload.declared.as_ref();
    Ok(Reply::xml(
        "ListPartsResult",
        &json!({
            "Bucket": call.bucket,
            "Key": call.key,
            "UploadId": id,
            "Initiator": owner,
            "Owner": owner,
            "StorageClass": upload.keeping.class(),
            "PartNumberMarker": after,
            "NextPartNumberMarker": shown.last().map(|(number, _)| number),
            "MaxParts": most,
            "IsTruncated": more,
            "ChecksumAlgorithm": declared.map(|declared| declared.algorithm.to_uppercase()),
            "ChecksumType": declared.map(Declared::kind),
            "Part": parts,
        }),
    ))
}

pub(super) fn complete(account: &mut Account, cx: &Cx, store: &Store, call: &Call) -> Result<Reply, ApiError> {
    let body = sha256_hex(&call.body);
    if let Some(reply) = completed(account, call, &body) {
        return Ok(reply);
    }
    let wanted = wanted_parts(call)?;
    let (id, upload) = find(account, call)?;
    let upload = upload.clone();
    let chosen = chosen_parts(call, &upload, &wanted)?;
    check_whole(call, &upload, &chosen)?;
    conditions::write(account, call)?;
    conditions::undisturbed(call, upload.disturbed)?;
    let mut digests = Md5::new();
    for part in &chosen {
        digests.update(hex::decode(&part.md5).unwrap_or_default());
    }
    let encryption = &upload.keeping.encryption;
    let digest = encryption.etag(hex::encode(digests.finalize()), account.s3.serial);
    let etag = format!("{digest}-{}", chosen.len());
    let content = |part: &Part| store.open(part.blob, part.size)?.read(None);
    let contents = chosen.iter().map(|part| (part.checksum.as_deref(), content(part)));
    let declared = upload.declared.clone().unwrap_or_else(Declared::nothing);
    let sum = (format!("x-amz-checksum-{}", declared.algorithm), declared.of_object(contents)?);
    if call.checksum.as_ref().is_some_and(|sent| *sent != sum) {
        let by = &declared.algorithm;
        let message = format!("The {by} you specified did not match the calculated checksum.");
        return Err(ApiError::new("BadDigest", message));
    }
    let staged = store.join(&chosen.iter().map(|part| (part.blob, part.size)).collect::<Vec<_>>())?;
    let blob = account.s3.number();
    let location = format!("{}/{}/{}", cx.endpoint, call.bucket, wire::encode_key(&call.key));
    let mut result = json!({
        "Location": location, "Bucket": call.bucket, "Key": call.key, "ETag": quoted(&etag),
        "ChecksumType": declared.kind(),
    });
    result[checksum::element(&declared.algorithm)] = json!(sum.1);
    let (headers, keeping) = (upload.headers.clone(), upload.keeping.clone());
    let object = Object { blob, size: staged.size(), etag, headers, checksum: Some(sum), keeping };
    store.commit(staged, blob)?;
    account.s3.uploads.remove(&id);
    let version = account.s3.place(&call.bucket, &call.key, object, cx.now)?;
    account.s3.garbage.extend(upload.parts.values().map(|part| part.blob));
    let (bucket, key) = (call.bucket.clone(), call.key.clone());
    remember(
        account,
        blob,
        Completed { upload: id, bucket, key, body, result: result.clone(), version: version.clone() },
    );
    let reply = Reply::xml("CompleteMultipartUploadResult", &result).version(version);
    Ok(upload.keeping.encryption.told(reply))
}

/// How many completed uploads are remembered.
const REMEMBERED: usize = 1000;

fn remember(account: &mut Account, blob: u64, done: Completed) {
    account.s3.completed.insert(blob, done);
    let oldest = account.s3.completed.keys().next().copied();
    if let Some(oldest) = oldest.filter(|_| account.s3.completed.len() > REMEMBERED) {
        account.s3.completed.remove(&oldest);
    }
}

/// The answer to an upload that was completed by this very request before, while its object is there: a client that has lost
/// the answer asks again (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>, and
/// minio#13318).
fn completed(account: &Account, call: &Call, body: &str) -> Option<Reply> {
    let id = call.parameter("uploadId")?;
    let same = |done: &&Completed| done.upload == id && done.bucket == call.bucket && done.key == call.key;
    let (blob, done) =
        account.s3.completed.iter().find(|(_, done)| same(done)).filter(|(_, done)| done.body == body)?;
    let (_, object) = account.s3.bucket(&call.bucket).ok()?.current(&call.key)?;
    let reply = Reply::xml("CompleteMultipartUploadResult", &done.result).version(done.version.clone());
    (object.blob == *blob).then(|| object.keeping.encryption.told(reply))
}

/// Refuses another type of checksum than the upload's, and another size than its parts'.
fn check_whole(call: &Call, upload: &Upload, chosen: &[&Part]) -> Result<(), ApiError> {
    let invalid = |message: String| Err(ApiError::new("InvalidRequest", message));
    let kind = upload.declared.as_ref().map_or("null", Declared::kind);
    if call.header("x-amz-checksum-type").is_some_and(|asked| !asked.eq_ignore_ascii_case(kind)) {
        return invalid(format!(
            "The upload was created using the {kind} checksum mode. The complete request must use the same checksum mode."
        ));
    }
    let size: u64 = chosen.iter().map(|part| part.size).sum();
    match call.header("x-amz-mp-object-size") {
        Some(said) if said.parse() != Ok(size) => invalid(format!(
            "The provided 'x-amz-mp-object-size' header value {said} does not match what was computed: {size}"
        )),
        _ => Ok(()),
    }
}

/// The parts that a client names, if they were sent and can stand side by side.
fn chosen_parts<'a>(call: &Call, upload: &'a Upload, wanted: &[Wanted]) -> Result<Vec<&'a Part>, ApiError> {
    let mut chosen: Vec<&Part> = Vec::new();
    let mut last = 0;
    for one in wanted {
        if one.number <= last {
            return Err(ApiError {
                more: Some(json!({"UploadId": call.parameter("uploadId")})),
                ..ApiError::new(
                    "InvalidPartOrder",
                    "The list of parts was not in ascending order. Parts must be ordered by part number.",
                )
            });
        }
        last = one.number;
        check_sums(upload, one)?;
        let etag = one.etag.trim_matches('"');
        let same = |part: &&Part| part.md5 == etag && has_sums(upload, part, &one.checksums);
        let part = upload.parts.get(&one.number).filter(same).ok_or_else(|| {
            let message = "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
            ApiError {
                more: Some(json!({"PartNumber": one.number, "ETag": etag, "UploadId": call.parameter("uploadId")})),
                ..ApiError::new("InvalidPart", message)
            }
        })?;
        chosen.push(part);
    }
    let others = chosen.split_last().map(|(_, others)| others).unwrap_or_default();
    match others.iter().zip(wanted).find(|(part, _)| part.size < SMALLEST_PART) {
        Some((small, one)) => Err(ApiError {
            more: Some(json!({
                "ProposedSize": small.size, "MinSizeAllowed": SMALLEST_PART, "PartNumber": one.number, "ETag": small.md5,
            })),
            ..ApiError::new("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        }),
        None => Ok(chosen),
    }
}

/// The parts of a composite checksum are named with their own, all by its algorithm.
fn check_sums(upload: &Upload, wanted: &Wanted) -> Result<(), ApiError> {
    let Some(declared) = upload.declared.as_ref().filter(|declared| !declared.whole) else { return Ok(()) };
    let (by, number) = (&declared.algorithm, wanted.number);
    match wanted.checksums.keys().find(|other| **other != by.as_str()) {
        _ if wanted.checksums.is_empty() => {
            let message = format!(
                "The upload was created using a {by} checksum. The complete request must include the checksum for each part. It was missing for part {number} in the request."
            );
            Err(ApiError::new("InvalidRequest", message))
        }
        Some(other) => {
            let message = format!("The {other} you specified for part {number} did not match what we received.");
            Err(ApiError::new("BadDigest", message))
        }
        None => Ok(()),
    }
}

/// A checksum that is not the part's, or that the upload never declared, makes it another part to S3
/// (aws-sdk-java-v2#6518, aws-sdk-go-v2#3005).
fn has_sums(upload: &Upload, part: &Part, sums: &BTreeMap<&'static str, String>) -> bool {
    let algorithm = upload.declared.as_ref().map(|declared| declared.algorithm.as_str());
    let mut sums = sums.iter();
    sums.all(|(by, value)| algorithm == Some(by) && part.checksum.as_ref().is_none_or(|sum| sum == value))
}

pub(super) fn abort(account: &mut Account, call: &Call) -> Result<Reply, ApiError> {
    let (id, _) = find(account, call)?;
    if let Some(upload) = account.s3.uploads.remove(&id) {
        account.s3.garbage.extend(upload.parts.values().map(|part| part.blob));
    }
    Ok(Reply::empty(204))
}

/// A part that a completion names, with its checksums by algorithm.
struct Wanted {
    number: u32,
    etag: String,
    checksums: BTreeMap<&'static str, String>,
}

/// `<CompleteMultipartUpload><Part><PartNumber>…</PartNumber><ETag>…</ETag><ChecksumSHA256>…</ChecksumSHA256></Part>…`
fn wanted_parts(call: &Call) -> Result<Vec<Wanted>, ApiError> {
    let none = || ApiError::new("InvalidRequest", "You must specify at least one part");
    if call.body.is_empty() {
        return Err(none());
    }
    let root = members::body(call, "CompleteMultipartUpload")?;
    let wanted = |part| {
        let (number, etag) = (xml::Element::child(part, "PartNumber")?.parse().ok()?, part.child("ETag")?.to_owned());
        Some(Wanted { number, etag, checksums: checksum::named(part) })
    };
    let parts: Option<Vec<Wanted>> = root.each("Part").map(wanted).collect();
    let parts = parts.ok_or_else(xml::malformed)?;
    if parts.is_empty() { Err(none()) } else { Ok(parts) }
}

#[cfg(test)]
mod tests {
    use super::{Call, wanted_parts};

    #[test]
    fn parts_are_read() {
        let call = |body: &'static str| Call { body: body.into(), ..Call::example("POST", "b", "k?uploadId=u") };
        let body = r#"<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Part><ETag>&quot;aa&quot;</ETag><PartNumber>1</PartNumber></Part>
            <Part><PartNumber>2</PartNumber><ETag>"bb"</ETag></Part></CompleteMultipartUpload>"#;
        let read = wanted_parts(&call(body)).unwrap().into_iter();
        let parts: Vec<_> = read.map(|part| (part.number, part.etag)).collect();
        assert_eq!(parts, [(1, "\"aa\"".to_owned()), (2, "\"bb\"".to_owned())]);
        let code = |body| wanted_parts(&call(body)).map(|_| ()).unwrap_err().code;
        assert_eq!(code("<CompleteMultipartUpload/>"), "InvalidRequest");
        let part = |inside| format!("<CompleteMultipartUpload><Part>{inside}</Part></CompleteMultipartUpload>").leak();
        assert_eq!(code(part("<ETag>a</ETag>")), "MalformedXML");
        assert_eq!(code(part("<ETag>a</ETag><PartNumber>1</PartNumber><Colour>red</Colour>")), "MalformedXML");
        assert_eq!(
            code(part("<ETag>a</ETag><PartNumber>1</PartNumber><ChecksumMD5>a</ChecksumMD5>")),
            "NotImplemented"
        );
    }
}
