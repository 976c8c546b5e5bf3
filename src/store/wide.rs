//! Columns of `chats` beyond the 32 that `diesel::table!` takes here: a feature for more would cost
//! every build minutes. Columns and not `sql("…")`, because a statement that holds such text is prepared
//! anew each time it is sent, which on PostgreSQL is a round trip more.

use super::{
    schema::chats,
    types::sql::{JsonText, Uid},
};
use diesel::{
    AppearsOnTable, Expression, QueryResult, SelectableExpression,
    backend::Backend,
    expression::{ValidGrouping, is_aggregate},
    query_builder::{AstPass, QueryFragment, QueryId},
    sql_types::Nullable,
};

macro_rules! columns_of_chats {
    ($($(#[$doc:meta])* $name:ident -> $ty:ty,)*) => {$(
        $(#[$doc])*
        #[allow(non_camel_case_types, reason = "as diesel's own columns")]
        #[derive(Debug, Clone, Copy, QueryId)]
        pub struct $name;

        impl Expression for $name {
            type SqlType = $ty;
        }

        impl ValidGrouping<()> for $name {
            type IsAggregate = is_aggregate::No;
        }

        impl<QS> AppearsOnTable<QS> for $name where chats::id: AppearsOnTable<QS> {}

        impl<QS> SelectableExpression<QS> for $name where chats::id: SelectableExpression<QS> {}

        impl<DB: Backend> QueryFragment<DB> for $name {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
                out.push_sql(concat!("chats.", stringify!($name)));
                Ok(())
            }
        }
    )*};
}

columns_of_chats! {
    /// The workspace that its tools work in.
    workspace_id -> Nullable<Uid>,
    /// The build whose agent is asked.
    build_id -> Nullable<Uid>,
    /// The agent that is asked.
    agent_id -> Nullable<Uid>,
    /// Parts of the newest message of workspace context, without their texts.
    last_injected_context -> Nullable<JsonText>,
}
