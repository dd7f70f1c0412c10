//! The kinds of problems that only the gateway has. What it shares with the services is theirs too.

quartet_common::problem_kinds! {
    pub MALFORMED_REQUEST = BAD_REQUEST "malformed_request" "The request is not valid HTTP" {
        when: "the head cannot be parsed, or can be read in two ways",
        then: "send valid HTTP/1.1",
    }
    pub UPGRADE_REFUSED = BAD_REQUEST "upgrade_refused"
        "Connections to this path cannot change their protocol" {
        when: "a request with `Upgrade` goes to a path that has no WebSocket",
        then: "leave `Upgrade` out",
    }
    pub HEADERS_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large"
        "The request head is too large" {
        when: "request line and headers have more than 64 KiB or 100 lines, unless set otherwise",
        then: "send fewer or shorter headers",
    }
    pub RATE_LIMITED = TOO_MANY_REQUESTS "rate_limited" "Too many requests" {
        when: "the user, or without a token the client's address, has used up the limit that `RateLimit-Policy` tells",
        then: "wait for `Retry-After`",
    }
    pub BAD_GATEWAY = BAD_GATEWAY "bad_gateway" "The service behind this path broke off" {
        when: "a replica closed the connection before it had answered; the work may have been done",
        then: "send the request again, with the same Idempotency-Key if it had one",
    }
    pub UPSTREAM_UNREACHABLE = SERVICE_UNAVAILABLE "upstream_unreachable"
        "The service behind this path cannot be reached just now" {
        when: "no replica of the service can be reached; nothing has been done",
        then: "send the request again after `Retry-After`",
    }
    pub UPSTREAM_TIMEOUT = GATEWAY_TIMEOUT "upstream_timeout"
        "The service behind this path took too long" {
        when: "a replica gave no answer within 30 seconds, unless set otherwise; the work may have been done",
        then: "send the request again, with the same Idempotency-Key if it had one",
    }
}
