//! The kinds of problems that only this service has. GraphQL shows their codes in capitals.

quartet_common::problem_kinds! {
    pub LINK_NOT_FOUND = NOT_FOUND "link_not_found" "There is no such short link" {
        when: "no link has the slug",
        then: "do not repeat the request",
    }
    pub LINK_DISABLED = GONE "link_disabled" "This short link has been switched off" {
        when: "the owner has switched the link off",
        then: "ask whoever gave the link",
    }
    pub LINK_EXPIRED = GONE "link_expired" "This short link has expired" {
        when: "the time until which the link was to work has passed",
        then: "ask whoever gave the link",
    }
    pub LINK_EXHAUSTED = GONE "link_exhausted" "This short link has been used up" {
        when: "as many people have followed the link as it was made for",
        then: "ask whoever gave the link",
    }
    pub PREFETCH_REFUSED = FORBIDDEN "prefetch_refused"
        "This short link counts its uses and cannot be fetched ahead" {
        when: "a browser prefetches a link that counts its uses",
        then: "follow the link when a person does",
    }
    pub CLICK_LOG_UNAVAILABLE = SERVICE_UNAVAILABLE "click_log_unavailable"
        "Clicks cannot be kept just now" {
        when: "the disk of the click log is full or broken, and clicks must not be lost",
        then: "send the request again after `Retry-After`",
    }
    pub NOT_ACCEPTABLE = NOT_ACCEPTABLE "not_acceptable"
        "None of the accepted media types can be sent" {
        when: "the `Accept` header names none of the forms of a GraphQL answer",
        then: "accept `application/graphql-response+json`",
    }
    pub MUTATION_BY_GET = METHOD_NOT_ALLOWED "mutation_by_get" "Mutations need POST" {
        when: "the document of a GET request is a mutation",
        then: "send it by POST",
    }
    pub INVALID_UPGRADE = UPGRADE_REQUIRED "invalid_upgrade" "This is no WebSocket handshake" {
        when: "a request with `Upgrade` is not a WebSocket handshake of version 13",
        then: "send a whole handshake, or leave `Upgrade` out",
    }
}

/// What only GraphQL tells, in `extensions.code` of an error.
pub(crate) mod graphql {
    quartet_common::problem_kinds! {
        pub SLUG_TAKEN = CONFLICT "slug_taken" "Another link has this slug" {
            when: "a link is made or changed to have a slug that another one has",
            then: "choose another slug",
        }
        pub INVALID_INPUT = UNPROCESSABLE_ENTITY "invalid_input" "The input breaks a rule" {
            when: "one or more values of the input break a rule; `errors` names each",
            then: "send what the rules in `errors` ask for",
        }
        pub INVALID_REQUEST = BAD_REQUEST "invalid_request" "The GraphQL request breaks a rule" {
            when: "a parameter of the request has the wrong type or is missing",
            then: "send `query`, and perhaps `operationName` and `variables`",
        }
        pub STREAM_NEEDED = BAD_REQUEST "stream_needed"
            "A subscription needs server-sent events or a WebSocket" {
            when: "a subscription is sent without `Accept: text/event-stream`",
            then: "accept `text/event-stream`, or use a WebSocket",
        }
        pub TOO_MANY_SUBSCRIPTIONS = TOO_MANY_REQUESTS "too_many_subscriptions"
            "There are too many operations on this socket" {
            when: "one more operation is started on a socket that runs as many as are allowed",
            then: "complete some first, or open another socket",
        }
        pub DOCUMENT_TOO_LARGE = BAD_REQUEST "document_too_large" "The document is too long" {
            when: "the document has more bytes than are allowed",
            then: "send a shorter document",
        }
        pub TOO_MANY_TOKENS = BAD_REQUEST "too_many_tokens" "The document has too many tokens" {
            when: "the document has more tokens than are allowed",
            then: "send a shorter document",
        }
        pub TOO_DEEP = BAD_REQUEST "too_deep" "The document nests too deeply" {
            when: "brackets, fragments or fields are nested more deeply than is allowed",
            then: "ask for less at once",
        }
        pub GRAPHQL_PARSE_FAILED = BAD_REQUEST "graphql_parse_failed"
            "The document cannot be parsed" {
            when: "the document has a syntax error; `locations` tells where",
            then: "mend the document",
        }
        pub OPERATION_NOT_FOUND = BAD_REQUEST "operation_not_found"
            "The document has no such operation" {
            when: "`operationName` names none of the document's operations, or is missing where there are several",
            then: "name one of the document's operations",
        }
        pub TOO_MANY_FRAGMENTS = BAD_REQUEST "too_many_fragments"
            "The document has too many fragments" {
            when: "the document has more fragments than are allowed",
            then: "ask for less at once",
        }
        pub FRAGMENT_CYCLE = BAD_REQUEST "fragment_cycle" "A fragment uses itself" {
            when: "a fragment uses itself, perhaps by way of others",
            then: "mend the document",
        }
        pub TOO_MANY_ROOT_FIELDS = BAD_REQUEST "too_many_root_fields"
            "The document has too many fields at the top" {
            when: "more fields are asked for at the top than are allowed",
            then: "ask for less at once",
        }
        pub TOO_COMPLEX = BAD_REQUEST "too_complex" "The document asks for too much" {
            when: "the fields of the document, with their lists, would cost more than is allowed",
            then: "ask for smaller pages or fewer fields",
        }
        pub TOO_MANY_ALIASES = BAD_REQUEST "too_many_aliases" "The document has too many aliases" {
            when: "the document has more aliases than are allowed",
            then: "ask for less at once",
        }
        pub TOO_MANY_DIRECTIVES = BAD_REQUEST "too_many_directives"
            "The document has too many directives" {
            when: "the document has more directives than are allowed",
            then: "ask for less at once",
        }
        pub GRAPHQL_VALIDATION_FAILED = BAD_REQUEST "graphql_validation_failed"
            "The document does not fit the schema" {
            when: "a field, an argument or a type is not one of the schema",
            then: "mend the document",
        }
        pub BAD_USER_INPUT = BAD_REQUEST "bad_user_input" "A value does not fit the schema" {
            when: "an argument or a variable cannot be read as its type",
            then: "mend the value",
        }
    }
}
