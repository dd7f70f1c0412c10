//! Keeps the certificates by ACME that the configuration in force has.

use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};

use quartet_jobs::Run;
use tokio::time::sleep;

use crate::{
    state::State,
    tls::{
        IssuedCertificate,
        acme::{Acme, Issued},
    },
};

/// How often a configuration without such certificates is looked at again.
const CHECK: Duration = Duration::from_millis(500);

pub(super) async fn keep_certificates(state: Arc<State>, run: Run) -> anyhow::Result<()> {
    let mut known = BTreeSet::new();
    loop {
        run.succeeded();
        let acme = state.snapshot().acme.clone();
        forget_removed(&mut known, acme.as_deref(), &state);
        match acme {
            Some(acme) => keep(&acme, &state, &run).await,
            None => sleep(CHECK).await,
        }
    }
}

/// Until a reload puts another one in its place.
async fn keep(acme: &Acme, state: &State, run: &Run) {
    let install = |table: &Arc<str>, names: Vec<String>, issued: &Issued| {
        state.certificates.set_issued(IssuedCertificate {
            table: Arc::clone(table),
            names,
            key: Arc::clone(&issued.key),
            subject: issued.subject.clone(),
            not_before: issued.not_before(),
            not_after: issued.not_after(),
        });
    };
    let mut kept = pin!(acme.keep(&install, &state.listening));
    loop {
        tokio::select! {
            () = &mut kept => return,
            () = sleep(CHECK) => run.succeeded(),
        }
    }
}

/// Hosts that the configuration does not name any more are served no longer.
fn forget_removed(known: &mut BTreeSet<String>, acme: Option<&Acme>, state: &State) {
    let hosts: BTreeSet<String> = acme.into_iter().flat_map(Acme::hosts).cloned().collect();
    for removed in known.difference(&hosts) {
        state.certificates.remove_issued(removed);
    }
    *known = hosts;
}
