//! SQL text with binds that is prepared once a connection. diesel's `sql_query` is prepared again at
//! each use, which costs the round trip that one statement instead of two was to save, and its
//! placeholders are written by hand, so that its text serves one engine only.

use diesel::{
    QueryResult,
    backend::Backend,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    serialize::ToSql,
    sql_types::{HasSqlType, Untyped},
};
use std::{borrow::Cow, marker::PhantomData};

/// A statement in the making. Placeholders number themselves. The text must not hold values: each
/// distinct text stays prepared for as long as the connection lives.
pub struct Statement<DB: Backend>(Vec<Part<DB>>);

enum Part<DB: Backend> {
    Sql(Cow<'static, str>),
    Bind(Box<dyn Bind<DB> + Send>),
}

impl<DB: Backend> Default for Statement<DB> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<DB: Backend> Statement<DB> {
    pub fn sql(&mut self, text: impl Into<Cow<'static, str>>) -> &mut Self {
        self.0.push(Part::Sql(text.into()));
        self
    }

    /// Adds another statement's text and binds.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.0.extend(other.0);
        self
    }

    pub fn bind<ST, V>(&mut self, value: V) -> &mut Self
    where
        DB: HasSqlType<ST>,
        ST: Send + 'static,
        V: ToSql<ST, DB> + Send + 'static,
    {
        self.0.push(Part::Bind(Box::new(Typed::<ST, V>(value, PhantomData))));
        self
    }
}

trait Bind<DB: Backend> {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()>;
}

struct Typed<ST, V>(V, PhantomData<ST>);

impl<DB, ST, V> Bind<DB> for Typed<ST, V>
where
    DB: Backend + HasSqlType<ST>,
    V: ToSql<ST, DB>,
{
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_bind_param::<ST, V>(&self.0)
    }
}

impl<DB: Backend> QueryFragment<DB> for Statement<DB> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        for part in &self.0 {
            match part {
                Part::Sql(text) => out.push_sql(text),
                Part::Bind(bind) => bind.push(&mut out)?,
            }
        }
        Ok(())
    }
}

/// Cached by its text.
impl<DB: Backend> QueryId for Statement<DB> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB: Backend> Query for Statement<DB> {
    type SqlType = Untyped;
}
