//! Problem kinds of this service.

quartet_common::problem_kinds! {
    pub EMAIL_TAKEN = CONFLICT "email_taken" "Email already in use" {
        when: "The email in a sign-up or a change belongs to another account.",
        then: "Log in, or use another email.",
    }
    pub INVALID_CREDENTIALS = UNAUTHORIZED "invalid_credentials" "Invalid email or password" {
        when: "No account has this email with this password.",
        then: "Ask the user for both again.",
    }
    pub INVALID_REFRESH_TOKEN = UNAUTHORIZED "invalid_refresh_token" "Invalid refresh token" {
        when: "The refresh token is malformed, unknown or already used, or its session has ended.",
        then: "Log in again.",
    }
    pub TOO_MANY_API_KEYS = CONFLICT "too_many_api_keys" "Too many API keys" {
        when: "The user has as many API keys as `api_keys.max_per_user` allows.",
        then: "Revoke one that is no longer used.",
    }
    pub TOO_MANY_ATTEMPTS = TOO_MANY_REQUESTS "too_many_attempts" "Too many failed attempts" {
        when: "Several attempts on one account, or from one client IP, have failed in a row.",
        then: "Wait for the time in `Retry-After`.",
    }
    pub WRONG_PASSWORD = FORBIDDEN "wrong_password" "Incorrect current password" {
        when: "`current_password` is not the current password.",
        then: "Ask the user for it again.",
    }
    pub PASSWORD_NEEDED = FORBIDDEN "password_needed" "Current password required" {
        when: "A change of email or password was sent without `current_password`.",
        then: "Ask the user for the current password and send it with the change.",
    }
    pub STALE_LOGIN = FORBIDDEN "stale_login" "Recent login required" {
        when: "The session is too old to delete the account or to create an API key.",
        then: "Log in again, then retry with the new access token.",
    }
}
