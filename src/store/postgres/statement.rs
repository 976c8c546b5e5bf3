//! SQL text with binds that is prepared once a connection. diesel's `sql_query` is prepared again at
//! each use, which costs the round trip that one statement instead of two was to save.

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    serialize::ToSql,
    sql_types::{HasSqlType, Untyped},
};
use std::{borrow::Cow, marker::PhantomData};

/// A statement in the making. Placeholders number themselves. The text must not hold values: each
/// distinct text stays prepared for as long as the connection lives.
#[derive(Default)]
pub struct Statement(Vec<Part>);

enum Part {
    Sql(Cow<'static, str>),
    Bind(Box<dyn Bind + Send>),
}

impl Statement {
    pub fn sql(&mut self, text: impl Into<Cow<'static, str>>) -> &mut Self {
        self.0.push(Part::Sql(text.into()));
        self
    }

    pub fn bind<ST, V>(&mut self, value: V) -> &mut Self
    where
        Pg: HasSqlType<ST>,
        ST: Send + 'static,
        V: ToSql<ST, Pg> + Send + 'static,
    {
        self.0.push(Part::Bind(Box::new(Typed::<ST, V>(value, PhantomData))));
        self
    }
}

trait Bind {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

struct Typed<ST, V>(V, PhantomData<ST>);

impl<ST, V> Bind for Typed<ST, V>
where
    Pg: HasSqlType<ST>,
    V: ToSql<ST, Pg>,
{
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<ST, V>(&self.0)
    }
}

impl QueryFragment<Pg> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
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
impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement {
    type SqlType = Untyped;
}
