//! The problem kinds of this service. GraphQL errors carry the same codes in upper case.

use quartet_common::problem::kinds;

/// The reference in Markdown.
pub(crate) fn render_markdown() -> String {
    let own = kinds::render_markdown(ALL);
    let graphql = kinds::render_graphql_markdown(graphql::ALL);
    format!(
        "{own}\nGraphQL errors carry these codes in `extensions.code`, or the code of a problem in upper case:\n\n{graphql}"
    )
}

quartet_common::problem_kinds! {
    pub LINK_NOT_FOUND = NOT_FOUND "link_not_found" "Short link not found" {
        when: "No link has this slug.",
        then: "Check the URL. Retrying does not help.",
    }
    pub LINK_DISABLED = GONE "link_disabled" "Disabled link" {
        when: "The owner has disabled the link.",
        then: "Ask the owner of the link.",
    }
    pub LINK_EXPIRED = GONE "link_expired" "Expired link" {
        when: "The link's `expiresAt` has passed.",
        then: "Ask the owner of the link.",
    }
    pub LINK_EXHAUSTED = GONE "link_exhausted" "Maximum number of clicks reached" {
        when: "The link has been followed as many times as `maxClicks` allows.",
        then: "Ask the owner of the link.",
    }
    pub PREFETCH_REFUSED = FORBIDDEN "prefetch_refused"
        "Prefetch not allowed for a link with a click limit" {
        when: "A browser prefetches a link that has `maxClicks`.",
        then: "Follow the link on navigation instead.",
    }
    pub CLICK_LOG_UNAVAILABLE = SERVICE_UNAVAILABLE "click_log_unavailable"
        "Click log unavailable" {
        when: "The click log is full or cannot be written, and `clicks.when_log_is_full` is `refuse`.",
        then: "Retry after the time in `Retry-After`.",
    }
    pub NOT_ACCEPTABLE = NOT_ACCEPTABLE "not_acceptable" "No acceptable media type" {
        when: "The `Accept` header allows none of the media types of a GraphQL response.",
        then: "Accept `application/graphql-response+json`.",
    }
    pub MUTATION_BY_GET = METHOD_NOT_ALLOWED "mutation_by_get" "Mutation in a GET request" {
        when: "The document of a GET request is a mutation.",
        then: "Send it with POST.",
    }
    pub ORIGIN_NOT_ALLOWED = FORBIDDEN "origin_not_allowed" "Origin not allowed" {
        when: "A page of another site opens a WebSocket.",
        then: "Open the WebSocket from an origin in `graphql.allowed_origins`.",
    }
    pub INVALID_UPGRADE = UPGRADE_REQUIRED "invalid_upgrade" "Invalid WebSocket handshake" {
        when: "A request with `Upgrade` is not a version 13 WebSocket handshake.",
        then: "Send a complete handshake, or omit `Upgrade`.",
    }
}

