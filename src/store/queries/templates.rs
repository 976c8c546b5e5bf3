//! Templates of workspaces.

use super::{Conn, divergent};
use crate::{
    clock::Timestamp,
    ids::TemplateId,
    store::{
        error::{Error, Result},
        records::workspaces::{TemplatePatch, TemplateRecord},
        schema::templates,
        types::{Id, Ts},
        workspace_rows::TemplateRow,
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// Those that are not deleted, by name.
pub async fn list(conn: &mut Conn) -> Result<Vec<TemplateRecord>> {
    let rows: Vec<TemplateRow> = templates::table
        .filter(templates::deleted.eq(false))
        .order(templates::name.asc())
        .select(TemplateRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(TemplateRow::record).collect()
}

/// Whether there is one that is not deleted.
pub async fn any(conn: &mut Conn) -> Result<bool> {
    let one: Option<Id> = templates::table
        .filter(templates::deleted.eq(false))
        .select(templates::id)
        .first(conn)
        .await
        .optional()?;
    Ok(one.is_some())
}

/// One that is not deleted.
pub async fn get(conn: &mut Conn, id: TemplateId) -> Result<TemplateRecord> {
    let row: TemplateRow = templates::table
        .filter(templates::id.eq(Id(id.0)).and(templates::deleted.eq(false)))
        .select(TemplateRow::as_select())
        .first(conn)
        .await?;
    row.record()
}

/// Makes one. The name of a deleted one is free again: its row comes back as the new template, since what
/// was built from it goes by its id.
pub async fn create(conn: &mut Conn, template: TemplateRecord) -> Result<TemplateRecord> {
    divergent::lock_templates(conn).await?;
    let there: Option<(Id, bool)> = templates::table
        .filter(templates::name.eq(&template.name))
        .select((templates::id, templates::deleted))
        .first(conn)
        .await
        .optional()?;
    match there {
        Some((_, false)) => Err(Error::Duplicate("a template with this name")),
        Some((id, true)) => {
            let template = TemplateRecord { id: TemplateId(id.0), ..template };
            write(conn, &template).await?;
            Ok(template)
        }
        None => {
            let row = TemplateRow::from(template.clone());
            diesel::insert_into(templates::table).values(row).execute(conn).await?;
            Ok(template)
        }
    }
}

async fn write(conn: &mut Conn, template: &TemplateRecord) -> Result<()> {
    let row = TemplateRow::from(template.clone());
    diesel::update(templates::table.find(Id(template.id.0))).set(row).execute(conn).await?;
    Ok(())
}

/// Changes one.
pub async fn patch(
    conn: &mut Conn,
    id: TemplateId,
    p: TemplatePatch,
    now: Timestamp,
) -> Result<TemplateRecord> {
    #[derive(AsChangeset)]
    #[diesel(table_name = templates)]
    struct Row {
        display_name: Option<String>,
        description: Option<String>,
        default_ttl_ms: Option<i64>,
        activity_bump_ms: Option<i64>,
        deprecated: Option<bool>,
        updated_at: Ts,
    }
    let row = Row {
        display_name: p.display_name,
        description: p.description,
        default_ttl_ms: p.default_ttl_ms,
        activity_bump_ms: p.activity_bump_ms,
        deprecated: p.deprecated,
        updated_at: Ts(now),
    };
    diesel::update(templates::table.find(Id(id.0))).set(row).execute(conn).await?;
    get(conn, id).await
}

/// Hides one. What was built from it stays.
pub async fn remove(conn: &mut Conn, id: TemplateId, now: Timestamp) -> Result<()> {
    let shown = templates::table.filter(templates::id.eq(Id(id.0)).and(templates::deleted.eq(false)));
    let hidden = diesel::update(shown)
        .set((templates::deleted.eq(true), templates::updated_at.eq(Ts(now))))
        .execute(conn)
        .await?;
    if hidden == 0 { Err(Error::NotFound) } else { Ok(()) }
}

/// Brings the templates of the configuration in step with it: one that has the name is taken over, one
/// that is declared no more is hidden.
pub async fn sync_declared(conn: &mut Conn, declared: Vec<TemplateRecord>, now: Timestamp) -> Result<()> {
    // One replica after the other; the rows themselves may not be there yet.
    divergent::lock_templates(conn).await?;
    let mut kept = Vec::new();
    for mut wanted in declared {
        let there: Option<TemplateRow> = templates::table
            .filter(templates::name.eq(&wanted.name))
            .select(TemplateRow::as_select())
            .first(conn)
            .await
            .optional()?;
        let Some(there) = there else {
            kept.push(Id(wanted.id.0));
            diesel::insert_into(templates::table).values(TemplateRow::from(wanted)).execute(conn).await?;
            continue;
        };
        let there = there.record()?;
        kept.push(Id(there.id.0));
        wanted.id = there.id;
        wanted.created_at = there.created_at;
        wanted.updated_at = there.updated_at;
        if wanted != there {
            wanted.updated_at = now;
            write(conn, &wanted).await?;
        }
    }
    let gone = templates::table
        .filter(templates::source.eq("config"))
        .filter(templates::deleted.eq(false))
        .filter(templates::id.ne_all(kept));
    diesel::update(gone)
        .set((templates::deleted.eq(true), templates::updated_at.eq(Ts(now))))
        .execute(conn)
        .await?;
    Ok(())
}
