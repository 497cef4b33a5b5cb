//! Multipart uploads.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::super::account::{Account, seconds};
use super::super::service::{ApiError, Caller, Cx};
use super::super::sigv4::sha256_hex;
use super::super::wire;
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
        begun: cx.now,
        parts: BTreeMap::new(),
    };
    let id = sha256_hex(format!("upload {}", account.s3.number()).as_bytes());
    account.s3.uploads.insert(id.clone(), upload);
    let result = json!({"Bucket": call.bucket, "Key": call.key, "UploadId": id});
    let mut reply = Reply::xml("InitiateMultipartUploadResult", &result);
    // Clients that asked for an algorithm send each part's checksum by it.
    if let Some(algorithm) = call.header("x-amz-checksum-algorithm") {
        reply = reply.header("x-amz-checksum-algorithm", algorithm);
    }
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

/// Keeps staged content as a part; gives its MD5.
fn keep(
    account: &mut Account,
    cx: &Cx,
    store: &Store,
    call: &Call,
    number: u32,
    staged: Staged,
) -> Result<String, ApiError> {
    find(account, call)?;
    let blob = account.s3.number();
    let md5 = staged.md5();
    let part = Part { blob, size: staged.size(), md5: md5.clone(), modified: cx.now };
    store.commit(staged, blob)?;
    let old = find(account, call)?.1.parts.insert(number, part);
    account.s3.garbage.extend(old.map(|old| old.blob));
    Ok(md5)
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
    checksum::check(call)?;
    let md5 = keep(account, cx, store, call, number, staged)?;
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
    find(account, call)?;
    let source = Source::find(account, caller, call)?;
    let range = match call.header("x-amz-copy-source-range") {
        Some(text) => Some(copied_range(text, source.object.size)?),
        None => None,
    };
    let staged = store.stage(&store.open(source.object.blob, source.object.size)?.read(range)?)?;
    let md5 = keep(account, cx, store, call, number, staged)?;
    let reply = Reply::xml("CopyPartResult", &json!({"ETag": quoted(&md5), "LastModified": seconds(cx.now)}));
    Ok(source.named(reply))
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
            json!({
                "PartNumber": number, "ETag": quoted(&part.md5), "Size": part.size,
                "LastModified": seconds(part.modified),
            })
        })
        .collect();
    Ok(Reply::xml(
        "ListPartsResult",
        &json!({
            "Bucket": call.bucket,
            "Key": call.key,
            "UploadId": id,
            "StorageClass": "STANDARD",
            "PartNumberMarker": after,
            "NextPartNumberMarker": shown.last().map(|(number, _)| number),
            "MaxParts": most,
            "IsTruncated": more,
            "Part": parts,
        }),
    ))
}

pub(super) fn complete(account: &mut Account, cx: &Cx, store: &Store, call: &Call) -> Result<Reply, ApiError> {
    let wanted = wanted_parts(&call.body)?;
    let (id, upload) = find(account, call)?;
    let upload = upload.clone();
    let chosen = chosen_parts(&upload, &wanted)?;
    conditions::write(account, call)?;
    let mut digests = Md5::new();
    for part in &chosen {
        digests.update(hex::decode(&part.md5).unwrap_or_default());
    }
    let etag = format!("{}-{}", hex::encode(digests.finalize()), chosen.len());
    let staged = store.join(&chosen.iter().map(|part| (part.blob, part.size)).collect::<Vec<_>>())?;
    let blob = account.s3.number();
    let object =
        Object { blob, size: staged.size(), etag: etag.clone(), headers: upload.headers.clone(), checksum: None };
    store.commit(staged, blob)?;
    let version = account.s3.place(&call.bucket, &call.key, object, cx.now)?;
    account.s3.uploads.remove(&id);
    account.s3.garbage.extend(upload.parts.values().map(|part| part.blob));
    let location = format!("{}/{}/{}", cx.endpoint, call.bucket, wire::encode_key(&call.key));
    let result = json!({"Location": location, "Bucket": call.bucket, "Key": call.key, "ETag": quoted(&etag)});
    Ok(Reply::xml("CompleteMultipartUploadResult", &result).version(version))
}

/// The parts that a client names, if they were sent and can stand side by side.
fn chosen_parts<'a>(upload: &'a Upload, wanted: &[(u32, String)]) -> Result<Vec<&'a Part>, ApiError> {
    let mut chosen: Vec<&Part> = Vec::new();
    let mut last = 0;
    for (number, etag) in wanted {
        if *number <= last {
            return Err(ApiError::new(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
            ));
        }
        last = *number;
        let part = upload.parts.get(number).filter(|part| part.md5 == etag.trim_matches('"'));
        chosen.push(part.ok_or_else(|| {
            ApiError::new("InvalidPart", format!("Part {number} could not be found, or its entity tag is another."))
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

/// `<CompleteMultipartUpload><Part><PartNumber>…</PartNumber><ETag>…</ETag></Part>…`
fn wanted_parts(body: &[u8]) -> Result<Vec<(u32, String)>, ApiError> {
    let root = xml::read(body, "CompleteMultipartUpload")?;
    let parts: Option<Vec<(u32, String)>> = root
        .each("Part")
        .map(|part| Some((part.child("PartNumber")?.parse().ok()?, part.child("ETag")?.to_owned())))
        .collect();
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
        let parts = wanted_parts(body).unwrap();
        assert_eq!(parts, [(1, "\"aa\"".to_owned()), (2, "\"bb\"".to_owned())]);
        assert!(wanted_parts(b"<CompleteMultipartUpload/>").is_err());
        assert!(
            wanted_parts(b"<CompleteMultipartUpload><Part><ETag>a</ETag></Part></CompleteMultipartUpload>").is_err()
        );
    }
}
