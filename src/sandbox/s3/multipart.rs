//! Multipart uploads.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::super::account::{Account, seconds};
use super::super::service::{ApiError, Caller, Cx};
use super::super::sigv4::sha256_hex;
use super::super::wire;
use super::checksum::Declared;
use super::keeping::{self, Keeping};
use super::objects::{Source, quoted};
use super::state::{Object, Part, Upload};
use super::store::{Staged, Store};
use super::{Call, Reply, checksum, conditions, xml};

/// The least size of every part but the last, and of an object of which a range can be copied, bytes.
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
        .ok_or_else(|| {
            ApiError::new("NoSuchUpload", "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.").status(404)
        })
}

fn number(call: &Call) -> Result<u32, ApiError> {
    let number = call.parameter("partNumber").and_then(|text| text.parse().ok()).filter(|n| (1..=10_000).contains(n));
    number.ok_or_else(|| {
        ApiError::new("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    })
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

/// The checksum that is kept of a part, if the part carries one as the upload declared it. S3 takes CRC32, which SDKs add by
/// themselves, where nothing is declared, checks it and forgets it (attic#268); what it makes of other algorithms there is
/// not documented, and they are refused as it did before.
fn part_checksum(declared: Option<&Declared>, sent: Option<&(String, String)>) -> Result<Option<String>, ApiError> {
    let algorithm = sent.and_then(|(name, _)| name.strip_prefix("x-amz-checksum-"));
    match (declared, algorithm) {
        (None, None | Some("crc32")) => Ok(None),
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
    checksum::check(call)?;
    let checksum = part_checksum(find(account, call)?.1.declared.as_ref(), call.checksum.as_ref())?;
    let md5 = keep(account, cx, store, call, (number, checksum), staged)?;
    let reply = Reply::empty(200).header("etag", quoted(&md5));
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
    let declared = find(account, call)?.1.declared.clone();
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
    Ok(source.named(Reply::xml("CopyPartResult", &result)))
}

/// `bytes=first-last`, both there and both within the source.
fn copied_range(text: &str, size: u64) -> Result<(u64, u64), ApiError> {
    let invalid = |message: String| ApiError::new("InvalidArgument", message);
    let ends = text.strip_prefix("bytes=").and_then(|text| text.split_once('-'));
    let ends = ends.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let (first, last): (u64, u64) = ends.filter(|(first, last)| first <= last).ok_or_else(|| {
        invalid("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy".to_owned())
    })?;
    if size <= SMALLEST_PART {
        let message = "The specified copy source is not supported as a byte-range copy source";
        return Err(ApiError::new("InvalidRequest", message));
    }
    if last >= size {
        return Err(invalid(format!("Range specified is not valid for source object of size: {size}")));
    }
    Ok((first, last))
}

pub(super) fn parts(account: &mut Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let most = call.at_most("max-parts")?;
    let after = match call.parameter("part-number-marker") {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            ApiError::new("InvalidArgument", "Provided part-number-marker not an integer or within integer range")
        })?,
    };
    let (id, upload) = find(account, call)?;
    let mut found = upload.parts.iter().filter(|(number, _)| **number > after);
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
    let wanted = wanted_parts(&call.body)?;
    let (id, upload) = find(account, call)?;
    let upload = upload.clone();
    let chosen = chosen_parts(&upload, &wanted)?;
    if let (Some(asked), Some(declared)) = (call.header("x-amz-checksum-type"), &upload.declared)
        && !asked.eq_ignore_ascii_case(declared.kind())
    {
        let message = format!(
            "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
            declared.kind()
        );
        return Err(ApiError::new("InvalidRequest", message));
    }
    conditions::write(account, call)?;
    let mut digests = Md5::new();
    for part in &chosen {
        digests.update(hex::decode(&part.md5).unwrap_or_default());
    }
    let encryption = &upload.keeping.encryption;
    let digest = encryption.etag(hex::encode(digests.finalize()), account.s3.serial);
    let etag = format!("{digest}-{}", chosen.len());
    let content = |part: &Part| store.open(part.blob, part.size)?.read(None);
    let contents = chosen.iter().map(|part| (part.checksum.as_deref(), content(part)));
    let sum = upload.declared.as_ref().map(|declared| declared.of_object(contents)).transpose()?;
    let checksum = upload.declared.as_ref().zip(sum).map(|(declared, sum)| (declared.clone(), sum));
    let header = checksum.clone().map(|(declared, sum)| (format!("x-amz-checksum-{}", declared.algorithm), sum));
    if call.checksum.is_some() && call.checksum != header {
        return Err(ApiError::new("BadDigest", "The checksum you specified did not match the calculated checksum."));
    }
    let staged = store.join(&chosen.iter().map(|part| (part.blob, part.size)).collect::<Vec<_>>())?;
    let blob = account.s3.number();
    let (headers, keeping) = (upload.headers.clone(), upload.keeping.clone());
    let object = Object { blob, size: staged.size(), etag: etag.clone(), headers, checksum: header, keeping };
    store.commit(staged, blob)?;
    let version = account.s3.place(&call.bucket, &call.key, object, cx.now)?;
    account.s3.uploads.remove(&id);
    account.s3.garbage.extend(upload.parts.values().map(|part| part.blob));
    let location = format!("{}/{}/{}", cx.endpoint, call.bucket, wire::encode_key(&call.key));
    let mut result = json!({"Location": location, "Bucket": call.bucket, "Key": call.key, "ETag": quoted(&etag)});
    if let Some((declared, sum)) = checksum {
        result[checksum::element(&declared.algorithm)] = json!(sum);
        result["ChecksumType"] = json!(declared.kind());
    }
    let reply = Reply::xml("CompleteMultipartUploadResult", &result).version(version);
    Ok(upload.keeping.encryption.told(reply))
}

/// The parts that a client names, if they were sent and can stand side by side.
fn chosen_parts<'a>(upload: &'a Upload, wanted: &[Wanted]) -> Result<Vec<&'a Part>, ApiError> {
    let mut chosen: Vec<&Part> = Vec::new();
    let mut last = 0;
    for Wanted { number, etag, checksums } in wanted {
        if *number <= last {
            return Err(ApiError::new(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
            ));
        }
        last = *number;
        if let Some(declared) = upload.declared.as_ref().filter(|declared| !declared.whole)
            && checksums.is_empty()
        {
            let message = format!(
                "The upload was created using a {} checksum. The complete request must include the checksum for each part. It was missing for part {number} in the request.",
                declared.algorithm
            );
            return Err(ApiError::new("InvalidRequest", message));
        }
        // A checksum that is not the part's, or that the upload never declared, makes it another part to S3
        // (aws-sdk-java-v2#6518, aws-sdk-go-v2#3005).
        let algorithm = upload.declared.as_ref().map(|declared| declared.algorithm.as_str());
        let same = |part: &Part| {
            let mut checksums = checksums.iter();
            checksums.all(|(by, value)| algorithm == Some(by) && part.checksum.as_ref().is_none_or(|sum| sum == value))
        };
        let part = upload.parts.get(number).filter(|part| part.md5 == etag.trim_matches('"') && same(part));
        chosen.push(part.ok_or_else(|| {
            let message = "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
            ApiError { more: Some(json!({"PartNumber": number})), ..ApiError::new("InvalidPart", message) }
        })?);
    }
    if chosen.split_last().is_none_or(|(_, others)| others.iter().any(|part| part.size < SMALLEST_PART)) {
        return Err(ApiError::new(
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed object size",
        ));
    }
    Ok(chosen)
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
fn wanted_parts(body: &[u8]) -> Result<Vec<Wanted>, ApiError> {
    let root = xml::read(body, "CompleteMultipartUpload")?;
    let wanted = |part| {
        let (number, etag) = (xml::Element::child(part, "PartNumber")?.parse().ok()?, part.child("ETag")?.to_owned());
        Some(Wanted { number, etag, checksums: checksum::named(part) })
    };
    let parts: Option<Vec<Wanted>> = root.each("Part").map(wanted).collect();
    parts.filter(|parts| !parts.is_empty()).ok_or_else(xml::malformed)
}

#[cfg(test)]
mod tests {
    use super::wanted_parts;

    #[test]
    fn parts_are_read() {
        let body = br#"<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Part><ETag>&quot;aa&quot;</ETag><PartNumber>1</PartNumber></Part>
            <Part><PartNumber>2</PartNumber><ETag>"bb"</ETag></Part></CompleteMultipartUpload>"#;
        let parts: Vec<_> = wanted_parts(body).unwrap().into_iter().map(|part| (part.number, part.etag)).collect();
        assert_eq!(parts, [(1, "\"aa\"".to_owned()), (2, "\"bb\"".to_owned())]);
        assert!(wanted_parts(b"<CompleteMultipartUpload/>").is_err());
        assert!(
            wanted_parts(b"<CompleteMultipartUpload><Part><ETag>a</ETag></Part></CompleteMultipartUpload>").is_err()
        );
    }
}
