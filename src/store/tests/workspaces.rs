//! Workspaces that are looked after.

use super::{
    fixture::*,
    support::{Db, both},
};
use crate::{
    ids::{BuildId, TemplateId, WorkerId, WorkspaceId},
    store::records::{
        models::Source,
        workspaces::{
            BuildEnd, BuildReason, NewBuild, TemplateKind, TemplateRecord, Transition, WorkspaceRecord,
        },
    },
};
use std::time::Duration;
use uuid::Uuid;

/// A template with commands; one of them may tell whether a workspace runs.
pub fn template(name: &str, status: bool) -> TemplateRecord {
    TemplateRecord {
        id: TemplateId::fresh(),
        name: name.to_owned(),
        display_name: String::new(),
        description: String::new(),
        kind: TemplateKind::Command,
        directory: String::new(),
        start_command: Some("true".to_owned()),
        stop_command: Some("true".to_owned()),
        status_command: status.then(|| "true".to_owned()),
        parameters: json("[]"),
        presets: json("[]"),
        default_ttl_ms: 0,
        activity_bump_ms: 0,
        deprecated: false,
        source: Source::Config,
        deleted: false,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// Makes a workspace. Its first build waits.
async fn workspace(db: &Db, person: Person, template: TemplateId, name: String) -> WorkspaceId {
    let id = WorkspaceId::fresh();
    let build = new_build(id, Transition::Start);
    let record = WorkspaceRecord {
        id,
        name,
        owner_id: person.user,
        organization_id: person.organization,
        template_id: template,
        parameters: json("{}"),
        ttl_ms: None,
        deadline: None,
        last_used_at: NOW,
        latest_build_id: build.id,
        created_at: NOW,
        updated_at: NOW,
    };
    db.store.create_workspace(record, build, 0, NOW).await.unwrap();
    id
}

fn new_build(workspace_id: WorkspaceId, transition: Transition) -> NewBuild {
    NewBuild {
        id: BuildId::fresh(),
        workspace_id,
        transition,
        reason: BuildReason::Initiator,
        initiator_id: None,
    }
}

/// Runs the build that waits.
async fn run_build(db: &Db, error: Option<&str>) {
    run_build_with(db, error, Duration::ZERO).await;
}

/// The same of a workspace that has a time to live.
async fn run_build_with(db: &Db, error: Option<&str>, ttl: Duration) {
    let worker = WorkerId::fresh();
    let claimed = db.store.claim_build(worker, LEASE, NOW).await.unwrap().expect("one waits");
    let error = error.map(str::to_owned);
    let end = BuildEnd { build: claimed.view.build.id, worker, error, ttl };
    db.store.finish_build(end, NOW).await.unwrap();
}

both! {
    async fn a_build_that_was_cut_off_is_ended_by_the_next_start_on_sqlite(db) {
        let person = Person::of(&db.store).await;
        let template = db.store.create_template(template("t", false)).await.unwrap().id;
        workspace(&db, person, template, "w".into()).await;
        let first = db.store.claim_build(WorkerId::fresh(), LEASE, NOW).await.unwrap().expect("it waits");
        assert!(!first.abandoned);
        assert!(!db.store.has_builds(NOW).await.unwrap());
        db.store.forget_leases().await.unwrap();
        // Where there may be other replicas the lease has to end by itself.
        let next = db.store.claim_build(WorkerId::fresh(), LEASE, NOW).await.unwrap();
        assert_eq!(next.map(|c| c.abandoned), db.is_sqlite().then_some(true));
    }

    async fn a_stop_that_failed_is_asked_for_again_where_time_is_limited(db) {
        let person = Person::of(&db.store).await;
        let template = db.store.create_template(template("t", false)).await.unwrap().id;
        let id = workspace(&db, person, template, "w".into()).await;
        let ttl = Duration::from_secs(8 * 60 * 60);
        let deadline = async || db.store.workspace(id).await.unwrap().workspace.deadline;
        run_build_with(&db, None, ttl).await;
        assert_eq!(deadline().await, Some(NOW + ttl));
        let again = NOW + Duration::from_secs(10 * 60);
        for (transition, error, ttl, wanted) in [
            (Transition::Stop, Some("no"), Duration::ZERO, None),
            (Transition::Delete, Some("no"), ttl, None),
            (Transition::Start, Some("no"), ttl, None),
            (Transition::Stop, Some("no"), ttl, Some(again)),
        ] {
            db.store.begin_build(new_build(id, transition), NOW).await.unwrap();
            assert_eq!(deadline().await, None);
            run_build_with(&db, error, ttl).await;
            assert_eq!(deadline().await, wanted, "{transition:?}");
        }
        assert!(!db.store.autostop(id, BuildId::fresh(), NOW).await.unwrap());
        assert!(db.store.autostop(id, BuildId::fresh(), again).await.unwrap());
        run_build_with(&db, None, ttl).await;
        assert_eq!(deadline().await, None);
    }

    async fn those_that_should_run_are_read_page_by_page(db) {
        let person = Person::of(&db.store).await;
        let mut wanted = Vec::new();
        for (name, kind, asked) in [
            ("one", TemplateKind::Command, true),
            ("other", TemplateKind::Command, true),
            ("host", TemplateKind::Local, true),
            ("silent", TemplateKind::Command, false),
            ("person", TemplateKind::External, false),
        ] {
            let template = TemplateRecord { kind, ..template(name, asked && kind == TemplateKind::Command) };
            let template = db.store.create_template(template).await.unwrap().id;
            for n in 0..3 {
                let made = async |what: &str| workspace(&db, person, template, format!("{name}-{what}-{n}")).await;
                made("failed").await;
                run_build(&db, Some("no")).await;
                let stopped = made("stopped").await;
                run_build(&db, None).await;
                db.store.begin_build(new_build(stopped, Transition::Stop), NOW).await.unwrap();
                run_build(&db, None).await;
                let runs = made("runs").await;
                run_build(&db, None).await;
                if asked {
                    wanted.push(runs);
                }
            }
            if asked {
                // Nobody has begun to start it.
                workspace(&db, person, template, format!("{name}-waits")).await;
                let claimed = db.store.claim_build(WorkerId::fresh(), LEASE, NOW).await.unwrap();
                assert!(claimed.is_some());
            }
        }
        wanted.sort_by_key(|id| id.0);
        let (mut found, mut after) = (Vec::new(), WorkspaceId(Uuid::nil()));
        loop {
            let page = db.store.workspaces_with_status(after, 4).await.unwrap();
            found.extend(page.iter().map(|view| view.workspace.id));
            match page.last() {
                Some(last) => after = last.workspace.id,
                None => break,
            }
        }
        assert_eq!(found, wanted);
        assert_eq!(db.store.workspaces_with_status(wanted[1], 2).await.unwrap().len(), 2);
    }

    async fn the_newest_builds_are_kept_and_the_last_start_that_worked(db) {
        let person = Person::of(&db.store).await;
        let template = db.store.create_template(template("t", false)).await.unwrap().id;
        let id = workspace(&db, person, template, "w".into()).await;
        let numbers = async || -> Vec<i64> {
            db.store.builds(id, 1000).await.unwrap().iter().map(|build| build.build_number).collect()
        };
        run_build(&db, None).await;
        for _ in 0..103 {
            db.store.begin_build(new_build(id, Transition::Stop), NOW).await.unwrap();
            run_build(&db, Some("as a test")).await;
        }
        let newest = || (5..=104).rev();
        assert_eq!(numbers().await, newest().chain([1]).collect::<Vec<_>>());
        // A later start that worked takes its place.
        db.store.begin_build(new_build(id, Transition::Start), NOW).await.unwrap();
        run_build(&db, None).await;
        db.store.begin_build(new_build(id, Transition::Stop), NOW).await.unwrap();
        assert_eq!(numbers().await, (7..=106).rev().collect::<Vec<_>>());
    }
}