/// Kinds that appear only as `extensions.code` of a GraphQL error.
pub(crate) mod graphql {
    quartet_common::problem_kinds! {
        pub SLUG_TAKEN = CONFLICT "slug_taken" "Slug already taken" {
            when: "Another link has this slug, or had it until recently.",
            then: "Choose another slug.",
        }
        pub INVALID_INPUT = UNPROCESSABLE_ENTITY "invalid_input" "Invalid input" {
            when: "One or more values of the input are invalid; `errors` lists them.",
            then: "Fix the fields that `errors` lists.",
        }
        pub INVALID_REQUEST = BAD_REQUEST "invalid_request" "Invalid GraphQL request" {
            when: "A parameter of the request is missing or has the wrong type.",
            then: "Send `query` and, where needed, `operationName` and `variables`.",
        }
        pub STREAM_NEEDED = BAD_REQUEST "stream_needed" "Subscription without a stream" {
            when: "A subscription is sent without `Accept: text/event-stream`.",
            then: "Accept `text/event-stream`, or use a WebSocket.",
        }
        pub TOO_MANY_SUBSCRIPTIONS = TOO_MANY_REQUESTS "too_many_subscriptions"
            "Too many operations at the same time" {
            when: "The socket already runs `graphql.max_subscriptions_per_socket` operations, or the user has `graphql.max_subscriptions_per_user` subscriptions.",
            then: "Complete an operation first.",
        }
        pub RATE_LIMITED = TOO_MANY_REQUESTS "rate_limited" "Too many requests" {
            when: "The operation costs more than the user has left of the quota in `RateLimit-Policy`, or too many of the user's operations run at the same time.",
            then: "Wait for `retryAfterSeconds`, or request less at once.",
        }
        pub TOO_EXPENSIVE = BAD_REQUEST "too_expensive" "Operation too expensive" {
            when: "The operation costs more than `graphql.max_cost`.",
            then: "Request smaller pages, shorter series or fewer fields.",
        }
        pub RESPONSE_TOO_LARGE = BAD_REQUEST "response_too_large" "Response too large" {
            when: "The response has more than `graphql.max_response_bytes` bytes.",
            then: "Request smaller pages or fewer fields.",
        }
        pub DOCUMENT_TOO_LARGE = BAD_REQUEST "document_too_large" "Document too large" {
            when: "The document has more than `graphql.max_document_bytes` bytes.",
            then: "Send a shorter document.",
        }
        pub TOO_MANY_TOKENS = BAD_REQUEST "too_many_tokens" "Too many tokens in the document" {
            when: "The document has more than `graphql.max_tokens` tokens.",
            then: "Send a shorter document.",
        }
        pub TOO_DEEP = BAD_REQUEST "too_deep" "Document nested too deeply" {
            when: "Fields nest deeper than `graphql.max_depth`, or brackets, fragments, or the values of arguments and variables nest too deeply.",
            then: "Request fewer levels at once.",
        }
        pub GRAPHQL_PARSE_FAILED = BAD_REQUEST "graphql_parse_failed" "Document syntax error" {
            when: "The document has a syntax error; `locations` says where.",
            then: "Fix the document.",
        }
        pub OPERATION_NOT_FOUND = BAD_REQUEST "operation_not_found" "Operation not found" {
            when: "`operationName` names no operation of the document, or is missing although the document has several.",
            then: "Name one of the document's operations.",
        }
        pub TOO_MANY_FRAGMENTS = BAD_REQUEST "too_many_fragments"
            "Too many fragments in the document" {
            when: "The document has more than `graphql.max_fragments` fragments.",
            then: "Request less at once.",
        }
        pub FRAGMENT_CYCLE = BAD_REQUEST "fragment_cycle" "Fragment cycle" {
            when: "A fragment uses itself, directly or through other fragments.",
            then: "Fix the document.",
        }
        pub TOO_MANY_ROOT_FIELDS = BAD_REQUEST "too_many_root_fields" "Too many root fields" {
            when: "The operation has more than `graphql.max_root_fields` root fields.",
            then: "Request less at once.",
        }
        pub TOO_COMPLEX = BAD_REQUEST "too_complex" "Document too complex" {
            when: "The document has more than `graphql.max_nodes` fields and fragment spreads, or a subscription more than `graphql.max_event_nodes`.",
            then: "Request smaller pages or fewer fields.",
        }
        pub TOO_MANY_ALIASES = BAD_REQUEST "too_many_aliases" "Too many aliases in the document" {
            when: "The document has more than `graphql.max_aliases` aliases.",
            then: "Request less at once.",
        }
        pub TOO_MANY_DIRECTIVES = BAD_REQUEST "too_many_directives"
            "Too many directives in the document" {
            when: "The document has more than `graphql.max_directives` directives.",
            then: "Request less at once.",
        }
        pub GRAPHQL_VALIDATION_FAILED = BAD_REQUEST "graphql_validation_failed"
            "Document invalid for the schema" {
            when: "The document uses a field, an argument or a type that the schema does not have.",
            then: "Fix the document.",
        }
        pub BAD_USER_INPUT = BAD_REQUEST "bad_user_input" "Value invalid for its type" {
            when: "An argument or a variable cannot be read as its type.",
            then: "Fix the value.",
        }
    }
}
