//! Multipart uploads.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::json;

use super::super::account::Account;
use super::super::service::{ApiError, Cx};
use super::super::sigv4::sha256_hex;
use super::objects::{check_write, quoted};
use super::store::{Staged, Store};
use super::{Call, Object, Part, Reply, Upload, checksum};

/// The least size of every part but the last, bytes.
const SMALLEST_PART: u64 = 5 * 1024 * 1024;

pub(super) fn create(account: &mut Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    account.s3.bucket(&call.bucket)?;
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

pub(super) fn part(
    account: &mut Account,
    store: &Store,
    call: &Call,
    staged: Option<Staged>,
) -> Result<Reply, ApiError> {
    let staged = staged.ok_or_else(|| ApiError::new("InternalError", "the body was not staged").status(500))?;
    let number = call.parameter("partNumber").and_then(|text| text.parse().ok()).filter(|n| (1..=10_000).contains(n));
    let number: u32 = number.ok_or_else(|| {
        ApiError::new("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    })?;
    checksum::check(call)?;
    find(account, call)?;
    let blob = account.s3.number();
    let part = Part { blob, size: staged.size(), md5: staged.md5() };
    store.commit(staged, blob)?;
    let mut reply = Reply::empty(200).header("etag", quoted(&part.md5));
    if let Some((name, value)) = &call.checksum {
        reply = reply.header(name, value);
    }
    let old = find(account, call)?.1.parts.insert(number, part);
    account.s3.garbage.extend(old.map(|old| old.blob));
    Ok(reply)
}

pub(super) fn complete(account: &mut Account, cx: &Cx, store: &Store, call: &Call) -> Result<Reply, ApiError> {
    let wanted = wanted_parts(&call.body)?;
    let (id, upload) = find(account, call)?;
    let upload = upload.clone();
    let mut chosen: Vec<&Part> = Vec::new();
    let mut last = 0;
    for (number, etag) in &wanted {
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
    check_write(account, call)?;
    let mut digests = Md5::new();
    for part in &chosen {
        digests.update(hex::decode(&part.md5).unwrap_or_default());
    }
    let etag = format!("{}-{}", hex::encode(digests.finalize()), chosen.len());
    let staged = store.join(&chosen.iter().map(|part| (part.blob, part.size)).collect::<Vec<_>>())?;
    let blob = account.s3.number();
    let object = Object {
        blob,
        size: staged.size(),
        etag: etag.clone(),
        modified: cx.now,
        headers: upload.headers.clone(),
        checksum: None,
    };
    store.commit(staged, blob)?;
    account.s3.place(&call.bucket, &call.key, object);
    account.s3.uploads.remove(&id);
    account.s3.garbage.extend(upload.parts.values().map(|part| part.blob));
    let location = format!("{}/{}/{}", cx.endpoint, call.bucket, super::wire::encode_key(&call.key));
    let result = json!({"Location": location, "Bucket": call.bucket, "Key": call.key, "ETag": quoted(&etag)});
    Ok(Reply::xml("CompleteMultipartUploadResult", &result))
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
    let malformed = || {
        ApiError::new(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    };
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let mut reader = Reader::from_str(text);
    let (mut parts, mut inside) = (Vec::new(), String::new());
    let (mut number, mut etag) = (None, String::new());
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(start) => {
                inside = start.local_name().as_ref().to_owned();
                if inside == "Part" {
                    (number, etag) = (None, String::new());
                }
            }
            Event::Text(text) => match inside.as_str() {
                "PartNumber" => number = text.into_inner().trim().parse().ok().or(number),
                "ETag" => etag.push_str(text.into_inner().trim()),
                _ => {}
            },
            // `&quot;` around an ETag comes as a reference, and the quotes do not count.
            Event::GeneralRef(_) => {}
            Event::End(end) => {
                if end.local_name().as_ref() == "Part" {
                    parts.push((number.ok_or_else(malformed)?, std::mem::take(&mut etag)));
                }
                inside.clear();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if parts.is_empty() { Err(malformed()) } else { Ok(parts) }
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
        assert_eq!(parts, [(1, "aa".to_owned()), (2, "\"bb\"".to_owned())]);
        assert!(wanted_parts(b"<a/>").is_err());
    }
}
