//! The account and its sessions.

use futures_util::stream::BoxStream;

use crate::client::Quartet;
use crate::error::Error;
use crate::generated::api::types::{AccountDeletion, Credentials, Session as Login, SignUp, User};
use crate::pages::{self, Page};
use crate::patch::UserPatch;
use crate::secret::Secret;
use crate::session::Session;

impl Quartet {
    /// Creates an account, which can log in immediately.
    pub async fn sign_up(
        &self,
        email: &str,
        password: Secret,
        display_name: Option<&str>,
    ) -> Result<User, Error> {
        let body = SignUp {
            email: email.to_owned(),
            password,
            display_name: display_name.map(str::to_owned),
        };
        Ok(self.api().create_user(None, &body).await?.into_inner())
    }

    /// Opens a session, which all further requests use.
    pub async fn login(&self, email: &str, password: Secret) -> Result<(), Error> {
        let email = email.to_owned();
        let body = Credentials { email, password };
        let tokens = self.api().create_session(&body).await?.into_inner();
        let session = Session::new(tokens);
        self.transport
            .keeper
            .begin(session)
            .await
            .map_err(store_failed)
    }

    /// Ends the session here and at the server. Succeeds if it has ended already.
    pub async fn logout(&self) -> Result<(), Error> {
        if !self.is_logged_in().await? {
            return Ok(());
        }
        match self.api().delete_session("current").await {
            Ok(_) => {}
            Err(error) => match Error::from(error) {
                Error::Problem(problem) if matches!(problem.status, 401 | 404) => {}
                error => return Err(error),
            },
        }
        self.transport.keeper.end().await.map_err(store_failed)
    }

    /// Whether there is a session. It may have been ended elsewhere.
    pub async fn is_logged_in(&self) -> Result<bool, Error> {
        let session = self.transport.keeper.session().await;
        Ok(session.map_err(store_failed)?.is_some())
    }

    /// The id of the current session.
    pub async fn session_id(&self) -> Result<Option<String>, Error> {
        let session = self.transport.keeper.session().await;
        Ok(session
            .map_err(store_failed)?
            .map(|session| session.session_id))
    }

    /// The account that is logged in.
    pub async fn me(&self) -> Result<User, Error> {
        Ok(self.api().get_me(None).await?.into_inner())
    }

    /// Changes the account.
    pub async fn update_me(&self, patch: &UserPatch) -> Result<User, Error> {
        Ok(self.api().update_me(None, patch).await?.into_inner())
    }

    /// Deletes the account permanently. Requires the current password and a recent login.
    pub async fn delete_me(&self, current_password: Secret) -> Result<(), Error> {
        let body = AccountDeletion { current_password };
        self.api().delete_me(None, &body).await?;
        self.transport.keeper.end().await.map_err(store_failed)
    }

    /// The active sessions of the account, newest first.
    pub fn sessions(&self) -> BoxStream<'static, Result<Login, Error>> {
        let client = self.clone();
        pages::all(move |cursor| {
            let api = client.api();
            async move {
                let page = api.list_sessions(cursor.as_deref(), None).await?;
                let page = page.into_inner();
                Ok(Page {
                    items: page.data,
                    next: page.next_cursor,
                })
            }
        })
    }

    /// Ends a session of the account.
    pub async fn end_session(&self, id: &str) -> Result<(), Error> {
        self.api().delete_session(id).await?;
        Ok(())
    }
}

fn store_failed(error: std::io::Error) -> Error {
    Error::Session(error.to_string())
}
