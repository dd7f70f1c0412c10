//! The kinds of problems that only this service has.

quartet_common::problem_kinds! {
    pub NOT_UPLOADED = CONFLICT "not_uploaded" "The file has not been uploaded yet" {
        when: "an upload is completed before its file is in the store",
        then: "send the file to the address that presign gave, then complete again",
    }
    pub ASSET_FAILED = CONFLICT "asset_failed" "The uploaded file was refused" {
        when: "an upload is completed again whose file was not what was promised",
        then: "presign a new upload",
    }
    pub ASSET_NOT_READY = CONFLICT "asset_not_ready" "The asset is not ready" {
        when: "the file of an asset is wanted before its upload is complete",
        then: "complete the upload first",
    }
    pub UPLOAD_MISMATCH = UNPROCESSABLE_ENTITY "upload_mismatch"
        "The uploaded file is not what was promised" {
        when: "size, media type, first bytes or checksum differ; `errors` names each; the file is removed",
        then: "presign a new upload with what the file really is",
    }
    pub STORE_UNAVAILABLE = SERVICE_UNAVAILABLE "store_unavailable"
        "The object store does not answer just now" {
        when: "the object store cannot be reached or takes too long",
        then: "send the request again after `Retry-After`",
    }
}
