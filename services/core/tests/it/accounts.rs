//! What the tables of an account guarantee by themselves.

use sqlx::PgConnection;

use crate::support::{ADA, EVE, PASSWORD, TestApp, problem_of};

/// The name of the constraint that a statement in the role of the service violates.
async fn violated(db: &mut PgConnection, statement: &'static str) -> String {
    let error = sqlx::raw_sql(statement).execute(db).await.unwrap_err();
    let error = error.as_database_error().unwrap();
    error.constraint().unwrap_or(error.message()).to_owned()
}

async fn run(db: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(db).await.unwrap();
}

#[tokio::test]
async fn a_user_has_several_emails_one_of_which_is_primary() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    app.sign_up(EVE).await;
    let mut db = app.database.connect_as_role().await;
    let second = "INSERT INTO core.emails (id, user_id, address, is_primary, created_at)
        SELECT gen_random_uuid(), user_id, 'countess@example.com', false, now()
        FROM core.emails WHERE address = 'ada@example.com'";
    run(&mut db, second).await;
    let tokens = app.log_in(ADA).await;
    assert_eq!(app.me(&tokens).await["email"], ADA);
    let secondary = app.try_log_in("countess@example.com", PASSWORD).await;
    problem_of(secondary, 401, "invalid_credentials").await;
    for (statement, constraint) in [
        (
            "UPDATE core.emails SET is_primary = true WHERE address = 'countess@example.com'",
            "emails_primary_key",
        ),
        (
            "UPDATE core.emails SET address = 'COUNTESS@example.com' WHERE address = 'eve@example.com'",
            "emails_address_key",
        ),
        (
            "UPDATE core.emails SET address = 'x'",
            "emails_address_check",
        ),
        (
            "UPDATE core.emails SET user_id = gen_random_uuid()",
            "emails_user_id_fkey",
        ),
    ] {
        assert_eq!(
            violated(&mut db, statement).await,
            constraint,
            "{statement}"
        );
    }
    let body = crate::support::credentials("Countess@Example.com", PASSWORD);
    let taken = app.post(crate::support::USERS, &body).await;
    problem_of(taken, 409, "email_taken").await;
}

#[tokio::test]
async fn another_email_is_not_verified_and_another_spelling_stays_so() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let verified = "SELECT count(*) FROM core.emails WHERE verified_at IS NOT NULL";
    assert_eq!(app.number(verified).await, 0);
    let mut db = app.database.connect_as_role().await;
    run(&mut db, "UPDATE core.emails SET verified_at = now()").await;
    let patch = async |email: &str| {
        let body = serde_json::json!({"email": email, "current_password": PASSWORD});
        assert_eq!(app.patch(tokens.access(), &body).await.status(), 200);
    };
    patch("ADA@example.com").await;
    assert_eq!(app.number(verified).await, 1);
    patch("other@example.com").await;
    assert_eq!(app.number(verified).await, 0);
}

#[tokio::test]
async fn a_password_of_an_unknown_scheme_opens_nothing_after_the_same_work() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let mut db = app.database.connect_as_role().await;
    for hash in ["", "plain", "tangerine-violin-moss", "$$", "$ARGON2$x"] {
        let update = sqlx::query("UPDATE core.passwords SET hash = $1").bind(hash);
        let error = update.execute(&mut db).await.unwrap_err();
        let error = error.into_database_error().unwrap();
        assert_eq!(error.constraint(), Some("passwords_hash_check"), "{hash}");
    }
    let bcrypt = "UPDATE core.passwords SET hash =
        '$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW'";
    run(&mut db, bcrypt).await;
    let before = app.hashes();
    let response = app.try_log_in(ADA, PASSWORD).await;
    problem_of(response, 401, "invalid_credentials").await;
    assert_eq!(app.hashes() - before, 1);
    run(&mut db, "DELETE FROM core.passwords").await;
    let response = app.try_log_in(ADA, PASSWORD).await;
    problem_of(response, 401, "invalid_credentials").await;
}

