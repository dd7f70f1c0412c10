//! Problem kinds of this service.

quartet_common::problem_kinds! {
    pub NOT_UPLOADED = CONFLICT "not_uploaded" "File not uploaded yet" {
        when: "An upload is completed before its file is in the object store.",
        then: "Send the file to the signed URL from the presign response, then complete again.",
    }
    pub ASSET_FAILED = CONFLICT "asset_failed" "Upload rejected" {
        when: "The uploaded file of this asset was rejected and removed.",
        then: "Presign a new upload.",
    }
    pub TOO_MANY_FILES = CONFLICT "too_many_files" "Too many files of one upload" {
        when: "The file of an upload was replaced by another one again and again while it was verified; the 17th different one is not accepted.",
        then: "Presign a new upload, and complete it after its file was sent.",
    }
    pub ASSET_NOT_READY = CONFLICT "asset_not_ready" "Asset not ready" {
        when: "A download is requested before the upload is complete.",
        then: "Complete the upload first.",
    }
    pub UPLOAD_MISMATCH = UNPROCESSABLE_ENTITY "upload_mismatch" "Mismatch of the uploaded file" {
        when: "Size, media type, first bytes or checksum of the file differ from the presign request; `errors` names each. The file is removed.",
        then: "Presign a new upload that describes the file.",
    }
    pub STORE_UNAVAILABLE = SERVICE_UNAVAILABLE "store_unavailable" "Object store unavailable" {
        when: "The object store cannot be reached or takes too long.",
        then: "Retry after the time in `Retry-After`.",
    }
}
