//! The kinds of problems that only this service has.

quartet_common::problem_kinds! {
    pub EMAIL_TAKEN = CONFLICT "email_taken" "Another account has this address" {
        when: "sign-up or a change of address names an address that belongs to an account",
        then: "log in, or use another address",
    }
    pub INVALID_CREDENTIALS = UNAUTHORIZED "invalid_credentials"
        "The address or the password is wrong" {
        when: "no account has this address with this password",
        then: "ask for both again",
    }
    pub INVALID_REFRESH_TOKEN = UNAUTHORIZED "invalid_refresh_token"
        "The refresh token is wrong or spent, or its session has ended" {
        when: "the refresh token is not the latest one of a session that lives",
        then: "log in again",
    }
    pub TOO_MANY_ATTEMPTS = TOO_MANY_REQUESTS "too_many_attempts"
        "There were too many failed attempts" {
        when: "an account or an address has failed several times in a row",
        then: "wait for `Retry-After`",
    }
    pub WRONG_PASSWORD = FORBIDDEN "wrong_password" "The current password is wrong" {
        when: "`current_password` is not the current password",
        then: "ask for it again",
    }
    pub PASSWORD_NEEDED = FORBIDDEN "password_needed" "The current password is needed" {
        when: "address or password are to be changed without `current_password`",
        then: "ask for the current password and send it along",
    }
    pub STALE_LOGIN = FORBIDDEN "stale_login" "The login is too long ago" {
        when: "the account is to be deleted with a login that is more than an hour old",
        then: "log in again, then repeat the request with the new access token",
    }
}