#[tokio::test]
async fn an_account_at_a_provider_belongs_to_one_user() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    app.sign_up(EVE).await;
    let mut db = app.database.connect_as_role().await;
    let link = "INSERT INTO core.identities
            (id, user_id, provider, subject, created_at, last_used_at)
        SELECT gen_random_uuid(), user_id, provider, subject, now(), now()
        FROM core.emails, (VALUES ('github', '1'), ('github', 'a'), ('github', 'A'), ('acme', '1'))
            AS accounts (provider, subject)
        WHERE address = 'ada@example.com'";
    run(&mut db, link).await;
    for (statement, constraint) in [
        (
            "INSERT INTO core.identities
                (id, user_id, provider, subject, created_at, last_used_at)
             SELECT gen_random_uuid(), user_id, 'github', '1', now(), now()
             FROM core.emails WHERE address = 'eve@example.com'",
            "identities_subject_key",
        ),
        (
            "UPDATE core.identities SET subject = ''",
            "identities_subject_check",
        ),
        (
            "UPDATE core.identities SET subject = repeat('x', 256)",
            "identities_subject_check",
        ),
        (
            "UPDATE core.identities SET provider = 'https://accounts.example'",
            "identities_provider_check",
        ),
    ] {
        assert_eq!(
            violated(&mut db, statement).await,
            constraint,
            "{statement}"
        );
    }
}

#[tokio::test]
async fn a_client_has_one_grant_of_a_user() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let mut db = app.database.connect_as_role().await;
    let consent = "INSERT INTO core.grants
            (id, user_id, client_id, scopes, resources, created_at, updated_at)
        SELECT gen_random_uuid(), user_id, 'https://app.example/client', '{openid}', '{}', now(), now()
        FROM core.emails";
    run(&mut db, consent).await;
    for (statement, constraint) in [
        (consent, "grants_client_key"),
        (
            "UPDATE core.grants SET client_id = ''",
            "grants_client_id_check",
        ),
        (
            "UPDATE core.grants SET scopes = '{openid, NULL}'",
            "grants_scopes_check",
        ),
        (
            "UPDATE core.grants SET scopes = array_fill('x'::text, '{65}')",
            "grants_scopes_check",
        ),
        (
            "UPDATE core.grants SET resources = array_fill('x'::text, '{17}')",
            "grants_resources_check",
        ),
        (
            "UPDATE core.grants SET updated_at = created_at - interval '1 second'",
            "grants_check",
        ),
    ] {
        assert_eq!(
            violated(&mut db, statement).await,
            constraint,
            "{statement}"
        );
    }
    run(&mut db, "UPDATE core.grants SET revoked_at = now()").await;
    run(&mut db, consent).await;
}

#[tokio::test]
async fn deleting_an_account_releases_what_is_unique_and_revokes_grants() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let mut db = app.database.connect_as_role().await;
    let fill = "INSERT INTO core.identities
            (id, user_id, provider, subject, created_at, last_used_at)
        SELECT gen_random_uuid(), user_id, 'github', '1', now(), now() FROM core.passwords;
        INSERT INTO core.grants
            (id, user_id, client_id, scopes, resources, created_at, updated_at)
        SELECT gen_random_uuid(), user_id, 'app', '{}', '{}', now(), now() FROM core.passwords";
    run(&mut db, fill).await;
    assert_eq!(
        app.delete_account(tokens.access(), PASSWORD).await.status(),
        204
    );
    let live = "SELECT (SELECT count(*) FROM core.emails WHERE released_at IS NULL)
        + (SELECT count(*) FROM core.identities WHERE released_at IS NULL)
        + (SELECT count(*) FROM core.grants WHERE revoked_at IS NULL)";
    assert_eq!(app.number(live).await, 0);
    app.sign_up(ADA).await;
    let again = "INSERT INTO core.identities
            (id, user_id, provider, subject, created_at, last_used_at)
        SELECT gen_random_uuid(), user_id, 'github', '1', now(), now()
        FROM core.emails WHERE released_at IS NULL";
    run(&mut db, again).await;

    app.advance(40 * 86_400);
    app.state.run_jobs_once().await.unwrap();
    let rows = "SELECT (SELECT count(*) FROM core.emails)
        + (SELECT count(*) FROM core.passwords) + (SELECT count(*) FROM core.identities)
        + (SELECT count(*) FROM core.grants)";
    assert_eq!(app.number(rows).await, 3, "the new user's");
}
